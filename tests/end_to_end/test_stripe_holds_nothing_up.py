"""Promise 9: nothing calls Stripe inside a webhook request or an open transaction."""

import sqlite3
from contextlib import closing

import attrs
import pytest

from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.memory.payments import MemoryGateway
from tillport.adapters.memory.policy import MaximumAmount
from tillport.adapters.sql.sqlite import SqliteEventLog, SqliteLedger
from tillport.adapters.sql.sqlite_store import SqliteStore
from tillport.domain import Charging, Till, Verifier, resolve_once
from tillport.ports.access import Caller, CallerKind
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder, OutcomeUnknown
from tillport.simulator import ManualClock as SimulatedTime
from tillport.simulator import Simulator


@attrs.define
class WatchedGateway:
    """Notes each call, and whether somebody else could write to the database meanwhile."""

    inner: MemoryGateway
    path: object
    calls: list[str] = attrs.field(factory=list)
    lost: int = 0

    livemode = False

    def look(self, name: str) -> None:
        self.calls.append(name)
        with closing(sqlite3.connect(self.path, timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # raises if a transaction is open
            other.execute("ROLLBACK")

    async def charge(self, order, *, idempotency_key):
        self.look("charge")
        answer = await self.inner.charge(order, idempotency_key=idempotency_key)
        if self.lost:
            self.lost -= 1
            raise OutcomeUnknown("The answer was lost.")
        return answer

    async def find(self, idempotency_key, *, tried_from, tried_until):
        self.look("find")
        return await self.inner.find(idempotency_key, tried_from=tried_from, tried_until=tried_until)

    async def holds(self, payment_intent_id):
        self.look("holds")
        return await self.inner.holds(payment_intent_id)


@pytest.fixture
async def store(tmp_path):
    store = SqliteStore(tmp_path / "till.sqlite3")
    yield store
    await store.aclose()


@pytest.fixture
def till(store) -> Till:
    clock = ManualClock()
    return Till(
        charging=Charging(
            gateway=WatchedGateway(MemoryGateway(clock), store.path),
            ledger=SqliteLedger(store),
            policy=MaximumAmount({"usd": 100_000}),
            clock=clock,
        ),
        verifier=Verifier(["whsec_x"]),
        log=SqliteEventLog(store),
        doorbell=LocalDoorbell(clock),
        nonces=lambda: "nonce",
    )


async def test_no_webhook_whatever_it_is_about_calls_stripe(till) -> None:
    stripe = Simulator(clock=SimulatedTime(till.charging.clock.now()), seed=1)
    endpoint = stripe.webhook_endpoints.create(url="http://till.test/hook", enabled_events=["*"])
    for card in ("pm_card_visa", "pm_card_authenticationRequired", "pm_card_createDispute"):
        stripe.payment_intents.create(
            amount=1200,
            currency="usd",
            payment_method=card,
            confirm=True,
            allowed_payment_method_types=["card"],
        )
    receiving = attrs.evolve(till, verifier=Verifier([endpoint.secret]))
    heard = 0
    for delivery in stripe.due_deliveries():
        await receiving.receive(delivery.body, delivery.headers["Stripe-Signature"])
        heard += 1
    assert heard >= 6
    assert till.charging.gateway.calls == []


async def test_while_stripe_is_called_no_transaction_is_open(till) -> None:
    gateway, clock = till.charging.gateway, till.charging.clock
    shop = Caller("shop", CallerKind.SERVER)
    order = ChargeOrder("tok_visa", Money(500, "usd"))
    assert (await till.charge(order, caller=shop, idempotency_key="one")).charged
    gateway.lost = 1
    await till.charge(order, caller=shop, idempotency_key="two")
    clock.advance(3600)
    assert (await resolve_once(till.charging, till.log)).settled
    assert len(gateway.calls) >= 3


async def test_the_gateway_that_watches_can_tell(till, store) -> None:
    """Negative control: a call inside a transaction is noticed."""

    def call_inside(connection) -> None:
        till.charging.gateway.look("charge")

    with pytest.raises(Exception, match="locked"):
        await store.write(call_inside)
