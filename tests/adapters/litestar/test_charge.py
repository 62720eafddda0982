"""The native charge routes: one charge per attempt, and every failure told with its status and its way out."""

import json

import anyio
import attrs
import pytest

from tillport.adapters.memory.ledger import MemoryLedger
from tillport.adapters.memory.payments import GatewayFault
from tillport.ports.ledger import LedgerUnavailable

APP_KEY = "app-key-0123456789abcdef"
OTHER_APP_KEY = "app-key-of-another-page-x"
SERVER_KEY = "server-key-0123456789abcdef"
APP = {"Authorization": f"Bearer {APP_KEY}"}
GOOD = {"token": "tok_visa", "amount_minor": 1250}


def error_of(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error["code"]
    assert error["message"]
    assert error["remedy"], "every answer says what to do about it"
    return error


async def test_a_charge_is_answered_with_stripes_object_byte_for_byte(world, client):
    answer = await client.post("/charges", json={**GOOD, "metadata": {"order": "7"}}, headers=APP)
    assert answer.status_code == 200
    assert answer.content == world.gateway.held[0].payment.body
    assert answer.headers["tillport-amount"] == "12.50 USD"
    assert answer.headers["tillport-attempt"] == world.gateway.held[0].key
    assert "idempotent-replayed" not in answer.headers


async def test_a_repeated_request_charges_once_and_says_that_it_is_a_replay(world, client):
    headers = {**APP, "Idempotency-Key": "order-1"}
    first = await client.post("/charges", json=GOOD, headers=headers)
    second = await client.post("/charges", json=GOOD, headers=headers)
    assert second.content == first.content
    assert second.headers["idempotent-replayed"] == "true"
    assert len(world.gateway.held) == 1


async def test_blanks_around_a_header_are_no_part_of_it(world, client):
    for key in ("order-1", "order-1 ", "\torder-1\t "):
        answer = await client.post("/charges", json=GOOD, headers={**APP, "Idempotency-Key": key})
        assert answer.status_code == 200
    assert len(world.gateway.held) == 1


async def test_what_stripe_refused_is_corrected_by_another_request(client):
    headers = {**APP, "Idempotency-Key": "order-1"}
    refused = error_of(
        await client.post("/charges", json={**GOOD, "token": "tok_none"}, headers=headers), 400
    )
    assert refused["code"] == "invalid_request"
    assert "under a new idempotency key" in refused["remedy"]
    error_of(await client.post("/charges", json=GOOD, headers=headers), 409)
    headers["Idempotency-Key"] = "order-1b"
    assert (await client.post("/charges", json=GOOD, headers=headers)).status_code == 200


async def test_a_single_use_token_charges_once_without_any_key(world, client):
    for _ in range(3):
        answer = await client.post("/charges", json={"token": "tok_1Abc", "amount_minor": 500}, headers=APP)
        assert answer.status_code == 200
    assert len(world.gateway.held) == 1


async def test_a_payment_that_needs_its_holder_is_answered_with_the_intent(client):
    answer = await client.post("/charges", json={**GOOD, "token": "tok_threeDSecure2Required"}, headers=APP)
    assert answer.status_code == 200
    assert answer.json()["object"] == "payment_intent"
    assert answer.json()["status"] == "requires_action"
    assert answer.json()["client_secret"]


async def test_a_decline_is_402_with_the_issuers_reason_and_the_attempt(client):
    answer = await client.post(
        "/charges", json={**GOOD, "token": "tok_chargeDeclinedInsufficientFunds"}, headers=APP
    )
    error = error_of(answer, 402)
    assert error["code"] == "card_declined"
    assert error["decline_code"] == "insufficient_funds"
    assert error["attempt"] == answer.headers["tillport-attempt"]


async def test_the_same_key_with_another_amount_is_409_that_reveals_nothing(world, client):
    headers = {**APP, "Idempotency-Key": "order-1"}
    await client.post("/charges", json=GOOD, headers=headers)
    answer = await client.post("/charges", json={**GOOD, "amount_minor": 999}, headers=headers)
    error_of(answer, 409)
    for secret in ("1250", "12.50", "tok_visa", "ch_", "pi_", world.gateway.held[0].key):
        assert secret not in answer.text
    assert "tillport-attempt" not in answer.headers


async def test_what_the_policy_refuses_is_403_and_never_reaches_stripe(world, client):
    error_of(await client.post("/charges", json={**GOOD, "amount_minor": 100_001}, headers=APP), 403)
    assert world.gateway.calls == 0


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (GatewayFault.UNAVAILABLE, 503, "gateway_unavailable"),
        (GatewayFault.MISCONFIGURED, 503, "gateway_misconfigured"),
        (GatewayFault.LOST_ON_THE_WAY, 504, "outcome_unknown"),
        (GatewayFault.ANSWER_LOST, 504, "outcome_unknown"),
    ],
)
async def test_stripes_troubles_are_told_apart_and_the_same_request_mends_them(
    world, client, fault, status, code
):
    world.gateway.strike(fault)
    headers = {**APP, "Idempotency-Key": "order-1"}
    answer = await client.post("/charges", json=GOOD, headers=headers)
    assert error_of(answer, status)["code"] == code
    assert int(answer.headers["retry-after"]) >= 1
    world.gateway.heal()
    assert (await client.post("/charges", json=GOOD, headers=headers)).status_code == 200
    assert sum(held.moved for held in world.gateway.held) == 1


async def test_a_misconfigured_gateway_leaks_nothing_of_what_stripe_said(world, client):
    world.gateway.strike(GatewayFault.MISCONFIGURED)
    answer = await client.post("/charges", json=GOOD, headers=APP)
    status = await client.get(f"/charges/{answer.headers['tillport-attempt']}", headers=APP)
    for said in (answer.text, status.text):
        assert "our key" not in said
        assert "checks the key" not in said


async def test_a_ledger_out_of_reach_is_503_and_nothing_moves(world, client):
    world.ledger.available = False
    answer = await client.post("/charges", json=GOOD, headers=APP)
    assert error_of(answer, 503)["code"] == "ledger_unavailable"
    assert answer.headers["retry-after"]
    assert world.gateway.calls == 0


class AwayLedger(MemoryLedger):
    async def find(self, _key):
        raise LedgerUnavailable("The ledger is away: 10.1.2.3 refused till.", remedy="Look at 10.1.2.3.")


async def test_a_ledger_out_of_reach_is_no_reason_to_pay_again_and_tells_nothing_of_the_database(world):
    """An earlier request may have charged, and one that was written down is made by whoever finds it."""
    till = attrs.evolve(world.till, charging=attrs.evolve(world.till.charging, ledger=AwayLedger()))
    async with world.client(till) as client:
        charge = await client.post("/charges", json=GOOD, headers=APP)
        status = await client.get("/charges/tillport-1", headers=APP)
    for answer in (charge, status):
        assert "Do not pay again" in error_of(answer, 503)["remedy"]
        assert "10.1.2.3" not in answer.text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"amount_minor": 1250}, "token"),
        ({"token": None, "amount_minor": 1250}, "token"),
        ({"token": 7, "amount_minor": 1250}, "token"),
        ({"token": "", "amount_minor": 1250}, "token"),
        ({"token": "4242424242424242", "amount_minor": 1250}, "token"),
        ({"token": "tok_💳", "amount_minor": 1250}, "token"),
        ({"token": "tok_" + "a" * 300, "amount_minor": 1250}, "token"),
        ({"token": "tok_visa"}, "amount_minor"),
        ({"token": "tok_visa", "amount_minor": None}, "amount_minor"),
        ({"token": "tok_visa", "amount_minor": "1250"}, "amount_minor"),
        ({"token": "tok_visa", "amount_minor": 1250.0}, "amount_minor"),
        ({"token": "tok_visa", "amount_minor": 12.5}, "amount_minor"),
        ({"token": "tok_visa", "amount_minor": True}, "amount_minor"),
        ({"token": "tok_visa", "amount_minor": -1250}, "amount_minor"),
        ({"token": "tok_visa", "amount_minor": [1250]}, "amount_minor"),
        ({"token": "tok_visa", "amount_minor": 10**30}, "amount_minor"),
        ({"token": "tok_visa", "amount_minor": 1250, "currency": "xxx"}, "currency"),
        ({"token": "tok_visa", "amount_minor": 1250, "currency": "USD"}, "currency"),
        ({"token": "tok_visa", "amount_minor": 1250, "currency": 840}, "currency"),
        ({"token": "tok_visa", "amount_minor": 1250, "description": 7}, "description"),
        ({"token": "tok_visa", "amount_minor": 1250, "metadata": {"a": 1}}, "metadata"),
        ({"token": "tok_visa", "amount_minor": 1250, "metadata": ["a"]}, "metadata"),
        ({"token": "tok_visa", "amount_minor": 1250, "tip": 3}, "tip"),
        ({"token": "tok_visa", "amount": 1250}, "amount"),
    ],
)
async def test_a_bad_field_is_400_that_names_it(world, client, body, param):
    error = error_of(await client.post("/charges", json=body, headers=APP), 400)
    assert error["param"] == param
    assert world.gateway.calls == 0


@pytest.mark.parametrize("amount_minor", [0, 1, 49, 10**9, 10**15 - 1])
async def test_an_amount_outside_stripes_limits_is_400(world, client, amount_minor):
    error = error_of(
        await client.post("/charges", json={**GOOD, "amount_minor": amount_minor}, headers=APP), 400
    )
    assert error["code"] == "invalid_amount"
    assert world.gateway.calls == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"not json",
        b"token=tok_visa&amount_minor=1250",
        b'{"token":"tok_visa","amount_minor":NaN}',
        b'{"token":"tok_visa","amount_minor":Infinity}',
        b'{"token":"tok_visa","amount_minor":1e999}',
        b'{"token":"tok_visa","amount_minor":' + b"9" * 5000 + b"}",
        b'{"token":"tok_\xff","amount_minor":1250}',
        b'\xff\xfe{\x00"\x00',
        b'{"token":"\\ud800","amount_minor":1250}',
        b'{"token":"tok_visa","amount_minor":1250',
        b'{"token":"tok_visa","amount_minor":1250}{}',
        b"[" * 30_000,
        b'{"a":' * 12_000,
        b"null",
        b'"text"',
        b"7",
        b'[{"token":"tok_visa","amount_minor":1250}]',
        b'[{"token":"tok_visa","amount_minor":1250},{"token":"tok_visa","amount_minor":1250}]',
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_a_body_that_is_no_order_is_400(world, client, body):
    error_of(await client.post("/charges", content=body, headers=APP), 400)
    assert world.gateway.calls == 0


async def test_card_data_is_refused_with_the_way_out_and_never_said_back(client):
    body = {**GOOD, "card_number": "4242424242424242", "4242424242424242": "x"}
    answer = await client.post("/charges", json=body, headers=APP)
    assert "card data" in error_of(answer, 400)["remedy"]
    assert "4242" not in answer.text
    answer = await client.post("/charges", json={"4242424242424242": "x"}, headers=APP)
    error_of(answer, 400)
    assert "4242" not in answer.text


async def test_ten_megabytes_are_413(world, client):
    error_of(await client.post("/charges", content=b"x" * 10_000_000, headers=APP), 413)


async def test_ten_megabytes_without_an_announced_length_are_413_before_they_are_read(world, client):
    sent = 0

    async def endless():
        nonlocal sent
        for _ in range(1000):
            sent += 10_000
            yield b"x" * 10_000

    error_of(await client.post("/charges", content=endless(), headers=APP), 413)
    assert (
        sent < 200_000 or sent == 10_000_000
    )  # this client reads ahead; a real server is asked in test_real.py


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "späß"])
async def test_a_malformed_idempotency_key_is_400(world, client, key):
    headers = [(b"authorization", APP["Authorization"].encode()), (b"idempotency-key", key.encode())]
    answer = await client.post("/charges", json=GOOD, headers=headers)
    assert error_of(answer, 400)["param"] == "idempotency_key"
    assert world.gateway.calls == 0


async def test_two_idempotency_keys_are_400(world, client):
    headers = [*APP.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    error_of(await client.post("/charges", json=GOOD, headers=headers), 400)
    assert world.gateway.calls == 0


@pytest.mark.parametrize("attempt", ["%00", "a%00b", "%C3%A9", "x" * 300, "%0A"])
async def test_what_can_be_no_attempt_is_404_and_no_ledger_is_asked(world, client, attempt):
    world.ledger.available = False
    error_of(await client.get(f"/charges/{attempt}", headers=APP), 404)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer  "},
        {"Authorization": f"Basic {APP_KEY}"},
        {"Authorization": APP_KEY},
        {"Authorization": f"Bearer {APP_KEY}x"},
        {"Authorization": b"Bearer \xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8"},
    ],
)
async def test_without_a_key_it_is_401_before_the_body_is_read(world, client, headers):
    answer = await client.post("/charges", content=b"x" * 10_000_000, headers=headers)
    error_of(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_in_the_query_does_not_open_charges(client):
    error_of(await client.post(f"/charges?key={APP_KEY}", json=GOOD), 401)


async def test_two_authorizations_are_401(client):
    headers = [("Authorization", f"Bearer {APP_KEY}"), ("Authorization", f"Bearer {SERVER_KEY}")]
    error_of(await client.post("/charges", json=GOOD, headers=headers), 401)


async def test_the_status_is_told_to_the_key_that_made_the_attempt_and_to_no_other(client):
    charged = await client.post("/charges", json=GOOD, headers=APP)
    attempt = charged.headers["tillport-attempt"]
    status = (await client.get(f"/charges/{attempt}", headers=APP)).json()
    assert (status["state"], status["final"]) == ("succeeded", True)
    assert status["payment"]["id"] == charged.json()["id"] == status["charge_id"]
    for other in (OTHER_APP_KEY, SERVER_KEY):
        error_of(await client.get(f"/charges/{attempt}", headers={"Authorization": f"Bearer {other}"}), 404)
    error_of(await client.get("/charges/nonsense", headers=APP), 404)
    error_of(await client.get(f"/charges/{attempt}"), 401)


async def test_the_status_shows_an_app_key_what_became_of_the_money_and_no_more(client):
    body = {**GOOD, "description": "for Jenny Rosen", "token": "tok_threeDSecure2Required"}
    for key, sees in ((APP_KEY, False), (SERVER_KEY, True)):
        headers = {"Authorization": f"Bearer {key}"}
        attempt = (await client.post("/charges", json=body, headers=headers)).headers["tillport-attempt"]
        answer = await client.get(f"/charges/{attempt}", headers=headers)
        assert answer.json()["payment"]["status"] == "requires_action"
        assert ("Jenny" in answer.text) is sees
        assert "secret_memory" not in answer.text


async def test_the_status_of_a_failed_attempt_says_why(client):
    body = {**GOOD, "token": "tok_chargeDeclined"}
    attempt = (await client.post("/charges", json=body, headers=APP)).headers["tillport-attempt"]
    answer = await client.get(f"/charges/{attempt}", headers=APP)
    assert answer.status_code == 200
    assert answer.json()["state"] == "declined"
    assert answer.json()["error"]["code"] == "card_declined"


async def test_a_charge_under_way_is_409_with_a_time_to_come_back(make_world):
    world = make_world()
    world.gateway.slow_seconds = 10
    headers = {**APP, "Idempotency-Key": "order-1"}
    async with world.client() as client, anyio.create_task_group() as group:

        async def first():
            assert (await client.post("/charges", json=GOOD, headers=headers)).status_code == 200

        group.start_soon(first)
        await anyio.wait_all_tasks_blocked()
        answer = await client.post("/charges", json=GOOD, headers=headers)
        assert error_of(answer, 409)["code"] == "charge_in_progress"
        assert int(answer.headers["retry-after"]) >= 1
        world.clock.advance(11)
    assert len(world.gateway.held) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/charges", 405),
        ("DELETE", "/charges", 405),
        ("POST", "/health", 405),
    ],
)
async def test_a_wrong_address_or_method_is_told_in_the_same_shape(client, method, path, status):
    answer = await client.request(method, path, headers=APP)
    error_of(answer, status)
    assert ("allow" in answer.headers) is (status == 405)


class BrokenPolicy:
    async def decide(self, order, caller):
        raise ZeroDivisionError(f"choked on {order.token}")


async def test_what_nobody_expected_is_a_500_that_tells_no_more_than_that(world, caplog):
    broken = attrs.evolve(world.till, charging=attrs.evolve(world.till.charging, policy=BrokenPolicy()))
    async with world.client(broken) as client:
        answer = await client.post("/charges", json=GOOD, headers=APP)
    error_of(answer, 500)
    assert "ZeroDivisionError" in caplog.text
    for private in ("tok_visa", APP_KEY):
        assert private not in answer.text
        assert private not in caplog.text
    assert json.loads(answer.content)["error"]["code"] == "internal_error"
