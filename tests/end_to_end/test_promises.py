"""The promises of the design, end to end: any interleaving, judged by an auditor; and each promise broken on purpose.

The system is the real one (core, HTTP adapter, Stripe adapter, simulator) in one thread under one clock; the disks are
in memory and outlive the processes. `tests/crash` does the same to real processes on real disks.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from town import Auditor, BrokenPromise, Machine, Town
from town.town import Order, Wiring
from town.web import Answer

from tillport.domain import Verifier, relay_once
from tillport.domain.verify import Envelope, VerifiedEvent
from tillport.ports.event_log import Event, EventLog
from tillport.ports.payments import ChargeOrder, Payment, PaymentGateway
from tillport.simulator import Fault

EXAMPLES = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_every_promise_holds_under_any_interleaving() -> None:
    run_state_machine_as_test(Machine, settings=EXAMPLES)  # type: ignore[no-untyped-call] # hypothesis' own gap


@pytest.mark.campaign(seconds=1800)
def test_every_promise_holds_for_as_long_as_there_is_time(campaign_seconds: float) -> None:
    # About six examples a second of forty steps each.
    many = settings(EXAMPLES, max_examples=max(20, int(campaign_seconds * 4)))
    run_state_machine_as_test(Machine, settings=many)  # type: ignore[no-untyped-call] # hypothesis' own gap


# Broken on purpose ---------------------------------------------------------------------------------------------------


def a_day(wiring: Wiring) -> None:
    """An eventful day: charges, a lost answer that is asked again, bad deliveries, a crash, late and early listeners."""
    with Town(seed=3, wiring=wiring) as town:
        for number in range(4):
            order = town.order(amount_minor=1_000 + number, card=number % 2, key=bool(number % 2))
            if number == 1:
                town.simulator.script("answer_lost")
            town.ask(order)
            town.ask(order)
        for charge in town.simulator.charges.list().data:
            town.subscribe(charge.id)
        town.listen()
        for skip, kind in enumerate(("duplicate", "tamper", "wrong_secret", "stale", "tamper", "tamper")):
            town.simulator.script(Fault(kind=kind, skip=skip))
        town.deliver()
        town.deliver(dies_after_commit=True)
        town.relay()
        town.crash()
        town.advance(400)
        town.deliver()
        town.relay(dies_after_publish=True)
        town.listen()
        town.calm_down()
        Auditor(town).judge()


def test_the_day_itself_breaks_no_promise() -> None:
    a_day(Wiring())


@attrs.define
class NewKeyEachTime:
    """Breaks promise 1: asks Stripe under another key whenever it is asked again."""

    inner: PaymentGateway
    tries: int = 0

    @property
    def livemode(self) -> bool:
        return self.inner.livemode

    async def charge(self, order: ChargeOrder, *, idempotency_key: str) -> Payment:
        self.tries += 1
        reusable = attrs.evolve(order, token="tok_visa")
        return await self.inner.charge(reusable, idempotency_key=f"{idempotency_key}-{self.tries}")

    async def find(self, idempotency_key: str, *, tried_from: float, tried_until: float) -> Payment | None:
        return await self.inner.find(idempotency_key, tried_from=tried_from, tried_until=tried_until)

    async def holds(self, payment_intent_id: str) -> bool:
        return await self.inner.holds(payment_intent_id)


class TakesAnything:
    """Breaks promise 2: believes whoever knocks."""

    livemode = False

    def __init__(self, _verifier: Verifier) -> None:
        pass

    def verify(self, body: bytes, _header: str | None, *, now: float) -> VerifiedEvent:
        import msgspec

        return VerifiedEvent(msgspec.json.decode(body, type=Envelope), body)


@attrs.define
class LogThatSometimes:
    """A log that now and then does not do what it says."""

    inner: Any
    misbehave: Callable[[Any, Sequence[Event]], Any]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        result = await self.misbehave(self.inner, events)
        return [True] * len(events) if result is None else result


async def forgets(log: EventLog, events: Sequence[Event]) -> Sequence[bool] | None:
    """Breaks promise 3: acknowledges refunds and updates without writing them."""
    return await log.record([event for event in events if event.type != "payment_intent.succeeded"]) and None


async def records_twice(log: Any, events: Sequence[Event]) -> Sequence[bool]:
    """Breaks promise 4: forgets which ids it has seen."""
    log._known.clear()
    result: Sequence[bool] = await log.record(events)
    return result


async def cursor_first(log: Any, channel: Any, cursors: Any, **how: Any) -> Any:
    """Breaks promise 6: moves the cursor before it publishes, and a crash in between loses what was read."""
    page = await log.read(after=how["position"], limit=how["batch_size"])
    await cursors.advance(how["name"], owner=how["owner"], position=page.position)
    if channel.dies_after_publish:
        channel._process.die()
    return await relay_once(log, channel, cursors, **how)


@pytest.mark.parametrize(
    ("wiring", "broken"),
    [
        (Wiring(gateway=NewKeyEachTime), "promise 1"),
        (Wiring(verifier=TakesAnything), "promise 2"),
        (Wiring(log=lambda log: LogThatSometimes(log, forgets)), "promise 3"),  # type: ignore[arg-type, return-value] # a double
        (Wiring(log=lambda log: LogThatSometimes(log, records_twice)), "promise 4"),  # type: ignore[arg-type, return-value] # a double
        (Wiring(relay=cursor_first), "promise 6"),
    ],
    ids=["charges twice", "believes anyone", "forgets what it acknowledged", "records twice", "moves the cursor first"],
)  # fmt: skip
def test_a_promise_broken_on_purpose_is_caught(wiring: Wiring, broken: str) -> None:
    with pytest.raises(BrokenPromise, match=broken):
        a_day(wiring)


@pytest.mark.parametrize(
    ("damage", "broken"),
    [
        (lambda subscriber: subscriber.heard.pop(0), "promise 7"),
        (lambda subscriber: subscriber.heard.append(subscriber.heard[0]), "promise 7"),
    ],
    ids=["a gap", "a repeat"],
)
def test_a_subscriber_that_missed_or_repeated_something_is_caught(
    damage: Callable[[Any], Any], broken: str
) -> None:
    with quiet_town() as town:
        damage(town.subscribers[0])
        with pytest.raises(BrokenPromise, match=broken):
            Auditor(town).judge()


def test_a_subscriber_that_hears_of_others_is_caught() -> None:
    with quiet_town() as town:
        town.subscribers[0].heard.append(town.subscribers[1].heard[0])
        with pytest.raises(BrokenPromise, match="promise 8"):
            Auditor(town).judge()


def told_of_anothers(town: Town) -> None:
    paid = town.simulator.payment_intents.list().data[-1]
    town.orders[-1].answers.append(Answer(200, {}, json.dumps({"id": paid.id}).encode()))


def charged_when_it_asks_again(town: Town) -> None:
    def ask(order: Order) -> None:
        Town.ask(town, order)
        if order is town.orders[0]:
            town.simulator.payment_intents.create(
                amount=500,
                currency="usd",
                payment_method="pm_card_visa",
                confirm=True,
                metadata={"order": "0"},
            )

    town.ask = ask  # type: ignore[method-assign, assignment] # what a service might do


def never_told(town: Town) -> None:
    def ask(order: Order) -> None:
        Town.ask(town, order)
        if order is town.orders[-1]:
            order.answers[-1] = Answer(503, {}, b"{}")

    town.ask = ask  # type: ignore[method-assign, assignment] # as above


@pytest.mark.parametrize("damage", [told_of_anothers, charged_when_it_asks_again, never_told])
def test_a_shopper_who_was_declined_hides_nobody_elses_broken_promise(
    damage: Callable[[Town], None],
) -> None:
    with quiet_town(declined=True) as town:
        damage(town)
        with pytest.raises(BrokenPromise, match="promise 1"):
            Auditor(town).judge()


@contextmanager
def quiet_town(*, declined: bool = False) -> Iterator[Town]:
    """A town where two orders were paid and heard of, perhaps a third declined, and nothing went wrong."""
    with Town(seed=4) as town:
        for amount_minor in (500, 600):
            town.ask(town.order(amount_minor=amount_minor, card=0, key=True))
        for order in tuple(town.orders):
            town.subscribe(json.loads(order.answers[0].body)["id"])
        if declined:
            town.ask(town.order(amount_minor=700, card=2, key=True))
        town.deliver()
        town.calm_down()
        Auditor(town).judge()
        yield town
