"""Every kind of payment that is in order raises no alarm; whatever is broken by hand is told, and nothing beside it."""

import asyncio
from typing import Any

import pytest
from high_street import DAY, SHOP, Town
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillport.adapters.compose import Service
from tillport.adapters.conformance.samples import event
from tillport.domain.differences import DifferenceKind
from tillport.ports.ledger import AttemptState
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder

K = DifferenceKind
TOKENS = [
    "tok_visa",
    "tok_chargeDeclined",
    "tok_chargeDeclinedInsufficientFunds",
    "tok_createDispute",
    "tok_createDisputeInquiry",
    "tok_createMultipleDisputes",
    "tok_bypassPending",
    "tok_refundFail",
    "tok_pendingRefund",
    "tok_threeDSecure2Required",
    "tok_createIssuerFraudRecord",
    "tok_nobody",
]


@pytest.fixture
def town(tmp_path) -> Town:
    return Town(tmp_path)


async def attempt_of(service: Service, token: str, amount_minor: int = 1250) -> Any:
    answer = await service.till.charge(ChargeOrder(token, Money(amount_minor, "usd")), caller=SHOP)
    attempt = await service.stores.ledger.find(answer.attempt_key)
    assert attempt is not None
    return attempt


@pytest.mark.parametrize("lost", [False, True], ids=["webhooks came", "webhooks were lost"])
async def test_payments_of_every_kind_that_are_in_order_raise_no_alarm(town: Town, lost: bool) -> None:
    stripe = town.simulator
    async with town.till() as service:
        states = set()
        for number, token in enumerate(TOKENS):
            attempt = await attempt_of(service, token, 1000 + number)
            states.add(attempt.state)
            stripe.advance(3600)
            charge_id, intent_id = attempt.outcome.charge_id, attempt.outcome.payment_intent_id
            if attempt.state is AttemptState.REQUIRES_ACTION:
                stripe.authenticate(intent_id)
            if attempt.state is AttemptState.SUCCEEDED and "Dispute" not in token:
                for amount in (100, 200):  # two refunds, each a part
                    stripe.refunds.create(charge=charge_id, amount=amount)
                    stripe.advance(60)
            await town.deliver(service, lost=lambda _attempt: lost)
            stripe.advance(DAY / 4)
        assert {
            AttemptState.SUCCEEDED,
            AttemptState.DECLINED,
            AttemptState.REQUIRES_ACTION,
            AttemptState.REFUSED,
        } <= states
        held = stripe.payment_intents.create(
            amount=700, currency="eur", payment_method="pm_card_visa", confirm=True, capture_method="manual"
        )
        dropped = stripe.payment_intents.create(
            amount=800, currency="eur", payment_method="pm_card_visa", confirm=True, capture_method="manual"
        )
        stripe.advance(DAY)
        stripe.payment_intents.capture(held.id, amount_to_capture=300)
        stripe.payment_intents.cancel(dropped.id)
        stripe.advance(DAY)
        await town.deliver(service, lost=lambda _attempt: lost)
        report = await town.reconcile(service, days=25)
        assert report.agrees, report.differences
        assert report.movements > len(TOKENS)
        assert bool(report.recorded) is lost
        # A narrower look cuts payments apart, and must not take that for a difference.
        for days in (0.1, 0.5, 1, 1.3, 2, 3.1):
            narrow = await town.reconcile(service, days=days)
            assert narrow.agrees, (days, narrow.differences)


BREAKS = {
    "nothing": [],
    "declined": [K.CHARGED_AGAINST_LEDGER],
    "not_charged": [K.CHARGED_AGAINST_LEDGER],
    "unknown": [K.NOT_SETTLED],
    "forgotten": [K.NOT_IN_LEDGER],
    "amount": [K.AMOUNT_DIFFERS],
    "twice": [K.CHARGED_TWICE],
}


def break_it(town: Town, attempt: Any, how: str) -> None:
    by_key = "WHERE key = ?"
    if how in ("declined", "not_charged", "unknown"):
        town.change(
            f"UPDATE tillport_attempts SET state = '{how}', busy_until = 0 {by_key}",
            attempt.key,
        )
    elif how == "forgotten":
        town.change(f"DELETE FROM tillport_attempts {by_key}", attempt.key)
    elif how == "amount":
        town.change(f"UPDATE tillport_attempts SET amount_minor = amount_minor + 1 {by_key}", attempt.key)
    elif how == "twice":
        town.simulator.payment_intents.create(
            amount=attempt.order.money.amount_minor,
            currency="usd",
            payment_method="pm_card_visa",
            confirm=True,
            metadata={"tillport_attempt": attempt.key},
        )


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    breaks=st.lists(st.sampled_from(sorted(BREAKS)), min_size=1, max_size=5),
    forged=st.integers(0, 2),
    lost=st.booleans(),
)
def test_what_is_broken_is_told_and_nothing_beside_it(tmp_path_factory, breaks, forged, lost) -> None:
    async def play() -> None:
        town = Town(tmp_path_factory.mktemp("town"))
        expected = []
        async with town.till() as service:
            await attempt_of(
                service, "tok_visa", 900
            )  # or all that the log has may be forged: another account's log
            await town.deliver(service)
            for number, how in enumerate(breaks):
                attempt = await attempt_of(service, "tok_visa", 1000 + number)
                town.simulator.advance(DAY / 2)
                break_it(town, attempt, how)
                expected += [(kind, attempt.key) for kind in BREAKS[how]]
                await town.deliver(service, lost=lambda _attempt: lost)
            for number in range(forged):
                created = int(town.clock.now()) - 7200
                await service.stores.log.record([event(number, created=created, request_key=None)])
                expected.append((K.NOT_AT_STRIPE, None))
            town.simulator.advance(3600)
            report = await town.reconcile(service)
            found = [(one.kind, one.attempt_key) for one in report.differences]
            assert sorted(found, key=repr) == sorted(expected, key=repr), report.differences
            again = await town.reconcile(service)
            assert again.differences == report.differences

    asyncio.run(play())
