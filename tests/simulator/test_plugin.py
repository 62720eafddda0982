"""The pytest plugin: each test has a Stripe of its own, and nobody pays who does not ask."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import freezegun
import pytest
import stripe

from tillport.simulator import Simulator, signed_request
from tillport.simulator.chaos import Bounds

PLUGIN = "tillport.simulator.pytest_plugin"


def pytest_run(folder: Path, code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    (folder / "test_it.py").write_text(code)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("TILLPORT", "PYTEST"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder, env=plain, capture_output=True, text=True, check=False,
    )  # fmt: skip


STORY = """
def test_one(stripe_client, stripe_simulator):
    intent = stripe_client.v1.payment_intents.create(
        {"amount": 500, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    )
    assert intent.status == "succeeded"
    assert stripe_simulator.journal.find("created", "charge")

def test_two(stripe_client):
    assert stripe_client.v1.payment_intents.list().data == []

def test_own_accounts(stripe_account):
    stripe_account.customers.create()
    assert len(stripe_account.customers.list().data) == 1

def test_own_accounts_again(stripe_account, stripe_host):
    assert len(stripe_account.customers.list().data) == 0
    assert len(stripe_host.private_accounts) == 1

def test_served(stripe_server):
    import stripe
    client = stripe.StripeClient(stripe_server.secret_key, base_addresses={"api": stripe_server.url})
    other = stripe.StripeClient(stripe_server.secret_key, base_addresses={"api": stripe_server.base_url})
    client.v1.customers.create({"email": "a@example.com"})
    assert [one.email for one in other.v1.customers.list().data] == ["a@example.com"]
    assert len(stripe_server.account.customers.list().data) == 1

def test_chaos(stripe_chaos):
    stripe_chaos(lambda body, headers: 200, "whsec_x")
"""


def test_the_fixtures_work_in_a_suite_of_somebody_else(tmp_path):
    run = pytest_run(tmp_path, STORY)
    assert "5 passed" in run.stdout, run.stdout + run.stderr
    assert "1 failed" in run.stdout
    assert "BROKEN  forgery_accepted" in run.stdout


def test_the_plugin_is_found_by_its_entry_point(tmp_path):
    run = pytest_run(tmp_path, "def test_it(): pass\n", "--fixtures")
    assert "stripe_simulator" in run.stdout


def test_who_does_not_ask_imports_nothing(tmp_path):
    code = (
        "import sys\n"
        "def test_it():\n"
        f"    assert {PLUGIN!r} in sys.modules\n"
        "    ours = {m for m in sys.modules if m.startswith('tillport.')}\n"
        f"    assert ours == {{'tillport.simulator', {PLUGIN!r}}}\n"
        "    assert not {'msgspec', 'stripe', 'uvicorn', 'attrs'} & sys.modules.keys()\n"
    )
    run = pytest_run(
        tmp_path, code, "-p", "no:anyio", "-p", "no:hypothesispytest", "-p", "no:anyio.pytest_plugin"
    )
    assert run.returncode == 0, run.stdout


def test_the_plugin_is_quick_since_it_imports_nothing():
    code = (
        f"import pytest, sys; before = set(sys.modules); import {PLUGIN}; print(*sys.modules.keys() - before)"
    )
    imported = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert {name for name in imported if name.partition(".")[0] != "tillport"} == set()


def test_a_simulator_follows_freezegun():
    with freezegun.freeze_time("2026-01-01 12:00:00") as frozen:
        sim = Simulator(seed=1)
        sim.webhook_endpoints.create(url="http://shop.test/", enabled_events=["charge.updated"])
        charge_at = sim.payment_intents.create(
            amount=500, currency="usd", payment_method="pm_card_visa", confirm=True
        ).created
        assert charge_at == 1_767_268_800
        assert sim.due_deliveries() == []
        frozen.tick(2.5)
        (attempt,) = sim.due_deliveries()
        assert attempt.headers["Stripe-Signature"].startswith("t=1767268802,")
        assert signed_request("{}", "whsec_x").signature.startswith("t=1767268802,")


def test_an_account_is_served_in_real_time(stripe_server):
    assert abs(stripe_server.account.clock.now() - time.time()) < 5
    with urllib.request.urlopen(f"{stripe_server.base_url}/_sim/") as answer:
        assert json.load(answer)["secret_key"] == stripe_server.secret_key


def test_a_served_accounts_webhooks_are_really_posted(stripe_server, stripe_host):
    heard: list[tuple[str, bytes]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.append((self.headers["stripe-signature"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as hook:
        threading.Thread(target=hook.serve_forever, args=(0.05,), daemon=True).start()
        other = stripe_host.private_accounts.create("other", like=stripe_server.account.freeze())
        secrets = [
            one.webhook_endpoints.create(
                url=f"http://127.0.0.1:{hook.server_port}/", enabled_events=["*"]
            ).secret
            for one in (stripe_server.account, other)
        ]
        stripe_server.account.customers.create()
        other.customers.create()
        end = time.monotonic() + 60
        while stripe_host.backlog + (len(heard) < 2) and time.monotonic() < end:
            time.sleep(0.02)
        hook.shutdown()
        stripe_host.private_accounts.remove("other")
    assert len(heard) == 2
    assert stripe_host.backlog == 0
    for (signature, body), secret in zip(heard, secrets, strict=True):
        assert stripe.WebhookSignature.verify_header(body.decode(), signature, secret, 300)


def test_chaos_on_a_careful_application_returns_its_report(stripe_chaos):
    def careful(body: bytes, headers: dict[str, str]) -> int:
        try:
            stripe.WebhookSignature.verify_header(
                body.decode(), headers.get("Stripe-Signature", ""), "whsec_x", 300
            )
            return 200 if isinstance(json.loads(body)["id"], str) else 400
        except (ValueError, TypeError, KeyError, RecursionError, stripe.SignatureVerificationError):
            return 400

    assert stripe_chaos(careful, "whsec_x", bounds=Bounds(seconds=3)).sent == 120


def test_a_signed_request_passes_the_official_verification():
    for body in ({"id": "evt_1", "object": "event"}, b'{"raw":  true}', "text"):
        request = signed_request(body, "whsec_x")
        assert stripe.WebhookSignature.verify_header(request.body.decode(), request.signature, "whsec_x", 300)
    with pytest.raises(ValueError, match="empty"):
        signed_request("{}", "")
