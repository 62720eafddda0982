"""What Stripe remembers, page by page."""

import json

import pytest

from tillport.adapters.stripe import StripeConnection, StripeGateway, StripeHistory
from tillport.ports.history import MovementKind
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder, GatewayMisconfigured, GatewayUnavailable
from tillport.simulator import ManualClock, Simulator
from tillport.simulator.sdk import SimulatorHTTPClient


class Waiting:
    """The simulator's clock, moved by whoever waits."""

    def __init__(self, sim):
        self.sim = sim

    def now(self):
        return self.sim.clock.now()

    async def sleep_until(self, moment):
        self.sim.advance(max(0.0, moment - self.now()))


@pytest.fixture
async def sim():
    return Simulator(clock=ManualClock(), seed=1)


@pytest.fixture
async def connection(sim):
    async with StripeConnection(
        sim.secret_key,
        clock=Waiting(sim),
        base_address="http://in.process",
        http_client=SimulatorHTTPClient(sim),
    ) as made:
        yield made


async def all_events(history, **window):
    page = await history.events(**window)
    found = list(page.events)
    while page.cursor is not None:
        page = await history.events(**window, cursor=page.cursor)
        found += page.events
    return [json.loads(event) for event in found]


async def test_every_event_comes_once_newest_first(sim, connection):
    begun = sim.clock.now()
    for _ in range(80):
        sim.payment_intents.create(amount=1000, currency="usd", payment_method="pm_card_visa", confirm=True)
        sim.advance(1)
    events = await all_events(StripeHistory(connection), since=begun)
    created = [event["created"] for event in events]
    assert len(events) == len({event["id"] for event in events}) > 200
    assert created == sorted(created, reverse=True)
    assert {event["object"] for event in events} == {"event"}


async def test_the_window_includes_its_start_and_not_its_end(sim, connection):
    begun = sim.clock.now()
    for _ in range(3):
        sim.payment_methods.create(type="card", card={"token": "tok_visa"})
        sim.payment_intents.create(amount=1000, currency="usd")
        sim.advance(10)
    events = await all_events(StripeHistory(connection), since=begun + 10, until=begun + 20)
    assert [event["created"] for event in events] == [int(begun) + 10]


async def test_undelivered_events_can_be_asked_for_alone(sim, connection):
    sim.webhook_endpoints.create(url="https://shop.example/hook", enabled_events=["*"])
    begun = sim.clock.now()
    sim.payment_intents.create(amount=1000, currency="usd")
    sim.deliver(lambda _: 200)
    sim.payment_intents.create(amount=2000, currency="usd")
    sim.deliver(lambda _: 500)
    history = StripeHistory(connection)
    assert len(await all_events(history, since=begun)) == 2
    [missed] = await all_events(history, since=begun, undelivered=True)
    assert missed["data"]["object"]["amount"] == 2000


async def test_a_charge_has_its_line_with_the_key_of_its_attempt(sim, connection):
    begun = sim.clock.now()
    payment = await StripeGateway(connection).charge(
        ChargeOrder("tok_visa", Money(1250, "usd")), idempotency_key="key-1"
    )
    sim.payment_intents.create(amount=99, currency="usd", payment_method="pm_card_visa", confirm=True)
    sim.advance(10)
    page = await StripeHistory(connection).movements(since=begun)
    assert page.cursor is None
    other, ours = sorted(page.movements, key=lambda movement: movement.amount_minor)
    assert (ours.kind, ours.type, ours.amount_minor, ours.currency) == (
        MovementKind.CHARGE,
        "charge",
        1250,
        "usd",
    )
    assert ours.net_minor == ours.amount_minor - ours.fee_minor
    assert (ours.charge_id, ours.payment_intent_id) == (payment.charge_id, payment.payment_intent_id)
    assert (ours.attempt_key, other.attempt_key) == ("key-1", None)


def line(number, source, type_="charge"):
    return {
        "id": f"txn_{number}", "object": "balance_transaction", "type": type_, "amount": -5, "fee": 0, "net": -5,
        "currency": "usd", "created": 7, "source": source,
    }  # fmt: skip


async def test_lines_name_the_charge_that_they_are_about(server, gateway):
    refund = {"id": "re_1", "object": "refund", "charge": "ch_1", "payment_intent": "pi_1", "metadata": {}}
    dispute = {"id": "du_1", "object": "dispute", "charge": "ch_2", "payment_intent": None, "metadata": {}}
    payout = {"id": "po_1", "object": "payout", "amount": 5}
    lines = [
        line(1, refund, "refund"),
        line(2, dispute, "adjustment"),
        line(3, payout, "payout"),
        line(4, "ch_4", "payment"),
    ]
    server.will(
        {"status": 200, "body": {"object": "list", "data": lines[:2], "has_more": True}},
        {"status": 200, "body": {"object": "list", "data": lines[2:], "has_more": False}},
    )
    history = StripeHistory(gateway.connection)
    first = await history.movements(since=1.5, until=8.2)
    second = await history.movements(since=1.5, until=8.2, cursor=first.cursor)
    found = [(it.kind, it.charge_id, it.payment_intent_id) for it in first.movements + second.movements]
    assert found == [
        (MovementKind.REFUND, "ch_1", "pi_1"),
        (MovementKind.DISPUTE, "ch_2", None),
        (MovementKind.OTHER, None, None),
        (MovementKind.CHARGE, "ch_4", None),
    ]
    assert server.seen[0].form == {
        "created[gte]": "1", "created[lt]": "9", "limit": "100", "expand[0]": "data.source"
    }  # fmt: skip
    assert server.seen[1].form["starting_after"] == "txn_2"
    assert second.cursor is None


async def test_a_bank_debit_counts_once_it_is_paid(server, gateway):
    def debit(number, status):
        return {"id": f"py_{number}", "object": "charge", "status": status, "metadata": {}}

    back = {"id": "pyr_2", "object": "refund", "charge": "py_2", "status": "succeeded"}
    lines = [
        line(1, debit(1, "pending"), "payment"),
        line(2, debit(2, "failed"), "payment"),
        line(3, debit(2, "failed"), "payment_failure_refund"),
        line(4, back, "payment_failure_refund"),
        line(5, debit(3, "succeeded"), "payment"),
    ]
    server.will({"status": 200, "body": {"object": "list", "data": lines, "has_more": False}})
    page = await StripeHistory(gateway.connection).movements(since=0)
    kinds = [movement.kind for movement in page.movements]
    assert kinds == [MovementKind.OTHER] * 4 + [MovementKind.CHARGE]


async def test_events_are_the_bytes_that_stripe_listed(server, gateway):
    raw = b'{ "id":"evt_1",\n "n": 1.50, "t":"\\u00e9" }'
    server.will({"status": 200, "body": b'{"data": [' + raw + b'], "has_more": true}'})
    page = await StripeHistory(gateway.connection).events(since=0)
    assert page.events == (raw,)
    assert page.cursor == "evt_1"
    assert "events=" not in repr(page)


INVALID = {"error": {"type": "invalid_request_error", "message": "no"}}


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"status": 401, "body": INVALID}, GatewayMisconfigured),
        ({"status": 403, "body": INVALID}, GatewayMisconfigured),
        ({"status": 403, "body": b"<html>"}, GatewayUnavailable),
        ({"status": 429, "body": INVALID}, GatewayUnavailable),
        ({"status": 500, "body": INVALID}, GatewayUnavailable),
        ({"status": 404, "body": INVALID}, GatewayUnavailable),
        ({"reset": True}, GatewayUnavailable),
        ({"status": 200, "body": {"data": 7}}, GatewayUnavailable),
        ({"status": 200, "body": {"data": [7], "has_more": True}}, GatewayUnavailable),
        ({"status": 200, "body": {"data": [], "has_more": True}}, GatewayUnavailable),
    ],
    ids=repr,
)
async def test_trouble_is_told_and_never_an_empty_page(server, gateway, script, expected):
    server.will(script)
    history = StripeHistory(gateway.connection)
    for ask in (history.events, history.movements):
        with pytest.raises((GatewayMisconfigured, GatewayUnavailable)) as told:
            await ask(since=0)
        assert type(told.value) is expected
        # Each line is asked for with its source, which is a permission of its own.
        assert expected is GatewayUnavailable or "Balance transaction sources" in told.value.remedy
