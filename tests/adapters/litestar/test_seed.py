"""The seed's URLs, for clients that were written for the plugin."""

import shutil
import subprocess

import httpx
import pytest

KEYED = "/APP-ID/app-key-0123456789abcdef/services/Stripe/charge"
KEYLESS = "/api/services/Stripe/charge"
APP_KEY = "app-key-0123456789abcdef"


def fault_of(answer, status):
    """Check Backendless' shape, which is all that its SDKs read."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert type(body["code"]) is int
    assert isinstance(body["message"], str)
    assert body["message"]
    assert body["errorData"]["remedy"]
    return body


@pytest.fixture(params=[KEYED, KEYLESS])
def path(request):
    return request.param


@pytest.fixture
def world(make_world):
    return make_world(default_app_key=APP_KEY, app_id="APP-ID")


@pytest.mark.parametrize(
    "body",
    [
        b'{"token":"tok_visa","amount":1200}',
        b'[{"token":"tok_visa","amount":1200}]',
        b'{"token":"tok_visa","amount":1200.0}',
        b'{"amount":1.2e3,"token":"tok_visa"}',
        b'{"token":"tok_visa","amount":1200,"___class":"HashMap"}',
        b'{\n"amount" : 1200,\n"token" : "tok_visa" \n}',
        b'{\n"amount" : 1200,\n"token" : tok_visa \n}',
        b'{ "token" : tok_visa, "amount" : 1200 }',
    ],
)
async def test_the_seeds_bodies_charge_and_the_amount_is_said_back_as_people_write_it(
    world, client, path, body
):
    answer = await client.post(path, content=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["object"] == "charge"
    assert answer.json()["amount"] == 1200
    assert answer.headers["tillport-amount"] == "12.00 USD"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"[]", "0 orders"),
        (b'[{"token":"tok_visa","amount":1200},{"token":"tok_visa","amount":1200}]', "2 orders"),
        (b"[[]]", "object"),
        (b"null", "object"),
        (b"", "empty"),
        (b"nonsense", "JSON"),
        (b"amount=1200&token=tok_visa", "JSON"),
        (b"\xff", "UTF-8"),
        (b'{"token":tok_visa","amount":1200}', "JSON"),
        (b'{"amount":1200}', "token"),
        (b'{"token":"tok_visa"}', "amount"),
        (b'{"token":"tok_visa","amount":12.5}', "to charge 12.5 USD, send 1250"),
        (b'{"token":"tok_visa","amount":12.345}', "minor units"),
        (b'{"token":"tok_visa","amount":-12.5}', "with two decimals is 1250"),
        (b'{"token":"tok_visa","amount":5.5,"currency":"isk"}', "with two decimals is 1250"),
        (b'{"token":"tok_visa","amount":12.5,"currency":"xxx"}', "with two decimals is 1250"),
        (b'{"token":"tok_visa","amount":"1200"}', "str"),
        (b'{"token":"tok_visa","amount":true}', "bool"),
        (b'{"token":"tok_visa","amount":null}', "integer"),
        (b'{"token":"tok_visa","amount":-1200}', "negative"),
        (b'{"token":"tok_visa","amount":-1200.0}', "negative"),
        (b'{"token":"tok_visa","amount":0}', "minimum"),
        (b'{"token":"tok_visa","amount":-0.0}', "minimum"),
        (b'{"token":"tok_visa","amount":1e300}', "minor units"),
        (b'{"token":"tok_visa","amount":1e999}', "range"),
        (b'{"token":"tok_visa","amount":NaN}', "JSON"),
        (b'{"token":"tok_visa","amount":999999999999}', "maximum"),
        (b'{"token":"tok_visa","amount":1200,"currency":"xyz"}', "currency"),
        (b'{"token":"tok_visa","amount":12.5,"currency":["usd"]}', "minor units"),
        (b'{"token":"tok_visa","amount":1200,"amount_minor":1200}', "amount"),
    ],
)
async def test_a_bad_body_is_400_in_backendless_shape(world, client, path, body, word):
    fault = fault_of(await client.post(path, content=body), 400)
    assert word in fault["message"]
    assert world.gateway.calls == 0


async def test_ten_megabytes_are_413(client, path):
    fault_of(await client.post(path, content=b" " * 10_000_000), 413)


@pytest.mark.parametrize(
    ("token", "status"),
    [("tok_chargeDeclined", 402), ("tok_unheardOf", 400), ("tok_threeDSecure2Required", 200)],
)
async def test_stripes_answers_have_the_same_status_as_natively(client, path, token, status):
    answer = await client.post(path, json={"token": token, "amount": 1200})
    assert answer.status_code == status
    if status != 200:
        fault_of(answer, status)
    assert answer.headers["tillport-attempt"]


async def test_a_bare_object_and_an_array_of_one_are_the_same_request(world, client, path):
    order = {"token": "tok_1Single", "amount": 1200}
    first = await client.post(path, json=order)
    second = await client.post(path, json=[order])
    assert first.content == second.content
    assert second.headers["idempotent-replayed"] == "true"
    assert len(world.gateway.held) == 1


async def test_an_unknown_key_in_the_url_is_401(client):
    fault_of(await client.post("/APP-ID/unknown/services/Stripe/charge", json={}), 401)


async def test_a_server_key_does_not_charge_from_a_url(world, client):
    order = {"token": "tok_visa", "amount": 1200}
    answer = await client.post("/APP-ID/server-key-0123456789abcdef/services/Stripe/charge", json=order)
    assert "app key" in fault_of(answer, 401)["message"]
    assert world.gateway.calls == 0


async def test_another_app_id_is_404(client):
    fault_of(await client.post(f"/OTHER/{APP_KEY}/services/Stripe/charge", json={}), 404)


async def test_the_form_without_a_key_is_closed_unless_the_settings_name_a_caller(make_world):
    world = make_world()
    async with world.client() as client:
        fault_of(await client.post(KEYLESS, json={"token": "tok_visa", "amount": 1200}), 401)
        answer = await client.post(KEYLESS, json={"token": "tok_visa", "amount": 1200}, headers=world.as_app)
        assert answer.status_code == 200


def test_the_caller_without_a_key_is_an_app_key_or_the_service_does_not_start(make_world):
    for key in ("unknown-key-unknown", "server-key-0123456789abcdef"):
        with pytest.raises(ValueError, match="app keys"):
            make_world(default_app_key=key)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", KEYED, 405),
        ("GET", KEYLESS, 405),
        ("POST", "/APP-ID/KEY/services/Stripe/refund", 404),
        ("POST", "/api/services/Other/charge", 404),
        ("GET", "/APP-ID/KEY/info", 404),
    ],
)
async def test_a_wrong_address_or_method_has_the_shape_too(client, method, path, status):
    fault_of(await client.request(method, path), status)


async def test_no_answer_is_ever_502(world, client, path):
    world.ledger.available = False
    fault_of(await client.post(path, json={"token": "tok_visa", "amount": 1200}), 503)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the seed's line is for curl")
@pytest.mark.parametrize("token", ["tok_visa", '"tok_visa"'])
def test_the_seeds_curl_line_works_as_it_stands(make_real_world, serving, token):
    world = make_real_world()
    with serving(world.app) as port:
        line = f"""curl -s -X "POST" "http://127.0.0.1:{port}/APP-ID/{APP_KEY}/services/Stripe/charge" \\
    -H 'Content-Type: application/json' \\
    -H 'Accept: application/json' \\
    -d $'{{
"amount" : 1200,
"token" : {token}{" "}
}}'"""
        said = subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=20).stdout
    assert httpx.Response(200, content=said).json()["amount"] == 1200
