"""Webhooks: signed afresh, retried, and misbehaving as asked."""

import asyncio
import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import stripe

from tillport.simulator import ApiError, Attempt, Fault, Faults, ManualClock, Simulator, sign
from tillport.simulator.sdk import deliver_async

PAY = {"amount": 2000, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}


@pytest.fixture
def endpoint(sim: Simulator) -> Any:
    return sim.webhook_endpoints.create(url="http://hook.test/in", enabled_events=["*"])


def verify(attempt: Attempt, secret: str, clock: ManualClock) -> Any:
    """Judge a delivery as the official SDK does, at the simulator's time."""
    header = attempt.headers["Stripe-Signature"]
    timestamp = int(header.split(",")[0][2:])
    if abs(clock.now() - timestamp) > 300:
        raise stripe.SignatureVerificationError("outside the tolerance zone", header)
    return stripe.Webhook.construct_event(attempt.body, header, secret, tolerance=None)


def test_the_secret_is_shown_once(sim: Simulator, endpoint: Any) -> None:
    assert endpoint.secret.startswith("whsec_")
    shown = sim.webhook_endpoints.retrieve(endpoint.id)
    assert not shown.secret
    assert endpoint.secret not in repr(endpoint)


def test_every_delivery_verifies_with_the_official_sdk(
    sim: Simulator, clock: ManualClock, endpoint: Any
) -> None:
    sim.payment_intents.create(**PAY)
    done = sim.advance(5, lambda attempt: 200 if verify(attempt, endpoint.secret, clock) else 400)
    assert [attempt.event_type for attempt, _ in done] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "charge.updated",
    ]
    body = done[1][0].body
    assert body == json.dumps(json.loads(body), indent=2, ensure_ascii=False).encode()
    assert json.loads(body)["pending_webhooks"] == 1
    assert sim.events.list(limit=1).data[0].pending_webhooks == 0
    assert done[1][0].headers["User-Agent"] == "Stripe/1.0 (+https://stripe.com/docs/webhooks)"


def test_an_endpoint_hears_only_what_it_asked_for(sim: Simulator) -> None:
    sim.webhook_endpoints.create(url="http://hook.test/in", enabled_events=["charge.succeeded"])
    sim.payment_intents.create(**PAY)
    assert [a.event_type for a, _ in sim.deliver(lambda _: 200)] == ["charge.succeeded"]


def test_a_failed_delivery_is_retried_with_a_new_time_and_signature(
    sim: Simulator, clock: ManualClock, endpoint: Any
) -> None:
    sim.payment_intents.create(amount=2000, currency="usd")
    answers = iter([500, 302, None, 200])
    done = sim.advance(86400, lambda _: next(answers))
    assert [attempt.number for attempt, _ in done] == [1, 2, 3, 4]
    assert len({attempt.headers["Stripe-Signature"] for attempt, _ in done}) == 4
    assert len({attempt.event_id for attempt, _ in done}) == 1
    waits = [b.at - a.at for (a, _), (b, _) in pairwise(done)]
    assert waits == [300, 1800, 7200]


def test_what_comes_behind_a_handler_that_raises_is_tried_again(sim: Simulator, endpoint: Any) -> None:
    sim.payment_intents.create(**PAY)
    sim.script(Fault(kind="duplicate", type="payment_intent.created"))

    def crash(attempt: Attempt) -> int:
        raise LookupError(attempt.event_type)

    with pytest.raises(LookupError, match=r"payment_intent\.created"):
        sim.deliver(crash)
    assert sim.events.list(limit=1).data[0].pending_webhooks == 1
    done = sim.advance(300, lambda _: 200)
    assert [(a.event_type, a.number) for a, _ in done] == [
        ("charge.updated", 1),
        ("payment_intent.created", 2),
        ("charge.succeeded", 2),
        ("payment_intent.succeeded", 2),
    ]
    assert sim.backlog == 0


async def test_what_comes_behind_a_handler_that_is_cancelled_is_tried_again(
    sim: Simulator, endpoint: Any
) -> None:
    sim.payment_intents.create(**PAY)
    asked = asyncio.Event()

    async def hang(attempt: Attempt) -> int:
        asked.set()
        await asyncio.Event().wait()
        return 200

    sending = asyncio.create_task(deliver_async(sim, hang))
    await asked.wait()
    sending.cancel()
    await asyncio.wait([sending])
    assert Counter(a.number for a, _ in sim.advance(300, lambda _: 200)) == {1: 1, 2: 3}
    assert sim.backlog == 0


def test_retries_end_after_three_days_and_the_event_says_so(sim: Simulator, endpoint: Any) -> None:
    sim.payment_intents.create(amount=2000, currency="usd")
    done = sim.advance(10 * 86400, lambda _: 500)
    assert len(done) == 10
    assert done[-1][0].at - done[0][0].at <= 3 * 86400
    assert len(sim.events.list(delivery_success=False).data) == 1
    assert sim.events.list(delivery_success=True).data == []


def test_a_disabled_endpoint_is_left_alone(sim: Simulator, endpoint: Any) -> None:
    sim.webhook_endpoints.update(endpoint.id, disabled=True)
    sim.payment_intents.create(**PAY)
    assert sim.deliver(lambda _: 200) == []


@pytest.mark.parametrize("kind", ["tamper", "wrong_secret", "stale"])
def test_a_forged_or_stale_delivery_does_not_verify_and_is_sent_again(
    sim: Simulator, clock: ManualClock, endpoint: Any, kind: str
) -> None:
    sim.payment_intents.create(amount=2000, currency="usd")
    sim.script(kind)

    def sink(attempt: Attempt) -> int:
        try:
            verify(attempt, endpoint.secret, clock)
        except stripe.SignatureVerificationError:
            return 400
        return 200

    done = sim.advance(400, sink)
    assert [(status, attempt.faults) for attempt, status in done] == [(400, (kind,)), (200, ())]


def test_a_duplicate_is_the_same_event_twice(sim: Simulator, endpoint: Any) -> None:
    sim.payment_intents.create(**PAY)
    sim.script(Fault(kind="duplicate", type="charge.*"))
    seen = Counter(attempt.event_type for attempt, _ in sim.deliver(lambda _: 200))
    assert seen == {"payment_intent.created": 1, "charge.succeeded": 2, "payment_intent.succeeded": 1}


def test_a_dropped_delivery_comes_with_the_retry_and_a_delayed_one_late(
    sim: Simulator, clock: ManualClock, endpoint: Any
) -> None:
    sim.payment_intents.create(**PAY)
    sim.script(
        Fault(kind="drop", type="charge.succeeded"),
        Fault(kind="delay", type="payment_intent.created", seconds=30),
    )
    start = clock.now()
    done = sim.advance(400, lambda _: 200)
    assert [(a.event_type, a.at - start) for a, _ in done] == [
        ("payment_intent.succeeded", 0),
        ("charge.updated", 2),
        ("payment_intent.created", 30),
        ("charge.succeeded", 300),
    ]


@pytest.mark.parametrize("late", ["delay", "reorder"])
def test_what_strikes_beside_a_delay_strikes_when_it_is_over(
    sim: Simulator, endpoint: Any, late: str
) -> None:
    sim.payment_intents.create(amount=2000, currency="usd")
    sim.script(late, "duplicate", "tamper")
    assert sim.deliver(lambda _: 200) == []
    done = sim.advance(70, lambda _: 200)
    assert [attempt.faults for attempt, _ in done] == [("duplicate", "tamper")] * 2
    sim.payment_intents.create(amount=2000, currency="usd")
    sim.script(late, "drop")
    done = sim.advance(370, lambda _: 200)
    assert [(attempt.number, attempt.faults) for attempt, _ in done] == [(2, ())]


def test_shuffled_deliveries_come_in_another_order_that_the_seed_repeats() -> None:
    def order(seed: int) -> list[str]:
        sim = Simulator(clock=ManualClock(), seed=seed, faults=Faults(shuffle=True))
        sim.webhook_endpoints.create(url="http://hook.test/", enabled_events=["*"])
        for _ in range(5):
            sim.payment_intents.create(**PAY)
        return [attempt.event_type for attempt, _ in sim.deliver(lambda _: 200)]

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1


def test_an_event_is_redelivered_by_hand(sim: Simulator, endpoint: Any) -> None:
    sim.payment_intents.create(amount=2000, currency="usd")
    sim.deliver(lambda _: 200)
    event = sim.events.list().data[0]
    sim.events.retry(event.id, webhook_endpoint=endpoint.id)
    assert [attempt.event_id for attempt, _ in sim.deliver(lambda _: 200)] == [event.id]


def test_a_resend_to_an_endpoint_that_goes_away_takes_nothing_from_another(
    sim: Simulator, endpoint: Any
) -> None:
    other = sim.webhook_endpoints.create(url="http://other.test/in", enabled_events=["*"])
    sim.payment_intents.create(amount=2000, currency="usd")
    sim.deliver(lambda attempt: 200 if attempt.endpoint_id == endpoint.id else 500)
    (event,) = sim.events.list().data
    assert event.pending_webhooks == 1
    sim.events.retry(event.id, webhook_endpoint=endpoint.id)
    sim.webhook_endpoints.delete(endpoint.id)
    assert sim.deliver(lambda _: 200) == []
    assert sim.events.retrieve(event.id).pending_webhooks == 1
    assert [attempt.endpoint_id for attempt, _ in sim.advance(300, lambda _: 200)] == [other.id]
    assert sim.events.retrieve(event.id).pending_webhooks == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://hook.test/",
        "HTTPS://hook.test:8443/in?a=b",
        "http://[::1]:80/",
        "http://f\u00fcr.test/\u00fc",
        f"http://{'a' * 63}.test./",
    ],
)
def test_an_endpoint_may_be_anywhere(sim: Simulator, url: str) -> None:
    assert sim.webhook_endpoints.create(url=url, enabled_events=["*"]).url == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hook.test/in", "explicit scheme"),
        ("ftp://hook.test/", "explicit scheme"),
        ("", "explicit scheme"),
        ("http://", "Not a valid URL"),
        ("http:///in", "Not a valid URL"),
        ("http://hook.test/a b", "Not a valid URL"),
        ("http://hook.test:0x50/", "Not a valid URL"),
        ("http://hook.test:99999/", "Not a valid URL"),
        ("http://[::1/", "Not a valid URL"),
        ("http://hook..test/in", "Not a valid URL"),
        ("http://.hook.test/in", "Not a valid URL"),
        (f"http://{'a' * 64}.test/in", "Not a valid URL"),
        ("http://hook.test/\udc80", "Not a valid URL"),
    ],
)
def test_an_endpoint_that_no_request_could_reach_is_refused(sim: Simulator, url: str, words: str) -> None:
    with pytest.raises(ApiError, match=words):
        sim.webhook_endpoints.create(url=url, enabled_events=["*"])
    assert sim.webhook_endpoints.list().data == []


def test_any_body_is_signed_as_stripe_would(clock: ManualClock) -> None:
    body = b'{"id": "evt_mine", "object": "event"}'
    header = sign(body, ["whsec_new", "whsec_old"], int(clock.now()))
    for secret in ("whsec_new", "whsec_old"):
        assert stripe.WebhookSignature.verify_header(body.decode(), header, secret, tolerance=None)
    with pytest.raises(ValueError, match="empty signing secret"):
        sign(body, "", 1)
