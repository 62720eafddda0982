"""The gateway and the history over the official SDK, against the simulator: in the same process, and over HTTP."""

from contextlib import asynccontextmanager, nullcontext

import attrs
import pytest
from hypothesis import given, settings

from tillport.adapters.conformance.payments import (
    DAY_SECONDS,
    Card,
    GatewayCapabilities,
    Moved,
    Trouble,
    gateway_laws,
)
from tillport.adapters.conformance.payments_judge import histories, judge
from tillport.adapters.stripe import Patience, StripeConnection, StripeGateway
from tillport.ports.money import Money
from tillport.ports.payments import AwaitsApproval, ChargeOrder, OutcomeUnknown, PaymentStatus
from tillport.simulator import Faults, ManualClock, Simulator
from tillport.simulator.sdk import SimulatorHTTPClient
from tillport.simulator.server import Server

TEA = Money(1250, "usd")
NUMBERS = {
    Card.GOOD: "4242424242424242",
    Card.DECLINED: "4000000000009995",
    Card.NEEDS_ACTION: "4000002760003184",
}
FAULTS = {
    None: Faults(),
    Trouble.TURNED_AWAY: Faults(rate_limited=1.0),
    Trouble.LOST_ON_THE_WAY: Faults(reset_before=1.0),
    Trouble.ANSWER_LOST: Faults(answer_lost=1.0),
}


@attrs.define
class Bench:
    """A simulator's account. Waiting moves its clock."""

    sim: Simulator
    gateway: StripeGateway | None = None

    def now(self) -> float:
        return self.sim.clock.now()

    async def sleep_until(self, moment: float) -> None:
        self.advance(max(0.0, moment - self.now()))

    def advance(self, seconds: float) -> None:
        self.sim.advance(seconds)

    async def token(self, card: Card) -> str:
        number = NUMBERS[card]
        return self.sim.tokens.create(
            card={"number": number, "exp_month": "12", "exp_year": "2034", "cvc": "123"}
        ).id

    async def trouble(self, trouble: Trouble | None) -> None:
        self.sim.set_faults(FAULTS[trouble])

    async def moved(self) -> list[Moved]:
        intents = self.sim.payment_intents.list(limit=100).data
        return [Moved(it.id, it.amount_received, it.currency) for it in intents if it.status == "succeeded"]


@asynccontextmanager
async def bench_of(face, sim=None):
    bench = Bench(Simulator(clock=ManualClock(), seed=1) if sim is None else sim)
    with Server(bench.sim) if face == "http" else nullcontext() as server:
        async with StripeConnection(
            bench.sim.secret_key,
            clock=bench,
            base_address=server.url if server else "http://in.process",
            patience=Patience(connect_seconds=2, timeout_seconds=5),
            http_client=None if server else SimulatorHTTPClient(bench.sim),
        ) as connection:
            bench.gateway = StripeGateway(connection)
            yield bench


LAWS = gateway_laws(GatewayCapabilities(absence_seconds=180.0))


@pytest.mark.parametrize("face", ["in process", "http", "search lags"])
@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_law(law, face):
    async with bench_of(face) as bench:
        if face == "search lags":  # `find` has the list alone
            bench.sim.account.search_lag_seconds = 10 * DAY_SECONDS
        await law(bench)


@settings(max_examples=60)
@given(histories())
async def test_every_history_is_true(history):
    async with bench_of("in process") as bench:
        await judge(bench, history)


@pytest.mark.parametrize("face", ["in process", "http"])
async def test_a_charge_that_a_person_must_approve_is_not_told_as_refused(face):
    async with bench_of(face) as bench:
        bench.sim.script("approval_required")
        with pytest.raises(AwaitsApproval):
            await bench.gateway.charge(ChargeOrder("tok_visa", TEA), idempotency_key="key-1")
        assert await bench.moved() == []


async def test_find_reads_every_page_of_a_busy_hour():
    async with bench_of("in process") as bench:
        begun = bench.now()
        for number in range(230):
            bench.sim.payment_intents.create(
                amount=1000 + number,
                currency="usd",
                payment_method="pm_card_visa",
                confirm=True,
                metadata={"tillport_attempt": f"key-{number}"},
            )
        ended = bench.now()
        bench.sim.account.search_lag_seconds = 3 * 3600
        bench.advance(3600)
        found = await bench.gateway.find("key-0", tried_from=begun, tried_until=ended)
        assert b'"amount":1000' in found.body.replace(b" ", b"")
        assert await bench.gateway.find("key-230", tried_from=begun, tried_until=ended) is None
        few = StripeGateway(bench.gateway.connection, max_pages=2)
        with pytest.raises(OutcomeUnknown):
            await few.find("key-0", tried_from=begun, tried_until=ended)


async def test_search_spares_the_pages_and_is_not_believed_about_the_state():
    async with bench_of("in process") as bench:
        begun = bench.now()
        order = ChargeOrder(await bench.token(Card.NEEDS_ACTION), TEA)
        first = await bench.gateway.charge(order, idempotency_key="it's a \\key")
        bench.sim.authenticate(first.payment_intent_id)
        few = StripeGateway(bench.gateway.connection, max_pages=1)
        found = await few.find("it's a \\key", tried_from=begun, tried_until=begun)
        assert found.status is PaymentStatus.SUCCEEDED


async def test_find_prefers_the_payment_that_moved_money():
    """Two payments under one key should not exist; if they do, the one that took money is told."""
    async with bench_of("in process") as bench:
        begun = bench.now()
        for method in ("pm_card_visa", "pm_card_threeDSecure2Required"):
            bench.sim.payment_intents.create(
                amount=1000,
                currency="usd",
                payment_method=method,
                confirm=True,
                metadata={"tillport_attempt": "key-1"},
            )
        for lag in (0, 10_000):
            bench.sim.account.search_lag_seconds = lag
            found = await bench.gateway.find("key-1", tried_from=begun, tried_until=begun)
            assert found.status is PaymentStatus.SUCCEEDED
