"""The gateway in memory, held to the laws of all gateways."""

import asyncio

import attrs
import pytest
from hypothesis import given

from tillport.adapters.conformance.payments import (
    Card,
    GatewayCapabilities,
    Moved,
    Trouble,
    gateway_laws,
)
from tillport.adapters.conformance.payments_judge import Step, histories, judge
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.payments import GatewayFault, MemoryGateway
from tillport.ports.errors import TillportError
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder, GatewayMisconfigured, GatewayUnavailable, OutcomeUnknown

TEA = Money(1250, "usd")
ENDS = {
    Card.GOOD: "",
    Card.DECLINED: "chargeDeclinedInsufficientFunds",
    Card.NEEDS_ACTION: "threeDSecure2Required",
}
FAULTS = {
    Trouble.TURNED_AWAY: GatewayFault.UNAVAILABLE,
    Trouble.LOST_ON_THE_WAY: GatewayFault.LOST_ON_THE_WAY,
    Trouble.ANSWER_LOST: GatewayFault.ANSWER_LOST,
}


@attrs.define
class Bench:
    clock: ManualClock = attrs.field(factory=ManualClock)
    absence_seconds: float = 60.0
    gateway: MemoryGateway = attrs.field(init=False)
    tokens: int = 0

    def __attrs_post_init__(self) -> None:
        self.gateway = MemoryGateway(self.clock, absence_seconds=self.absence_seconds)

    def now(self) -> float:
        return self.clock.now()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def token(self, card: Card) -> str:
        self.tokens += 1
        return f"tok_1n{self.tokens}_{ENDS[card]}"

    async def trouble(self, trouble: Trouble | None) -> None:
        self.gateway.heal()
        if trouble is not None:
            self.gateway.strike(FAULTS[trouble])

    async def moved(self) -> list[Moved]:
        return [
            Moved(held.payment_intent_id, held.amount_minor, held.currency)
            for held in self.gateway.held
            if held.moved
        ]


LAWS = gateway_laws(GatewayCapabilities(absence_seconds=60.0))


@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_law(law):
    await law(Bench())


@given(histories())
async def test_every_history_is_true(history):
    await judge(Bench(), history)


async def test_a_slow_answer_waits_for_the_clock_and_the_key_is_busy_meanwhile():
    bench = Bench()
    bench.gateway.slow_seconds = 10
    order = ChargeOrder("tok_visa", TEA)
    task = asyncio.create_task(bench.gateway.charge(order, idempotency_key="key-1"))
    await asyncio.sleep(0)
    with pytest.raises(OutcomeUnknown):
        await bench.gateway.charge(order, idempotency_key="key-1")
    assert not task.done()
    bench.advance(10)
    assert (await task).charge_id


async def test_giving_up_on_a_slow_answer_leaves_the_payment_behind():
    bench = Bench()
    bench.gateway.slow_seconds = 10
    task = asyncio.create_task(bench.gateway.charge(ChargeOrder("tok_visa", TEA), idempotency_key="key-1"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await bench.moved()) == 1


async def test_after_a_day_a_key_is_forgotten_and_charges_anew():
    bench = Bench()
    order = ChargeOrder("tok_visa", TEA)
    await bench.gateway.charge(order, idempotency_key="key-1")
    bench.advance(24 * 3600)
    await bench.gateway.charge(order, idempotency_key="key-1")
    assert len(await bench.moved()) == 2


async def test_a_fault_can_strike_once():
    bench = Bench()
    bench.gateway.strike(GatewayFault.MISCONFIGURED, times=1)
    order = ChargeOrder("tok_visa", TEA)
    with pytest.raises(GatewayMisconfigured):
        await bench.gateway.charge(order, idempotency_key="key-1")
    await bench.gateway.charge(order, idempotency_key="key-1")


class Forgetful(MemoryGateway):
    """Negative control: a gateway that does not keep its keys."""

    def _remember(self, key, order):
        self._used.clear()


class Denying(MemoryGateway):
    """Negative control: a gateway that takes a lost answer for none."""

    async def charge(self, order, *, idempotency_key):
        try:
            return await super().charge(order, idempotency_key=idempotency_key)
        except OutcomeUnknown as error:
            raise GatewayUnavailable(error.message) from None


@pytest.mark.parametrize("kind", [Forgetful, Denying])
async def test_the_judge_convicts_a_gateway_that_lies(kind):
    bench = Bench()
    bench.gateway = kind(bench.clock)
    story = [Step("trouble", trouble=Trouble.ANSWER_LOST), Step("charge"), Step("charge")]
    await judge(Bench(), story)
    with pytest.raises(AssertionError):
        await judge(bench, story)


@pytest.mark.parametrize("kind", [Forgetful, Denying])
async def test_the_laws_convict_a_gateway_that_lies(kind):
    broken = set()
    for law in LAWS:
        bench = Bench()
        bench.gateway = kind(bench.clock)
        try:
            await law(bench)
        except (AssertionError, TillportError):
            broken.add(law.__name__)
    assert broken
    assert broken < {law.__name__ for law in LAWS}


class NewestOnly(MemoryGateway):
    """Negative control: a gateway whose `find` reads one page of the list."""

    async def find(self, idempotency_key, **tried):
        held, self._held = self._held, self._held[-100:]
        try:
            return await super().find(idempotency_key, **tried)
        finally:
            self._held = held


class ShortKeys(MemoryGateway):
    """Negative control: a gateway whose keys end where its column does."""

    async def charge(self, order, *, idempotency_key):
        return await super().charge(order, idempotency_key=idempotency_key[:72])

    async def find(self, idempotency_key, **tried):
        return await super().find(idempotency_key[:72], **tried)


class NarrowWindow(MemoryGateway):
    """Negative control: a gateway whose `find` believes that what is sent arrives at once."""

    async def find(self, idempotency_key, *, tried_from, tried_until):
        held, self._held = self._held, [one for one in self._held if one.created <= tried_until]
        try:
            return await super().find(idempotency_key, tried_from=tried_from, tried_until=tried_until)
        finally:
            self._held = held


class WholeSeconds(MemoryGateway):
    """Negative control: a gateway that asks Stripe for payments that are no older than the request."""

    async def find(self, idempotency_key, *, tried_from, tried_until):
        held, self._held = self._held, [one for one in self._held if int(one.created) >= tried_from]
        try:
            return await super().find(idempotency_key, tried_from=tried_from, tried_until=tried_until)
        finally:
            self._held = held


class NoDescription(MemoryGateway):
    """Negative control: a gateway that keeps to itself what was bought."""

    async def charge(self, order, *, idempotency_key):
        return await super().charge(attrs.evolve(order, description=None), idempotency_key=idempotency_key)


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (NewestOnly, "find_looks_beyond_the_newest_payments"),
        (ShortKeys, "long_keys_are_told_apart_by_their_ends"),
        (NarrowWindow, "find_sees_what_arrived_late"),
        (WholeSeconds, "find_sees_a_payment_of_the_same_second"),
        (NoDescription, "what_is_bought_is_shown_at_stripe"),
    ],
)
async def test_a_law_convicts_a_gateway_that_is_wrong_in_one_way(kind, law):
    bench = Bench()
    bench.gateway = kind(bench.clock, absence_seconds=bench.absence_seconds)
    with pytest.raises((AssertionError, TillportError)):
        await {one.__name__: one for one in LAWS}[law](bench)
