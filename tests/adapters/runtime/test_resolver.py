"""The resolver: unknown outcomes are settled, or told once, and never guessed."""

import logging

import pytest

from tillport.adapters.memory.ledger import MemoryLedger
from tillport.adapters.memory.payments import GatewayFault, MemoryGateway
from tillport.adapters.memory.policy import MaximumAmount
from tillport.adapters.runtime import ResolverWork
from tillport.domain.charge import Charging, charge
from tillport.ports.access import Caller, CallerKind
from tillport.ports.ledger import AttemptState
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder

SHOP = Caller("shop", CallerKind.SERVER)


@pytest.fixture
def charging(world) -> Charging:
    return Charging(
        gateway=MemoryGateway(world.clock),
        ledger=MemoryLedger(),
        policy=MaximumAmount({"usd": 100_000}),
        clock=world.clock,
    )


async def lose_one(charging: Charging) -> str:
    """Charge, and lose the answer; return the attempt's key."""
    charging.gateway.strike(GatewayFault.ANSWER_LOST, times=1)
    answer = await charge(
        ChargeOrder("tok_1abc", Money(1250, "usd")),
        charging,
        caller=SHOP,
        nonce="n",
        idempotency_key="order-1",
    )
    assert answer.state is AttemptState.UNKNOWN
    return answer.attempt_key


async def test_a_lost_answer_is_settled_without_charging_again(world, charging) -> None:
    key = await lose_one(charging)
    work = ResolverWork(charging=charging, log=world.log)
    async with world.loop(work):
        await world.pass_time(10, steps=50)
    attempt = await charging.ledger.find(key)
    assert attempt.state is AttemptState.SUCCEEDED
    assert work.settled == 1
    assert len(charging.gateway.held) == 1


async def test_what_stays_unknown_is_told_once(world, charging, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "tillport.resolver")
    key = await lose_one(charging)
    charging.gateway.strike(GatewayFault.LOST_ON_THE_WAY)
    work = ResolverWork(charging=charging, log=world.log)
    async with world.loop(work):
        await world.pass_time(600, steps=600)
        assert work.unknown == {key}
    assert len([record for record in caplog.records if key in record.getMessage()]) == 1
    assert "tok_1abc" not in caplog.text
    assert (await charging.ledger.find(key)).state is AttemptState.UNKNOWN


async def test_a_ledger_that_is_away_is_waited_for(world, charging) -> None:
    key = await lose_one(charging)
    charging.ledger.available = False
    async with world.loop(ResolverWork(charging=charging, log=world.log)):
        await world.pass_time(20, steps=20)
        charging.ledger.available = True
        await world.pass_time(20, steps=20)
    assert (await charging.ledger.find(key)).state is AttemptState.SUCCEEDED
