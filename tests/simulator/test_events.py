"""Events: what they say changed, how long they are kept, thin ones, and those of one's own making."""

from typing import Any

import msgspec
import pytest
import stripe

from tillport.simulator import ApiError, Attempt, ManualClock, Simulator
from tillport.simulator.sdk import SimulatorHTTPClient

PAY: dict[str, Any] = {"amount": 2000, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
URL = "http://hook.test/"


def test_previous_attributes_hold_what_changed_and_nothing_else(sim: Simulator) -> None:
    customer = sim.customers.create(metadata={"a": "1", "b": "2"}, address={"city": "X", "line1": "Y"})
    sim.customers.update(customer.id, metadata={"a": "3", "c": "4"}, address={"city": "Z", "line1": "Y"})
    event = sim.events.list(type="customer.updated").data[0]
    assert event.data.previous_attributes == {"address": {"city": "X"}, "metadata": {"a": "1", "c": None}}


def test_events_of_several_types_come_in_one_order(sim: Simulator) -> None:
    for _ in range(3):
        sim.payment_intents.create(**PAY)
    wanted = ["charge.succeeded", "payment_intent.succeeded"]
    found = sim.events.list(types=wanted, limit=4)
    everything = [e.id for e in sim.events.list(limit=100).data if e.type in wanted]
    assert ([e.id for e in found.data], found.has_more) == (everything[:4], True)
    rest = sim.events.list(types=wanted, limit=4, starting_after=found.data[-1].id)
    assert ([e.id for e in rest.data], rest.has_more) == (everything[4:], False)
    back = sim.events.list(types=wanted, ending_before=rest.data[-1].id, limit=2)
    assert [e.id for e in back.data] == everything[3:5]


def test_undelivered_events_are_listed_apart(sim: Simulator) -> None:
    sim.webhook_endpoints.create(url=URL, enabled_events=["charge.succeeded"])
    sim.payment_intents.create(**PAY)
    assert [e.type for e in sim.events.list(delivery_success=False).data] == ["charge.succeeded"]
    assert "charge.succeeded" not in [e.type for e in sim.events.list(delivery_success=True).data]
    sim.deliver(lambda _: 200)
    assert sim.events.list(delivery_success=False).data == []


def test_an_event_is_kept_for_thirty_days(sim: Simulator) -> None:
    sim.payment_intents.create(**PAY)
    event = sim.events.list().data[0]
    sim.advance(30 * 86400)
    assert sim.events.retrieve(event.id).id == event.id
    sim.advance(1)
    assert event.id not in [e.id for e in sim.events.list(limit=100).data]
    with pytest.raises(ApiError, match="No such event"):
        sim.events.retrieve(event.id)


def test_an_endpoint_that_fails_for_days_is_disabled_and_may_come_back(sim: Simulator) -> None:
    endpoint = sim.webhook_endpoints.create(url=URL, enabled_events=["*"])
    for _ in range(4):
        sim.payment_intents.create(**PAY)
        sim.advance(86400, lambda _: 500)
    assert sim.webhook_endpoints.retrieve(endpoint.id).status == "disabled"
    sim.advance(20 * 86400, lambda _: 200)
    sim.webhook_endpoints.update(endpoint.id, disabled=False)
    sim.payment_intents.create(**PAY)
    assert len(sim.deliver(lambda _: 200)) == 3


def test_one_success_among_failures_keeps_an_endpoint(sim: Simulator) -> None:
    endpoint = sim.webhook_endpoints.create(url=URL, enabled_events=["charge.succeeded"])
    for day in range(6):
        sim.payment_intents.create(**PAY)
        sim.advance(86400, lambda _, day=day: 200 if day == 3 else 500)
    assert sim.webhook_endpoints.retrieve(endpoint.id).status == "enabled"


@pytest.mark.parametrize("end", ["delete", "disable"])
def test_an_endpoint_that_is_gone_gets_no_retries(sim: Simulator, end: str) -> None:
    endpoint = sim.webhook_endpoints.create(url=URL, enabled_events=["*"])
    sim.payment_intents.create(**PAY)
    assert len(sim.deliver(lambda _: 500)) == 3
    if end == "delete":
        sim.webhook_endpoints.delete(endpoint.id)
    else:
        sim.webhook_endpoints.update(endpoint.id, disabled=True)
    assert sim.advance(4 * 86400, lambda _: 200) == []
    assert sim.events.list(delivery_success=False).data == []


def test_both_secrets_sign_while_one_rolls(sim: Simulator) -> None:
    endpoint = sim.webhook_endpoints.create(url=URL, enabled_events=["charge.succeeded"])
    rolled = sim.roll_secret(endpoint.id, keep_seconds=3600)
    assert rolled.secret != endpoint.secret

    def verified_by() -> list[bool]:
        sim.payment_intents.create(**PAY)
        (attempt,) = sim.due_deliveries()
        sim.delivery_result(attempt, 200)
        good = []
        for secret in (endpoint.secret, rolled.secret):
            try:
                stripe.WebhookSignature.verify_header(
                    attempt.body.decode(), attempt.headers["Stripe-Signature"], secret
                )
                good.append(True)
            except stripe.SignatureVerificationError:
                good.append(False)
        return good

    assert verified_by() == [True, True]
    sim.advance(3601)
    assert verified_by() == [False, True]
    with pytest.raises(ApiError, match="24 hours"):
        sim.roll_secret(endpoint.id, keep_seconds=86401)
    with pytest.raises(ApiError, match="No such webhook_endpoint"):
        sim.roll_secret("we_nothing")


def test_an_event_of_ones_own_making_is_delivered_and_listed(sim: Simulator) -> None:
    sim.webhook_endpoints.create(url=URL, enabled_events=["invoice.paid"])
    sent = sim.send_event(
        "invoice.paid",
        {"id": "in_1", "object": "invoice", "paid": True},
        previous_attributes={"paid": False},
    )
    (attempt,) = sim.due_deliveries()
    body = msgspec.json.decode(attempt.body)
    assert body["id"] == sent.id == sim.events.list(type="invoice.paid").data[0].id
    assert body["data"] == {
        "object": {"id": "in_1", "object": "invoice", "paid": True},
        "previous_attributes": {"paid": False},
    }
    sim.send_event("balance.available", {"object": "balance"})


@pytest.mark.parametrize(
    ("type_", "about"), [("nonsense", {"object": "x"}), ("a.b", {}), ("A.b c", {"object": "x"})]
)
def test_what_is_no_event_is_not_sent(sim: Simulator, type_: str, about: dict[str, Any]) -> None:
    with pytest.raises(ApiError):
        sim.send_event(type_, about)
    assert sim.events.list().data == []


def test_an_endpoints_version_is_that_of_its_events(sim: Simulator) -> None:
    sim.webhook_endpoints.create(url=URL, enabled_events=["charge.succeeded"], api_version="2025-03-31.basil")
    sim.payment_intents.create(**PAY)
    (attempt,) = sim.due_deliveries()
    assert msgspec.json.decode(attempt.body)["api_version"] == "2025-03-31.basil"
    with pytest.raises(ApiError, match="Invalid API version"):
        sim.webhook_endpoints.create(url=URL, enabled_events=["*"], api_version="latest")


def thin_endpoint(client: stripe.StripeClient, *types: str) -> str:
    destination = client.v2.core.event_destinations.create(
        {
            "name": "thin",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": list(types),
            "webhook_endpoint": {"url": URL},
            "include": ["webhook_endpoint.signing_secret", "webhook_endpoint.url"],
        }
    )
    assert destination.webhook_endpoint is not None
    secret = destination.webhook_endpoint.signing_secret
    assert secret is not None
    assert destination.webhook_endpoint.url == URL
    return secret


def test_the_official_sdk_reads_thin_events_and_fetches_what_they_name() -> None:
    sim = Simulator(seed=3)
    client = stripe.StripeClient(sim.secret_key, http_client=SimulatorHTTPClient(sim))
    secret = thin_endpoint(client, "v1.charge.succeeded")
    intent = client.v1.payment_intents.create(PAY, options={"idempotency_key": "order-1"})
    (attempt,) = sim.due_deliveries()
    notice: Any = client.parse_event_notification(attempt.body, attempt.headers["Stripe-Signature"], secret)
    assert type(notice).__name__ == "V1ChargeSucceededEventNotification"
    assert notice.related_object.id == intent.latest_charge
    assert notice.reason.request.idempotency_key == "order-1"
    assert notice.fetch_related_object().amount == 2000
    event = notice.fetch_event()
    assert (event.id, event.type) == (notice.id, "v1.charge.succeeded")
    assert client.v1.events.retrieve(event.snapshot_event).type == "charge.succeeded"


def test_a_thin_event_about_what_there_is_one_of_tells_no_id() -> None:
    # The SDK refuses signatures of the past; those of the year 2100 it takes.
    sim = Simulator(clock=ManualClock(4_102_444_800), seed=3)
    client = stripe.StripeClient(sim.secret_key, http_client=SimulatorHTTPClient(sim))
    secret = thin_endpoint(client, "v1.balance.available", "v1.cash_balance.funds_available")
    client.v1.payment_intents.create(PAY)
    customer = client.v1.customers.create()
    client.v1.test_helpers.customers.fund_cash_balance(customer.id, {"amount": 500, "currency": "eur"})
    sim.advance(3 * 86400)
    bodies: dict[str, bytes] = {}
    for attempt in sim.due_deliveries():
        notice: Any = client.parse_event_notification(
            attempt.body, attempt.headers["Stripe-Signature"], secret
        )
        related = msgspec.json.decode(attempt.body)["related_object"]
        assert related == {"type": notice.related_object.type, "url": notice.related_object.url}
        assert notice.fetch_related_object().object == notice.related_object.type
        assert notice.fetch_event().related_object.url == notice.related_object.url
        bodies[notice.type] = related["url"]
    assert bodies == {
        "v1.balance.available": "/v1/balance",
        "v1.cash_balance.funds_available": f"/v1/customers/{customer.id}/cash_balance",
    }


def test_a_thin_event_about_an_unknown_thing_names_no_object(sim: Simulator) -> None:
    client = stripe.StripeClient(sim.secret_key, http_client=SimulatorHTTPClient(sim))
    thin_endpoint(client, "*")
    sim.send_event("charge.succeeded", {"object": "charge"})
    (attempt,) = sim.due_deliveries()
    assert msgspec.json.decode(attempt.body)["related_object"] is None


def test_a_snapshot_and_a_thin_event_of_one_change_have_two_ids(sim: Simulator) -> None:
    client = stripe.StripeClient(sim.secret_key, http_client=SimulatorHTTPClient(sim))
    thin_endpoint(client, "*")
    sim.webhook_endpoints.create(url=URL, enabled_events=["charge.succeeded"])
    sim.charges.create(amount=2000, currency="usd", source="tok_visa")
    bodies = [msgspec.json.decode(attempt.body) for attempt in sim.due_deliveries()]
    assert {body["object"] for body in bodies} == {"event", "v2.core.event"}
    assert len({body["id"] for body in bodies}) == 2


def test_a_destination_is_managed_like_an_endpoint(sim: Simulator) -> None:
    client = stripe.StripeClient(sim.secret_key, http_client=SimulatorHTTPClient(sim))
    thin_endpoint(client, "v1.charge.succeeded")
    service = client.v2.core.event_destinations
    (found,) = service.list().data
    assert not hasattr(found.webhook_endpoint, "signing_secret")
    assert service.disable(found.id).status == "disabled"
    sim.charges.create(amount=2000, currency="usd", source="tok_visa")
    assert sim.due_deliveries() == []
    assert service.update(found.id, {"name": "new"}).name == "new"
    assert service.enable(found.id).status == "enabled"
    assert service.delete(found.id).id == found.id
    assert service.list().data == []


@pytest.mark.parametrize(
    ("payload", "fit", "other"),
    [
        ("thin", "v1.charge.succeeded", "charge.succeeded"),
        ("snapshot", "charge.succeeded", "v1.charge.succeeded"),
    ],
)
def test_a_changed_destination_takes_only_events_of_its_payload(
    sim: Simulator, payload: str, fit: str, other: str
) -> None:
    made = sim.event_destinations.create(
        name="x",
        type="webhook_endpoint",
        event_payload=payload,
        enabled_events=[fit],
        webhook_endpoint={"url": URL},
    )
    with pytest.raises(ApiError) as refused:
        sim.event_destinations.update(made.id, enabled_events=[other])
    assert (refused.value.status, refused.value.param) == (400, "enabled_events")
    assert sim.event_destinations.update(made.id, enabled_events=[fit, "*"]).enabled_events == [fit, "*"]


def test_an_event_is_delivered_again_by_hand(sim: Simulator, clock: ManualClock) -> None:
    endpoint = sim.webhook_endpoints.create(url=URL, enabled_events=["charge.succeeded"])
    sim.payment_intents.create(**PAY)
    seen: list[Attempt] = []
    sim.deliver(lambda attempt: seen.append(attempt) or 200)
    sim.events.retry(seen[0].event_id, webhook_endpoint=endpoint.id)
    clock.advance(60)
    sim.deliver(lambda attempt: seen.append(attempt) or 200)
    assert [attempt.event_id for attempt in seen] == [seen[0].event_id] * 2
    assert seen[0].headers["Stripe-Signature"] != seen[1].headers["Stripe-Signature"]
