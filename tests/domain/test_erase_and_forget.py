"""Erasing a person, and forgetting what is old."""

import importlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillport.adapters.conformance.samples import NOON, attempt, event
from tillport.adapters.memory.cursors import MemoryCursors
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.memory.ledger import MemoryLedger
from tillport.domain import charge_status
from tillport.domain.erase import erase, reduced, speaks_of
from tillport.domain.forget import forget
from tillport.ports.access import Caller, CallerKind
from tillport.ports.ledger import AttemptState, Outcome

SECRETS = ["jenny@example.com", "Jenny Rosen", "4242", "cus_1", "1 Main Street", "for my wife"]


def body(customer: object = "cus_1", **more: object) -> bytes:
    charge = {
        "id": "ch_1",
        "object": "charge",
        "amount": 1250,
        "currency": "usd",
        "status": "succeeded",
        "payment_intent": {"id": "pi_1", "customer": "cus_1"},
        "customer": customer,
        "receipt_email": "jenny@example.com",
        "billing_details": {"name": "Jenny Rosen", "address": {"line1": "1 Main Street"}},
        "payment_method_details": {"card": {"last4": "4242"}},
        "metadata": {"note": "for my wife"},
        **more,
    }
    envelope = {"id": "evt_1", "object": "event", "type": "charge.succeeded", "created": 5, "livemode": False}
    data = {"object": charge, "previous_attributes": {"receipt_email": "jenny@example.com"}}
    return json.dumps({**envelope, "data": data}).encode()


async def test_a_person_is_gone_from_log_and_ledger_and_the_books_stay() -> None:
    log, ledger = MemoryEventLog(), MemoryLedger()
    theirs = event(1, body=body(), transaction_id="ch_1", payment_key="pi_1")
    others = event(2, body=body(customer="cus_12").replace(b'"cus_1"', b'"cus_12"'))
    await log.record([theirs, others])
    outcome = Outcome(state=AttemptState.SUCCEEDED, body=body(), charge_id="ch_1", payment_intent_id="pi_1")
    await ledger.open(attempt(1, outcome=outcome))
    erased = await erase("cus_1", log, ledger, now=NOON)
    assert (erased.events, erased.attempts, erased.payments) == (1, 1, {"ch_1", "pi_1"})
    found = (await log.find("evt_1")).event
    assert msgspec.structs.replace(found, body=b"") == msgspec.structs.replace(theirs, body=b""), (
        "everything but the body stays"
    )
    for secret in SECRETS:
        assert secret.encode() not in found.body
        assert secret.encode() not in (await ledger.find("key_1")).outcome.body
    kept = json.loads(found.body)
    assert kept["data"]["object"] == {
        "id": "ch_1",
        "object": "charge",
        "amount": 1250,
        "currency": "usd",
        "status": "succeeded",
        "payment_intent": "pi_1",
    }
    assert (await log.find("evt_2")).event == others, "another person's id begins like theirs"
    assert list(await log.record([theirs])) == [False]


async def test_erasing_twice_is_erasing_once() -> None:
    log = MemoryEventLog()
    await log.record([event(1, body=body(), aliases=("ch_1", "pi_1"))])
    assert (await erase("pi_1", log, now=NOON)).events == 1
    assert (await erase("pi_1", log, now=NOON)).events == 0
    assert (await erase("cus_1", log, now=NOON)).events == 0


async def test_a_guests_payment_is_erased_by_its_own_id() -> None:
    log = MemoryEventLog()
    await log.record([event(1, body=body(customer=None), aliases=("ch_1",)), event(2)])
    assert (await erase("ch_1", log, now=NOON)).events == 1


async def test_what_is_about_their_payment_goes_too_whether_or_not_it_names_them() -> None:
    log = MemoryEventLog()
    evidence = {"customer_name": "Jenny Rosen", "customer_email_address": "jenny@example.com"}
    dispute = {"id": "dp_1", "object": "dispute", "charge": "ch_1", "amount": 1250, "evidence": evidence}
    about = json.dumps({"id": "evt_1", "data": {"object": dispute}}).encode()
    names = {"payment_key": "pi_1", "aliases": ("ch_1", "pi_1", "dp_1")}
    await log.record(
        [
            event(1, body=about, transaction_id="dp_1", **names),  # it came before the charge
            event(2, body=body(), transaction_id="ch_1", **names),
            event(3, body=about.replace(b"ch_1", b"ch_9"), transaction_id="dp_9", payment_key="pi_9"),
        ]
    )
    assert (await erase("cus_1", log, now=NOON)).events == 2
    left = [one.event.body for one in (await log.read(after=0)).events]
    assert [b"jenny@example.com" in one for one in left] == [False, False, True]
    assert json.loads(left[0])["data"]["object"] == {
        "id": "dp_1",
        "object": "dispute",
        "charge": "ch_1",
        "amount": 1250,
    }


async def test_a_body_that_can_not_be_looked_into_goes_if_the_id_stands_in_it() -> None:
    log = MemoryEventLog()
    unreadable = body()[:-1] + b', "more": 1e99999999999999999999x}'
    await log.record([event(1, body=unreadable, aliases=("ch_9", "pi_9"), payment_key="pi_9")])
    assert (await erase("cus_1", log, now=NOON)).events == 1
    assert b"jenny" not in (await log.find("evt_1")).event.body


def test_an_id_in_a_list_is_found_and_lists_in_what_is_kept_are_not() -> None:
    inside = json.dumps({"data": {"object": {"refunds": [{"customer": "cus_1"}]}}}).encode()
    assert speaks_of(event(1, body=inside, aliases=(), payment_key="pi_9"), "cus_1")
    kept = reduced(body(status=["Jenny Rosen"], reason={"id": ["Jenny Rosen"]}, fee=1.5))
    assert b"Jenny" not in kept


async def test_of_a_payment_with_many_events_all_are_erased(monkeypatch) -> None:
    monkeypatch.setattr(importlib.import_module("tillport.domain.erase"), "_PAGE", 3)
    log = MemoryEventLog()
    nameless = body(customer=None, payment_intent="pi_1")
    await log.record(
        [
            event(number, body=nameless, aliases=("ch_1", "pi_1"), payment_key="pi_1")
            for number in range(1, 10)
        ]
    )
    await log.record([event(10, body=body(), aliases=("ch_1", "pi_1"), payment_key="pi_1")])
    assert (await erase("cus_1", log, now=NOON)).events == 10
    page = await log.read(after=0)
    assert not any(b"jenny" in recorded.event.body for recorded in page.events)


async def test_a_charge_is_erased_by_its_own_id_where_the_log_holds_nothing_of_it() -> None:
    ledger = MemoryLedger()
    outcome = Outcome(state=AttemptState.SUCCEEDED, body=body(), charge_id="ch_1", payment_intent_id="pi_1")
    await ledger.open(attempt(1, outcome=outcome))
    erased = await erase("ch_1", MemoryEventLog(), ledger, now=NOON)
    assert (erased.events, erased.attempts) == (0, 1)
    assert b"jenny" not in (await ledger.find("key_1")).outcome.body


async def test_a_declined_charge_that_was_erased_is_still_told_as_declined() -> None:
    ledger = MemoryLedger()
    said = b'{"code":"card_declined","message":"Your card was declined.","decline_code":"lost_card"}'
    outcome = Outcome(state=AttemptState.DECLINED, body=said, payment_intent_id="pi_1")
    await ledger.open(attempt(1, outcome=outcome))
    assert (await erase("pi_1", MemoryEventLog(), ledger, now=NOON)).attempts == 1
    asking = Caller(attempt(1).caller_id, CallerKind.SERVER)
    answer = await charge_status("key_1", ledger, caller=asking)
    assert (answer.state, answer.charged) == (AttemptState.DECLINED, False)
    assert (answer.failure.code, answer.failure.decline_code) == ("card_declined", None)
    assert answer.failure.remedy


@pytest.mark.parametrize(
    "broken", [b"", b"[]", b"7", b'{"data": 5}', b'{"data": {"object": []}}', b"no json"]
)
def test_whatever_the_body_nothing_is_left_of_it(broken) -> None:
    assert json.loads(reduced(broken))["tillport_erased"] is True
    assert not speaks_of(event(1, body=broken), "cus_1")


@given(
    st.recursive(
        st.text() | st.integers() | st.none(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["id", "amount", "x", "data"]), inner)
        ),
        max_leaves=10,
    )
)
def test_reducing_never_fails_and_reduces_once(value) -> None:
    whole = json.dumps({"data": {"object": value}, "more": value}).encode()
    assert reduced(reduced(whole)) == reduced(whole) or "tillport_erased" in str(value)


async def test_what_a_consumer_still_needs_is_kept() -> None:
    log, cursors = MemoryEventLog(), MemoryCursors()
    await log.record([event(number) for number in range(1, 6)])
    for name, position in (("relay", 4), ("effects", 2)):
        await cursors.claim(name, owner="a", now=NOON, until=NOON)
        await cursors.advance(name, owner="a", position=position)
    assert await forget(log, cursors, now=NOON + 1000, keep_seconds=0) == 2
    await cursors.advance("effects", owner="a", position=5)
    assert await forget(log, cursors, now=NOON + 1000, keep_seconds=0) == 2
    assert [one.event.id for one in (await log.read(after=0)).events] == ["evt_5"]


async def test_without_consumers_age_alone_decides() -> None:
    log = MemoryEventLog()
    await log.record([event(number) for number in range(1, 6)])
    assert await forget(log, MemoryCursors(), now=NOON + 103.5, keep_seconds=100) == 3
