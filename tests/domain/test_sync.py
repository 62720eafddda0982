"""The sync face runs what never suspends, and says so when something does."""

import asyncio

import pytest

from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.memory.ledger import MemoryLedger
from tillport.adapters.memory.payments import MemoryGateway
from tillport.adapters.memory.policy import MaximumAmount
from tillport.domain.charge import Charging
from tillport.domain.sync import Suspended, run
from tillport.domain.till import Till, UnsafeConfiguration
from tillport.domain.verify import Verifier
from tillport.ports.access import Caller, CallerKind
from tillport.ports.ledger import AttemptState
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder


def make_till(*, livemode: bool = False, verifier_livemode: bool | None = None) -> Till:
    clock = ManualClock()
    charging = Charging(
        gateway=MemoryGateway(clock, livemode=livemode), ledger=MemoryLedger(), policy=MaximumAmount({"usd": 10_000}), clock=clock
    )  # fmt: skip
    return Till(
        charging=charging,
        verifier=Verifier(["whsec_x"], livemode=verifier_livemode),
        log=MemoryEventLog(),
        doorbell=LocalDoorbell(clock),
        nonces=lambda: "nonce",
    )


def test_a_whole_charge_runs_without_an_event_loop() -> None:
    order = ChargeOrder("tok_visa", Money(500, "usd"))
    assert (
        run(make_till().charge(order, caller=Caller("shop", CallerKind.SERVER))).state
        is AttemptState.SUCCEEDED
    )


def test_an_adapter_that_waits_is_reported_instead_of_hanging() -> None:
    with pytest.raises(Suspended, match="await the till"):
        run(asyncio.sleep(0))


def test_an_adapter_that_asks_for_the_loop_before_it_waits_is_reported_too() -> None:
    async def ask() -> None:
        asyncio.get_running_loop()

    with pytest.raises(Suspended, match="await the till"):
        run(ask())


def test_what_the_coroutine_raises_comes_through() -> None:
    async def fails() -> None:
        raise LookupError("as it was")

    with pytest.raises(LookupError, match="as it was"):
        run(fails())


@pytest.mark.parametrize("verifier_livemode", [None, False])
def test_a_till_that_moves_real_money_takes_no_test_events(verifier_livemode: bool | None) -> None:
    with pytest.raises(UnsafeConfiguration, match="livemode=True"):
        make_till(livemode=True, verifier_livemode=verifier_livemode)
    make_till(livemode=True, verifier_livemode=True)
