"""The webhook door: 200 means recorded, 400 means never, 5xx means again; no input makes a 500."""

import asyncio
import json
import tracemalloc

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillport.domain import WebhookRefused

PATHS = [
    "/webhooks/stripe",
    "/APP/any-key-at-all/services/Stripe/webhooks/handler",
    "/api/services/Stripe/webhooks/handler",
]


@pytest.fixture(params=PATHS)
def path(request):
    return request.param


def told(answer, path):
    """Return code, message and remedy in whichever shape belongs to the path."""
    body = answer.json()
    if path == PATHS[0]:
        return body["error"]
    assert body["code"] == answer.status_code
    assert body["errorData"]["message"] in body["message"]
    return body["errorData"]


async def recorded(world):
    return [at.event.id for at in (await world.log.read(after=0)).events]


async def test_a_signed_event_is_recorded_and_acknowledged(world, client, path, make_event):
    body = make_event()
    answer = await client.post(path, content=body, headers={"Stripe-Signature": world.sign(body)})
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    assert (await world.log.find("evt_1")).event.body == body


async def test_what_is_only_accepted_is_the_same_event_and_not_recorded(world, make_event):
    body = make_event()
    signature = world.sign(body)
    accepted = world.till.accept(body, signature)
    assert await recorded(world) == []
    receipt = await world.till.receive(body, signature)
    assert (receipt.event, receipt.new) == (accepted, True)
    with pytest.raises(WebhookRefused):
        world.till.accept(body, world.sign(body, secret="whsec_other"))


async def test_a_repeated_event_is_acknowledged_and_recorded_once(world, client, path, make_event):
    body = make_event()
    for _ in range(3):
        answer = await client.post(path, content=body, headers={"Stripe-Signature": world.sign(body)})
        assert answer.status_code == 200
    assert await recorded(world) == ["evt_1"]


async def test_an_unknown_event_type_is_recorded_and_acknowledged(world, client, path, make_event):
    body = make_event(kind="something.stripe.invents.tomorrow")
    answer = await client.post(path, content=body, headers={"Stripe-Signature": world.sign(body)})
    assert answer.status_code == 200
    assert await recorded(world) == ["evt_1"]


def signatures(world, body):
    good = world.sign(body)
    now = world.clock.now()
    return {
        "no header": (None, "signature_missing"),
        "empty": ("", "signature_missing"),
        "garbled": ("garbled", "signature_malformed"),
        "no timestamp": (good.partition(",")[2], "signature_malformed"),
        "no signature": (good.partition(",")[0], "signature_malformed"),
        "not ASCII": (good.replace("v1=", "v1=é"), "signature_malformed"),
        "not even UTF-8": (b"t=1,v1=\xff\xfe", "signature_malformed"),
        "upper case": (good.upper(), "signature_malformed"),
        "endless": (good + ",v1=" + "0" * 60_000, "signature_malformed"),
        "another secret": (world.sign(body, secret="whsec_other"), "signature_mismatch"),
        "forged": (f"t={int(now)},v1={'0' * 64}", "signature_mismatch"),
        "stale": (world.sign(body, at=now - 301), "timestamp_outside_tolerance"),
        "from the future": (world.sign(body, at=now + 301), "timestamp_outside_tolerance"),
    }


CASES = [
    "no header", "empty", "garbled", "no timestamp", "no signature", "not ASCII", "not even UTF-8", "upper case",
    "endless", "another secret", "forged", "stale", "from the future",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_what_is_not_from_stripe_is_400_with_a_word_on_what_to_do(
    world, client, path, make_event, case
):
    body = make_event()
    header, code = signatures(world, body)[case]
    raw = header.encode() if isinstance(header, str) else header
    answer = await client.post(
        path, content=body, headers=[] if raw is None else [(b"stripe-signature", raw)]
    )
    assert answer.status_code == 400
    error = told(answer, path)
    assert error["code"] == code
    assert error["remedy"]
    assert await recorded(world) == []


async def test_two_signature_headers_are_400(world, client, path, make_event):
    body = make_event()
    headers = [("stripe-signature", world.sign(body)), ("stripe-signature", world.sign(body))]
    assert (await client.post(path, content=body, headers=headers)).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"not json",
        b"\xff\xfe",
        b'{"id":"evt_1","object":"charge"}',
        b'{"id":"evt_1","object":"v2.core.event","type":"v2.x"}',
        b'{"id":7,"object":"event","type":"a","created":1,"livemode":false,"data":{"object":{}}}',
        b'{"id":"evt_1","object":"event","type":"a","created":"now","livemode":false,"data":{"object":{}}}',
        b'{"id":"evt_1","object":"event","type":"a","created":1,"livemode":false,"data":{"object":[]}}',
        b'{"id":"evt_1","object":"event","type":"a","created":1,"livemode":false,"data":null}',
        b'{"id":"","object":"event","type":"a","created":1,"livemode":false,"data":{"object":{}}}',
        b'{"id":"evt_1","object":"event","type":"a","created":1,"livemode":false,"data":{"object":{"x":"\xff"}}}',
        b'{"id":"evt_\\u0000","object":"event","type":"a","created":1,"livemode":false,"data":{"object":{}}}',
        b'{"id":"evt_1","object":"event","type":"a","created":99999999999999999999,"livemode":false,"data":{"object":{}}}',
        b'{"x":' + b"[" * 200_000,
        b"[" * 200_000,
    ],
    ids=lambda body: repr(body[:60]),
)
async def test_a_valid_signature_over_no_event_is_400(world, client, path, body):
    answer = await client.post(path, content=body, headers={"Stripe-Signature": world.sign(body)})
    assert answer.status_code == 400, answer.text
    assert told(answer, path)["remedy"]
    assert await recorded(world) == []


async def test_an_event_of_stripes_that_no_store_can_hold_is_told_to_the_operator(
    world, client, path, caplog
):
    """Nobody else would notice: Stripe gives up after three days, and a forger's refusals are many."""
    body = (
        b'{"id":"evt_\\u0000","object":"event","type":"a","created":1,"livemode":false,"data":{"object":{}}}'
    )
    answer = await client.post(path, content=body, headers={"Stripe-Signature": world.sign(body)})
    assert told(answer, path)["code"] == "event_refused"
    await client.post(path, content=body, headers={"Stripe-Signature": "t=1,v1=00"})
    assert ["event_refused" in one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == [
        True
    ]


@given(body=st.binary(max_size=300), signature=st.binary(max_size=120), sign=st.booleans())
def test_no_bytes_whatever_make_a_500(make_world, body, signature, sign):
    world = make_world()

    async def knock() -> None:
        raw = world.sign(body).encode() if sign else bytes(c for c in signature if c not in b"\r\n\0")
        async with world.client() as client:
            for path in PATHS:
                answer = await client.post(path, content=body, headers=[(b"stripe-signature", raw)])
                assert answer.status_code == 400

    asyncio.run(knock())


async def test_a_test_event_at_a_live_till_is_400(make_world, make_event, path):
    world = make_world(livemode=True)
    body = make_event()
    async with world.client() as client:
        answer = await client.post(path, content=body, headers={"Stripe-Signature": world.sign(body)})
    assert answer.status_code == 400
    assert told(answer, path)["code"] == "wrong_mode"


async def test_more_than_a_megabyte_is_413(world, client, path):
    body = b" " * 10_000_000
    answer = await client.post(path, content=body, headers={"Stripe-Signature": world.sign(body)})
    assert answer.status_code == 413
    assert told(answer, path)["remedy"]


async def test_an_unannounced_flood_is_cut_off(world, path):
    """Straight at the ASGI application: how much of the flood is taken in is what counts."""
    taken = 0

    async def receive():
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"x" * 65_536, "more_body": True}

    sent = []

    async def send(message):
        sent.append(message)

    await world.app(scope_of(path), receive, send)
    assert sent[0]["status"] == 413
    assert taken <= 17


async def test_a_body_in_very_many_pieces_is_held_in_its_own_size(world, path):
    """As above: a client may send two bytes at a time, and each would cost an object of its own."""
    pieces, came, held = 100_000, 0, 0

    async def receive():
        nonlocal came, held
        came += 1
        held = tracemalloc.get_traced_memory()[0]
        return {"type": "http.request", "body": bytes((came & 0xFF, came >> 9)), "more_body": came < pieces}

    async def send(message):
        pass

    tracemalloc.start()
    try:
        await world.app(scope_of(path), receive, send)
    finally:
        tracemalloc.stop()
    assert came == pieces
    assert held < 5 * pieces


async def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(world, path, caplog):
    messages = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive():
        return messages.pop(0)

    async def send(message):
        pass

    await world.app(scope_of(path), receive, send)
    assert await recorded(world) == []
    assert not caplog.records


def scope_of(path):
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"till.test")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


async def test_a_log_out_of_reach_is_503_so_that_stripe_comes_again(world, client, path, make_event):
    body = make_event()
    headers = {"Stripe-Signature": world.sign(body)}
    world.log.available = False
    answer = await client.post(path, content=body, headers=headers)
    assert answer.status_code == 503
    assert told(answer, path)["code"] == "log_unavailable"
    assert int(answer.headers["retry-after"]) >= 1
    world.log.available = True
    assert (await client.post(path, content=body, headers=headers)).status_code == 200
    assert await recorded(world) == ["evt_1"]


class FailingLog:
    """A log that fails as a test says."""

    def __init__(self, error):
        self.error = error

    async def record(self, events):
        raise self.error


async def test_an_overloaded_log_is_503_and_says_when_to_come_back(world, path, make_event):
    from tillport.ports.event_log import LogOverloaded

    body = make_event()
    full = attrs.evolve(world.till, log=FailingLog(LogOverloaded("Too many wait.", retry_after_seconds=7)))
    async with world.client(full) as client:
        answer = await client.post(path, content=body, headers={"Stripe-Signature": world.sign(body)})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


async def test_what_nobody_expected_is_500_and_nothing_of_the_request_reaches_the_log_file(
    world, path, make_event, caplog
):
    body = make_event()
    broken = attrs.evolve(world.till, log=FailingLog(RuntimeError(f"choked on {body!r}")))
    caplog.set_level("DEBUG")
    async with world.client(broken) as client:
        answer = await client.post(path, content=body, headers={"Stripe-Signature": world.sign(body)})
    assert answer.status_code == 500
    ours = "".join(record.getMessage() for record in caplog.records if record.name.startswith("tillport"))
    assert "RuntimeError" in ours
    for private in ("jenny", "evt_1", world.sign(body), "any-key-at-all"):
        assert private not in ours
        assert private not in answer.text


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "PATCH"])
async def test_another_method_is_405_with_words(client, path, method):
    answer = await client.request(method, path)
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    if method != "HEAD":
        assert told(answer, path)["remedy"]


async def test_the_door_is_open_to_stripe_without_any_api_key(world, client, make_event):
    body = json.dumps(json.loads(make_event(5))).encode()
    answer = await client.post(
        "/APP/THIS-KEY-IS-UNKNOWN/services/Stripe/webhooks/handler",
        content=body,
        headers={"Stripe-Signature": world.sign(body)},
    )
    assert answer.status_code == 200
