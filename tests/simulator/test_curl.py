"""curl as Stripe's documentation writes it: Basic and Bearer, -d and -G, repeated brackets."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tillport.simulator import Simulator
from tillport.simulator.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(Simulator(seed=1)) as running:
        yield running


def curl(*words: str) -> tuple[int, dict[str, str], Any]:
    """Return status, headers and the decoded body."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not on this machine: it was not tried")
    done = subprocess.run(
        [program, "-s", "-i", *words], capture_output=True, text=True, timeout=30, check=True
    )
    head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
    first, *rest = head.split("\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in rest)}
    return int(first.split()[1]), headers, json.loads(body) if body else None


def test_basic_auth_pays_with_d(server: Server) -> None:
    status, headers, intent = curl(
        f"{server.url}/v1/payment_intents",
        *("-u", f"{server.simulator.secret_key}:"),
        *("-d", "amount=2000", "-d", "currency=usd", "-d", "allowed_payment_method_types[]=card"),
        *("-d", "payment_method=pm_card_visa", "-d", "confirm=true"),
        *("-d", "expand[]=latest_charge", "--data-urlencode", "description=50 % & more"),
    )
    assert (status, intent["status"], intent["description"]) == (200, "succeeded", "50 % & more")
    assert intent["latest_charge"]["object"] == "charge"
    assert headers["content-type"] == "application/json"
    assert headers["request-id"].startswith("req_")


def test_bearer_lists_with_g(server: Server) -> None:
    server.simulator.payment_intents.create(
        amount=2000, currency="usd", payment_method="pm_card_visa", confirm=True
    )
    status, _, page = curl(
        *(
            "-G",
            f"{server.url}/v1/payment_intents",
            "-H",
            f"Authorization: Bearer {server.simulator.secret_key}",
        ),
        *("-d", "limit=1", "-d", "expand[]=data.latest_charge", "--data-urlencode", "created[gte]=0"),
    )
    assert (status, page["object"], len(page["data"])) == (200, "list", 1)


def test_the_answer_is_indented_json_as_stripes(server: Server) -> None:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not on this machine: it was not tried")
    text = subprocess.run(
        [program, "-s", f"{server.url}/v1/charges", "-u", f"{server.simulator.secret_key}:"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert text.startswith('{\n  "object": "list"')


def test_a_key_of_the_wrong_kind_is_refused(server: Server) -> None:
    charges = f"{server.url}/v1/charges"
    assert curl(charges)[0] == 401
    assert curl(charges, "-u", "sk_test_wrong:")[0] == 401
    assert curl(charges, "-u", f"{server.simulator.publishable_key}:")[0] == 403
    status, _, body = curl(charges, "-u", "sk_live_51abcdefghijk:")
    assert status == 401
    assert "live-mode" in body["error"]["message"]
    assert "51abcdefghijk" not in str(body)


def test_an_upload_too_large_is_refused_and_the_server_goes_on(server: Server, tmp_path: Any) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"a=" + b"x" * 3_000_000)
    for how in (("-H", "Transfer-Encoding: chunked"), ()):
        status, _, body = curl(
            *(f"{server.url}/v1/customers", "-u", f"{server.simulator.secret_key}:", *how),
            *("-H", "Expect:", "--data-binary", f"@{big}"),
        )
        assert (status, body["error"]["type"]) == (413, "invalid_request_error")
    assert curl(f"{server.url}/v1/charges", "-u", f"{server.simulator.secret_key}:")[0] == 200
