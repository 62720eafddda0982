"""Charge once (promise 1), whatever is repeated, lost or interrupted."""

import asyncio
from collections.abc import Sequence
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.memory.ledger import MemoryLedger
from tillport.adapters.memory.payments import GatewayFault, MemoryGateway
from tillport.adapters.memory.policy import MaximumAmount
from tillport.domain.amounts import Limits
from tillport.domain.charge import (
    APPROVAL_SECONDS,
    KEY_HORIZON_SECONDS,
    ChargeAnswer,
    ChargeInProgress,
    ChargeRefused,
    Charging,
    InvalidOrder,
    KeyReused,
    attempt_key,
    charge,
    charge_status,
    fingerprint_of,
    single_use,
)
from tillport.domain.explain import Evidence, story
from tillport.domain.resolve import Resolved, pause_seconds, resolve_once
from tillport.ports.access import Caller, CallerKind
from tillport.ports.event_log import Event
from tillport.ports.ledger import Attempt, AttemptState, LedgerUnavailable, Opened, Outcome
from tillport.ports.money import InvalidAmount, Money
from tillport.ports.payments import AwaitsApproval, ChargeOrder, InvalidRequest, Payment

SHOP = Caller("shop", CallerKind.APP)
OTHER = Caller("other", CallerKind.APP)


class Counter:
    """A counter with everything that charging needs, in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.gateway = MemoryGateway(self.clock)
        self.ledger = MemoryLedger()
        self.log = MemoryEventLog()
        self.nonces = 0
        self.using = Charging(
            gateway=self.gateway, ledger=self.ledger, policy=MaximumAmount({"usd": 100_000}), clock=self.clock
        )

    async def charge(
        self,
        token: str = "tok_1A",
        amount_minor: int = 1250,
        *,
        key: str | None = None,
        caller: Caller = SHOP,
    ) -> ChargeAnswer:
        self.nonces += 1
        order = ChargeOrder(token, Money(amount_minor, "usd"))
        return await charge(order, self.using, caller=caller, nonce=str(self.nonces), idempotency_key=key)

    async def resolve(self) -> Resolved:
        return await resolve_once(self.using, self.log)

    @property
    def moved(self) -> int:
        return sum(held.moved for held in self.gateway.held)


async def test_a_charge_is_answered_with_stripes_object() -> None:
    counter = Counter()
    answer = await counter.charge()
    assert answer.state is AttemptState.SUCCEEDED
    assert answer.charged
    assert answer.failure is None
    assert b'"object":"charge"' in answer.outcome.body.replace(b" ", b"")
    assert counter.moved == 1


@pytest.mark.parametrize(("token", "key"), [("tok_1A", None), ("tok_1A", "order-7"), ("tok_visa", "order-7")])
async def test_a_repeated_request_gets_the_first_answer_word_for_word(token: str, key: str | None) -> None:
    counter = Counter()
    first, again = await counter.charge(token, key=key), await counter.charge(token, key=key)
    assert again == attrs.evolve(first, replayed=True)
    assert counter.gateway.calls == 1
    assert counter.moved == 1


async def test_a_named_test_token_without_a_key_may_be_charged_at_will() -> None:
    counter = Counter()
    await counter.charge("tok_visa")
    await counter.charge("tok_visa")
    assert counter.moved == 2
    assert not single_use("tok_visa")


async def test_keys_of_different_callers_never_meet() -> None:
    counter = Counter()
    mine = await counter.charge("tok_visa", key="order-7")
    theirs = await counter.charge("tok_visa", 9900, key="order-7", caller=OTHER)
    assert mine.attempt_key != theirs.attempt_key
    assert await charge_status(mine.attempt_key, counter.ledger, caller=OTHER) is None
    status = await charge_status(mine.attempt_key, counter.ledger, caller=SHOP)
    assert status is not None
    assert status.outcome == mine.outcome


async def test_the_same_key_for_another_request_is_refused_and_reveals_nothing() -> None:
    counter = Counter()
    first = await counter.charge("tok_visa", key="order-7")
    with pytest.raises(KeyReused) as refused:
        await counter.charge("tok_visa", 9900, key="order-7")
    with pytest.raises(KeyReused):
        await counter.charge("tok_mastercard", key="order-7")
    assert first.outcome.charge_id not in str(refused.value)
    assert "1250" not in str(refused.value)
    assert counter.moved == 1


async def test_a_decline_is_an_answer_and_stays_the_answer() -> None:
    counter = Counter()
    answer = await counter.charge("tok_chargeDeclinedInsufficientFunds", key="order-7")
    assert answer.state is AttemptState.DECLINED
    assert not answer.charged
    assert answer.failure is not None
    assert (answer.failure.reason, answer.failure.decline_code) == ("card_declined", "insufficient_funds")
    again = await counter.charge("tok_chargeDeclinedInsufficientFunds", key="order-7")
    assert again.outcome == answer.outcome
    assert counter.gateway.calls == 1


async def test_a_bank_that_wants_to_see_the_cardholder_is_no_error() -> None:
    counter = Counter()
    answer = await counter.charge("tok_threeDSecure2Required", key="order-7")
    assert answer.state is AttemptState.REQUIRES_ACTION
    assert answer.charged
    assert b"client_secret" in answer.outcome.body
    assert "client_secret" not in repr(answer)


async def test_what_the_policy_refuses_is_never_written_or_sent() -> None:
    counter = Counter()
    with pytest.raises(ChargeRefused, match="at most"):
        await counter.charge(amount_minor=100_001)
    assert counter.gateway.calls == 0
    assert await counter.ledger.unsettled(idle_at=1e12, limit=9) == []


async def test_a_policy_that_changed_its_mind_does_not_hide_an_outcome() -> None:
    counter = Counter()
    first = await counter.charge()
    counter.using = attrs.evolve(counter.using, policy=MaximumAmount({"usd": 1_000}))
    assert (await counter.charge()).outcome == first.outcome


async def test_limits_that_changed_do_not_hide_an_outcome() -> None:
    counter = Counter()
    counter.gateway.strike(GatewayFault.ANSWER_LOST, times=1)
    assert (await counter.charge()).state is AttemptState.UNKNOWN
    counter.using = attrs.evolve(counter.using, limits=Limits(maximum_minor={"usd": 1_000}))
    assert (await counter.charge()).state is AttemptState.SUCCEEDED
    with pytest.raises(InvalidAmount):
        await counter.charge("tok_1B")
    assert counter.moved == 1


@pytest.mark.parametrize(
    ("param", "change"),
    [
        ("metadata", {"metadata": {"order": 12}}),
        ("metadata", {"metadata": {12: "order"}}),
        ("metadata", {"metadata": {"order": "\ud800"}}),
        ("description", {"description": 12}),
        ("description", {"description": "\udfff"}),
        ("money", {"money": 1250}),
        ("token", {"token": None}),
    ],
)
async def test_what_no_ledger_can_hold_is_refused_before_it_is_written(
    param: str, change: dict[str, Any]
) -> None:
    counter = Counter()
    order = attrs.evolve(ChargeOrder("tok_visa", Money(1250, "usd")), **change)
    with pytest.raises(InvalidOrder) as refused:
        await charge(order, counter.using, caller=SHOP, nonce="1", idempotency_key="order-1")
    assert refused.value.param == param
    assert counter.ledger.attempts() == []


@pytest.mark.parametrize(
    "token",
    [
        "",
        "4242424242424242",
        "pm_card_visa",
        "tok_",
        "tok_é",
        "tok_a b",
        "tok_" + "x" * 300,
        "tok_visa\n",
        "sk_x",
    ],
)
async def test_what_is_no_token_is_refused_with_words(token: str) -> None:
    counter = Counter()
    with pytest.raises(InvalidOrder, match="never card data") as refused:
        await counter.charge(token)
    assert refused.value.param == "token"
    assert "4242" not in str(refused.value)
    assert counter.gateway.calls == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "clé", "a\nb"])
async def test_what_is_no_idempotency_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidOrder, match="printable ASCII"):
        await Counter().charge(key=key)


async def test_amounts_that_stripe_would_refuse_never_leave() -> None:
    counter = Counter()
    for amount_minor in (0, 49, 100_000_000):
        with pytest.raises(InvalidAmount):
            await counter.charge(amount_minor=amount_minor)
    assert counter.gateway.calls == 0


async def test_when_the_ledger_is_away_nothing_is_sent() -> None:
    counter = Counter()
    counter.ledger.available = False
    with pytest.raises(LedgerUnavailable):
        await counter.charge()
    assert counter.gateway.calls == 0


# What is lost -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [GatewayFault.ANSWER_LOST, GatewayFault.LOST_ON_THE_WAY])
async def test_a_lost_answer_is_told_as_such_and_the_repeated_request_learns_the_truth(
    fault: GatewayFault,
) -> None:
    counter = Counter()
    counter.gateway.strike(fault, times=1)
    lost = await counter.charge()
    assert lost.state is AttemptState.UNKNOWN
    assert lost.failure is not None
    assert "Do not pay again" in lost.failure.remedy
    again = await counter.charge()
    assert again.state is AttemptState.SUCCEEDED
    assert counter.moved == 1


async def test_a_try_that_moved_nothing_may_be_repeated_at_once() -> None:
    counter = Counter()
    counter.gateway.strike(GatewayFault.UNAVAILABLE, times=1)
    answer = await counter.charge()
    assert answer.state is AttemptState.NOT_SENT
    assert (await counter.charge()).state is AttemptState.SUCCEEDED
    assert counter.moved == 1


async def test_unavailable_after_a_lost_answer_is_still_unknown() -> None:
    counter = Counter()
    counter.gateway.strike(GatewayFault.ANSWER_LOST, times=1)
    await counter.charge()
    counter.gateway.strike(GatewayFault.UNAVAILABLE, times=1)
    assert (await counter.charge()).state is AttemptState.UNKNOWN  # the first try may have moved it, and did


@pytest.mark.parametrize("fault", [GatewayFault.UNAVAILABLE, GatewayFault.MISCONFIGURED])
async def test_a_try_that_was_turned_away_after_a_lost_answer_keeps_nobody_waiting(
    fault: GatewayFault,
) -> None:
    counter = Counter()
    counter.gateway.strike(GatewayFault.ANSWER_LOST, times=1)
    await counter.charge()
    counter.gateway.strike(fault, times=1)
    answer = await counter.charge()
    assert answer.state is AttemptState.UNKNOWN
    assert answer.failure is not None
    assert "Do not pay again" in answer.failure.remedy
    assert (await counter.charge()).state is AttemptState.SUCCEEDED  # and not: it is being worked on
    assert counter.moved == 1


async def test_a_second_request_while_the_first_is_at_stripe_waits_its_turn() -> None:
    counter = Counter()
    counter.gateway.slow_seconds = 5
    first = asyncio.ensure_future(counter.charge())
    await asyncio.sleep(0)
    with pytest.raises(ChargeInProgress) as busy:
        await counter.charge()
    assert 1 <= busy.value.retry_after_seconds <= 5
    counter.clock.advance(5)
    assert (await first).state is AttemptState.SUCCEEDED
    assert (await counter.charge()).replayed
    assert counter.moved == 1


async def crash(counter: Counter) -> None:
    """Charge, and die at Stripe: the money has moved, and nobody has written it down."""
    crashed = asyncio.ensure_future(counter.charge())
    await asyncio.sleep(0)
    crashed.cancel()
    await asyncio.gather(crashed, return_exceptions=True)


async def test_a_crash_around_the_call_is_taken_over_once_its_lease_has_run_out() -> None:
    counter = Counter()
    counter.gateway.slow_seconds = 5
    await crash(counter)
    counter.gateway.slow_seconds = 0
    with pytest.raises(ChargeInProgress):
        await counter.charge()
    assert await counter.resolve() == Resolved()
    counter.clock.advance(counter.using.try_seconds)
    assert len((await counter.resolve()).settled) == 1
    assert (await counter.charge()).state is AttemptState.SUCCEEDED
    assert counter.moved == 1


async def test_stripes_word_is_passed_on_even_if_it_can_not_be_written_down() -> None:
    counter = Counter()
    counter.gateway.slow_seconds = 5
    running = asyncio.ensure_future(counter.charge())
    await asyncio.sleep(0)
    counter.ledger.available = False
    counter.clock.advance(5)
    assert (await running).state is AttemptState.SUCCEEDED
    counter.ledger.available, counter.gateway.slow_seconds = True, 0
    counter.clock.advance(counter.using.try_seconds)
    await counter.resolve()
    assert (await counter.charge()).state is AttemptState.SUCCEEDED
    assert counter.moved == 1


@pytest.mark.parametrize("replayed", [False, True])
@pytest.mark.parametrize("reason", ["token_already_used", "resource_missing", "parameter_invalid"])
async def test_a_refusal_ends_the_doubt_about_an_earlier_try_only_if_it_was_the_answer_to_that(
    replayed: bool, reason: str
) -> None:
    class Refusing(MemoryGateway):
        async def charge(self, order: ChargeOrder, *, idempotency_key: str) -> Payment:
            raise InvalidRequest("No such token.", reason=reason, replayed=replayed)

    counter = Counter()
    await lose(counter)
    counter.using = attrs.evolve(counter.using, gateway=Refusing(counter.clock))
    answer = await counter.charge()
    assert answer.state is (AttemptState.REFUSED if replayed else AttemptState.UNKNOWN)
    assert answer.failure is not None
    if not replayed:
        assert answer.failure.code == "outcome_unknown"
        assert "No such token." in answer.failure.message
        assert "Do not pay again" in answer.failure.remedy


async def test_an_interrupted_try_is_not_told_with_the_words_of_one_that_was_not_sent() -> None:
    counter = Counter()
    counter.gateway.strike(GatewayFault.UNAVAILABLE, times=1)
    key = (await counter.charge()).attempt_key
    for _ in range(2):  # tried again, and interrupted; taken over, and interrupted
        counter.gateway.slow_seconds = 5
        await crash(counter)
        answer = await charge_status(key, counter.ledger, caller=SHOP)
        assert answer is not None
        assert answer.failure is not None
        assert answer.failure.code == "outcome_unknown"
        attempt = await counter.ledger.find(key)
        assert attempt is not None
        assert "gateway_unavailable" not in str(story(evidence_of(attempt)))
        counter.clock.advance(counter.using.try_seconds)


def evidence_of(attempt: Attempt) -> Evidence:
    return Evidence(
        asked=attempt.key,
        names=frozenset(),
        attempts=(attempt,),
        events=(),
        effects=None,
        relay_position=None,
    )


# What is settled later ----------------------------------------------------------------------------------------------


async def lose(counter: Counter, fault: GatewayFault = GatewayFault.ANSWER_LOST) -> ChargeAnswer:
    counter.gateway.strike(fault)
    answer = await counter.charge()
    assert answer.state is AttemptState.UNKNOWN
    return answer


async def test_the_resolver_settles_under_the_same_key_and_leaves_time_between_tries() -> None:
    counter = Counter()
    await lose(counter)
    counter.gateway.heal()
    calls = counter.gateway.calls
    assert len((await counter.resolve()).still_unknown) == 1
    assert counter.gateway.calls == calls  # too soon
    counter.clock.advance(pause_seconds(1))
    assert len((await counter.resolve()).settled) == 1
    assert counter.moved == 1


class SlowGateway(MemoryGateway):
    """Takes a minute for each call, and never answers. Notes when each was sent."""

    sent: dict[str, float]

    async def charge(self, order: ChargeOrder, *, idempotency_key: str) -> Payment:
        self.sent[idempotency_key] = self.clock.now()
        self.clock.advance(60)  # type: ignore[attr-defined] # a clock of these tests
        return await super().charge(order, idempotency_key=idempotency_key)


async def slow_round(counter: Counter, *, charges: int, age_seconds: float) -> SlowGateway:
    """Lose some charges, and look for them in one round when they are so old."""
    for number in range(charges):
        counter.gateway.strike(GatewayFault.LOST_ON_THE_WAY)
        await counter.charge(f"tok_1{number}")
    counter.clock.advance(age_seconds)
    slow = SlowGateway(counter.clock)
    slow.sent = {}
    slow.strike(GatewayFault.LOST_ON_THE_WAY)
    await resolve_once(attrs.evolve(counter.using, gateway=slow), counter.log)
    return slow


async def test_in_a_slow_round_each_try_has_a_lease_of_its_own() -> None:
    counter = Counter()
    slow = await slow_round(counter, charges=5, age_seconds=60)
    assert len(slow.sent) == 5
    tried = {attempt.key: attempt.tried_at for attempt in counter.ledger.attempts()}
    assert tried == slow.sent  # and its lease lasts for `try_seconds` from there


async def test_in_a_slow_round_nothing_is_sent_after_the_horizon() -> None:
    counter = Counter()
    started_at = counter.clock.now()
    slow = await slow_round(counter, charges=5, age_seconds=KEY_HORIZON_SECONDS - 150)
    assert len(slow.sent) == 3
    assert max(slow.sent.values()) <= started_at + KEY_HORIZON_SECONDS


async def test_what_can_not_be_settled_does_not_hide_what_came_after_it() -> None:
    counter = Counter()
    counter.gateway.strike(GatewayFault.LOST_ON_THE_WAY)
    for number in range(25):
        await counter.charge(f"tok_1stuck{number}")
    for _ in range(500):  # until their pauses are long
        counter.clock.advance(5)
        await counter.resolve()
    counter.gateway.heal()
    counter.gateway.strike(GatewayFault.ANSWER_LOST, times=1)
    lost = await counter.charge("tok_1new")
    counter.clock.advance(pause_seconds(1))
    assert lost.attempt_key in (await counter.resolve()).settled


def told_of(key: str, charge: bytes, counter: Counter) -> Event:
    """Return the event that says that the charge under that key succeeded."""
    return Event(
        id="evt_1", type="charge.succeeded", transaction_id="ch_w", payment_key="pi_w", aliases=("ch_w", "pi_w"),
        created=1, received_at=counter.clock.now(), livemode=False, body=b'{"data":{"object":%b}}' % charge, request_key=key,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("charge", "payment_intent_id"),
    [
        (b'{"id":"ch_w","payment_intent":"pi_w","status":"succeeded"}', "pi_w"),
        (b'{"id":"ch_w","status":"succeeded"}', None),
    ],
)
async def test_a_webhook_with_our_key_settles_without_a_call(
    charge: bytes, payment_intent_id: str | None
) -> None:
    counter = Counter()
    lost = await lose(counter)
    await counter.log.record([told_of(lost.attempt_key, charge, counter)])
    calls = counter.gateway.calls
    counter.clock.advance(60)
    assert (await counter.resolve()).settled == (lost.attempt_key,)
    assert counter.gateway.calls == calls
    answer = await counter.charge()
    assert (answer.outcome.charge_id, answer.outcome.payment_intent_id) == ("ch_w", payment_intent_id)


class Contested(MemoryLedger):
    """A ledger on which somebody else is at work at the very same moment."""

    blind = False
    """The next look finds nothing yet: another first request is about to be written."""
    taken = False
    """Another worker was faster."""
    gone = False
    """It went away while Stripe was asked."""

    async def find(self, key: str) -> Attempt | None:
        found = await super().find(key)
        blind, self.blind = self.blind, False
        return None if blind else found

    async def take_over(self, key: str, **how: Any) -> Attempt | None:
        return None if self.taken else await super().take_over(key, **how)

    async def settle(self, key: str, outcome: Outcome, *, tries: int) -> Attempt:
        if self.gone:
            raise LedgerUnavailable("It is away.")
        return await super().settle(key, outcome, tries=tries)


def contested() -> tuple[Counter, Contested]:
    counter, ledger = Counter(), Contested()
    counter.ledger, counter.using = ledger, attrs.evolve(counter.using, ledger=ledger)
    return counter, ledger


async def test_of_two_first_requests_at_one_moment_one_is_sent() -> None:
    counter, ledger = contested()
    first = await counter.charge()
    ledger.blind = True
    assert await counter.charge() == attrs.evolve(first, replayed=True)
    ledger.blind = True
    with pytest.raises(KeyReused):
        await counter.charge(amount_minor=9900)
    assert counter.gateway.calls == 1


def test_what_is_another_request_has_another_fingerprint_and_who_is_another_caller_another_key() -> None:
    one = ChargeOrder("tok_1A", Money(1250, "usd"), description="tea", metadata={"order": "7"})
    others = [
        attrs.evolve(one, **change)
        for change in (
            {"token": "tok_1B"}, {"money": Money(1251, "usd")}, {"money": Money(1250, "eur")}, {"description": None},
            {"metadata": {}}, {"metadata": {"order": "8"}}, {"metadata": {"order": "7", "more": ""}},
        )
    ]  # fmt: skip
    assert len({fingerprint_of(order) for order in (one, *others)}) == 1 + len(others)
    keys = {
        attempt_key("tok_1A", caller=caller, nonce="n", idempotency_key=key)
        for caller in (SHOP, OTHER)
        for key in (None, "tok_1A")
    }
    assert len(keys) == 4, "what one caller learns of its charge is no other's, who has the token too"


async def test_who_sends_a_lost_charge_under_another_key_is_not_told_to_pay_again() -> None:
    counter = Counter()
    counter.gateway.strike(GatewayFault.ANSWER_LOST, times=1)
    await counter.charge(key="order-7")
    answer = await counter.charge(key="order-7, once more")
    assert answer.state is AttemptState.REFUSED
    assert counter.moved == 1
    assert answer.failure is not None
    assert "may have paid" in answer.failure.message
    assert "do not pay again before you know" in answer.failure.remedy


async def test_what_was_not_sent_is_not_told_as_such_while_the_ledger_holds_it_for_begun() -> None:
    counter, ledger = contested()
    counter.gateway.strike(GatewayFault.UNAVAILABLE, times=1)
    ledger.gone = True
    answer = await counter.charge()
    assert answer.state is AttemptState.UNKNOWN


async def test_what_was_told_as_not_sent_while_the_resolver_looked_is_left_to_its_caller() -> None:
    """Its worker was given up for dead, and had only been slow."""

    class Late(Contested):
        async def unsettled(self, *, idle_at: float, limit: int) -> Sequence[Attempt]:
            found = await super().unsettled(idle_at=idle_at, limit=limit)
            for one in found:
                await self.settle(one.key, Outcome(state=AttemptState.NOT_SENT), tries=one.tries)
            return found

    counter, ledger = Counter(), Late()
    counter.ledger, counter.using = ledger, attrs.evolve(counter.using, ledger=ledger)
    counter.gateway.strike(GatewayFault.UNAVAILABLE, times=1)
    ledger.gone = True
    await counter.charge()
    ledger.gone = False
    counter.clock.advance(counter.using.try_seconds)
    assert await counter.resolve() == Resolved()
    assert [one.state for one in ledger.attempts()] == [AttemptState.NOT_SENT]
    assert counter.moved == 0
    assert (await counter.charge()).state is AttemptState.SUCCEEDED


async def test_a_refusal_is_not_told_as_such_while_the_ledger_holds_it_for_begun() -> None:
    """Stripe does not remember it, and takes the request when it comes again: a token that all of Stripe knows by then."""

    class Hesitant(MemoryGateway):
        async def charge(self, order: ChargeOrder, *, idempotency_key: str) -> Payment:
            if self.calls == 0:
                self.calls += 1
                raise InvalidRequest("No such token.", reason="resource_missing")
            return await super().charge(order, idempotency_key=idempotency_key)

    counter, ledger = contested()
    counter.gateway = Hesitant(counter.clock)
    counter.using = attrs.evolve(counter.using, gateway=counter.gateway)
    ledger.gone = True
    answer = await counter.charge()
    assert answer.state is AttemptState.UNKNOWN
    assert answer.failure is not None
    assert "Do not pay again" in answer.failure.remedy
    ledger.gone = False
    counter.clock.advance(counter.using.try_seconds)
    assert (await counter.resolve()).settled == (answer.attempt_key,)
    assert counter.moved == 1


async def test_a_refusal_that_is_told_late_does_not_hide_that_the_next_try_was_taken() -> None:
    """The one who was refused sleeps for a minute, and another one tries meanwhile, and loses the answer."""

    class Hesitant(MemoryGateway):
        async def charge(self, order: ChargeOrder, *, idempotency_key: str) -> Payment:
            if self.calls:
                return await super().charge(order, idempotency_key=idempotency_key)
            self.calls += 1
            counter.clock.advance(counter.using.try_seconds)
            self.strike(GatewayFault.ANSWER_LOST, times=1)
            assert len((await counter.resolve()).still_unknown) == 1
            raise InvalidRequest("No such token.", reason="resource_missing")

    counter = Counter()
    counter.gateway = Hesitant(counter.clock)
    counter.using = attrs.evolve(counter.using, gateway=counter.gateway)
    assert (await counter.charge()).state is AttemptState.UNKNOWN
    assert counter.moved == 1
    assert (await counter.charge()).state is AttemptState.SUCCEEDED


async def test_a_webhook_of_a_failure_with_our_key_is_no_proof_of_a_success() -> None:
    counter = Counter()
    lost = await lose(counter)
    told = told_of(lost.attempt_key, b'{"id":"ch_w","payment_intent":"pi_w","status":"failed"}', counter)
    await counter.log.record([msgspec.structs.replace(told, type="charge.failed")])
    counter.clock.advance(60)
    await counter.resolve()
    status = await charge_status(lost.attempt_key, counter.ledger, caller=SHOP)
    assert status is not None
    assert status.outcome.charge_id != "ch_w"


async def test_an_attempt_that_another_worker_took_is_left_to_it() -> None:
    counter, ledger = contested()
    await lose(counter)
    counter.clock.advance(60)
    ledger.taken = True
    calls = counter.gateway.calls
    assert await counter.resolve() == Resolved()
    assert counter.gateway.calls == calls


async def test_a_webhook_of_another_payment_settles_nothing_of_ours() -> None:
    counter = Counter()
    lost = await lose(counter)
    counter.gateway.strike(GatewayFault.UNAVAILABLE)
    await counter.log.record([told_of("till_of_another", b'{"id":"ch_w","payment_intent":"pi_w"}', counter)])
    counter.clock.advance(60)
    assert (await counter.resolve()).still_unknown == (lost.attempt_key,)


async def test_a_webhook_that_a_process_with_a_late_clock_took_settles_too() -> None:
    counter = Counter()
    lost = await lose(counter)
    told = told_of(lost.attempt_key, b'{"id":"ch_w","payment_intent":"pi_w"}', counter)
    await counter.log.record([msgspec.structs.replace(told, received_at=told.received_at - 300)])
    counter.gateway.strike(GatewayFault.UNAVAILABLE)
    counter.clock.advance(60)
    assert (await counter.resolve()).settled == (lost.attempt_key,)


async def test_what_may_have_come_to_stripe_as_late_as_a_try_lasts_is_looked_for() -> None:
    counter = Counter()
    await lose(counter)
    began, asked = counter.clock.now(), []

    class Remembering(MemoryGateway):
        async def find(
            self, idempotency_key: str, *, tried_from: float, tried_until: float
        ) -> Payment | None:
            asked.append((tried_from, tried_until))
            return await super().find(idempotency_key, tried_from=tried_from, tried_until=tried_until)

    counter.using = attrs.evolve(counter.using, gateway=Remembering(counter.clock))
    counter.clock.advance(KEY_HORIZON_SECONDS + 1)
    await counter.resolve()
    assert asked == [(began, began + counter.using.try_seconds)]


async def test_a_webhook_that_names_no_charge_holds_nobody_up() -> None:
    counter = Counter()
    lost = await lose(counter)
    counter.gateway.heal()
    await counter.log.record([told_of(lost.attempt_key, b"{}", counter)])
    counter.clock.advance(60)
    assert (await counter.resolve()).settled == (lost.attempt_key,)
    assert counter.moved == 1


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (GatewayFault.ANSWER_LOST, AttemptState.SUCCEEDED),
        (GatewayFault.LOST_ON_THE_WAY, AttemptState.NOT_CHARGED),
    ],
)
async def test_once_stripe_may_have_forgotten_the_key_nothing_is_ever_sent(
    fault: GatewayFault, state: AttemptState
) -> None:
    counter = Counter()
    await lose(counter, fault)
    counter.gateway.heal()
    counter.clock.advance(KEY_HORIZON_SECONDS + 3600)
    calls = counter.gateway.calls
    assert (await counter.charge()).state is AttemptState.UNKNOWN
    assert len((await counter.resolve()).settled) == 1
    assert (await counter.charge()).state is state
    assert counter.gateway.calls == calls
    assert counter.moved == (fault is GatewayFault.ANSWER_LOST)


@pytest.mark.parametrize("hours", [1, 22, 25])
async def test_who_was_held_up_for_hours_before_sending_sends_nothing(hours: int) -> None:
    """A machine may sleep at any moment, after the attempt was written down too; and another one carries it through."""

    class Sleeping(MemoryLedger):
        async def open(self, attempt: Attempt) -> Opened:
            opened = await super().open(attempt)
            counter.clock.advance(counter.using.try_seconds)
            assert (await counter.resolve()).settled == (attempt.key,)
            counter.clock.advance(hours * 3600)
            return opened

    counter = Counter()
    counter.ledger = Sleeping()
    counter.using = attrs.evolve(counter.using, ledger=counter.ledger)
    assert (await counter.charge("tok_visa", key="order-7")).state is AttemptState.SUCCEEDED
    assert (counter.gateway.calls, counter.moved) == (1, 1)


async def test_who_was_held_up_and_is_alone_may_be_asked_again_at_once() -> None:
    """As when the clock is set while an attempt is written down: nobody would be at work on it, and all would wait."""

    class Sleeping(MemoryLedger):
        async def open(self, attempt: Attempt) -> Opened:
            opened = await super().open(attempt)
            if opened.new:
                counter.clock.advance(counter.using.try_seconds + 1)
            return opened

    counter = Counter()
    counter.ledger = Sleeping()
    counter.using = attrs.evolve(counter.using, ledger=counter.ledger)
    assert (await counter.charge("tok_visa", key="order-7")).state is AttemptState.NOT_SENT
    assert counter.gateway.calls == 0
    assert (await counter.charge("tok_visa", key="order-7")).state is AttemptState.SUCCEEDED
    assert counter.moved == 1


async def sell(counter: Counter, gateway: MemoryGateway, *, seconds: float = 1) -> None:
    """Charge somebody at that gateway, and record the webhook that tells so."""
    order = ChargeOrder("tok_visa", Money(500, "usd"))
    sold = await gateway.charge(order, idempotency_key=f"sold-{len(gateway.held)}")
    assert sold.charge_id is not None
    names = (sold.charge_id, sold.payment_intent_id)
    await counter.log.record(
        [
            Event(
                id=f"evt_{counter.clock.now()}", type="charge.succeeded", transaction_id=names[0], payment_key=names[1],
                aliases=names, created=1, received_at=counter.clock.now(), livemode=gateway.livemode, body=b'{"data":{"object":{}}}',
            )
        ]
    )  # fmt: skip
    counter.clock.advance(seconds)


@attrs.frozen
class OtherKey:
    """A counter whose service was started again with a key that opens another account."""

    counter: Counter
    gateway: MemoryGateway

    async def resolve(self) -> Resolved:
        using = attrs.evolve(self.counter.using, gateway=self.gateway)
        return await resolve_once(using, self.counter.log)


async def lost_at_another_account(days_since_a_sale: int) -> tuple[OtherKey, str]:
    """Sell a few things, lose the answer to a charge that moved money, and come back a day later with another key."""
    counter = Counter()
    for _ in range(10):
        await sell(counter, counter.gateway)
    counter.clock.advance(days_since_a_sale * 86_400)
    lost = await lose(counter)
    counter.gateway.heal()
    counter.clock.advance(KEY_HORIZON_SECONDS + 3600)
    return OtherKey(counter, MemoryGateway(counter.clock)), lost.attempt_key


@pytest.mark.parametrize("days_since_a_sale", [0, 3, 29])
async def test_what_another_account_does_not_hold_is_not_taken_for_never_charged(
    days_since_a_sale: int,
) -> None:
    wrong, key = await lost_at_another_account(days_since_a_sale)
    assert (await wrong.resolve()).still_unknown == (key,)
    answer = await charge_status(key, wrong.counter.ledger, caller=SHOP)
    assert answer is not None
    assert answer.state is AttemptState.UNKNOWN
    assert answer.failure is not None
    assert "another account" in answer.failure.message

    wrong.counter.clock.advance(3600)
    assert (await wrong.counter.resolve()).settled == (key,)  # with the right key again
    answer = await charge_status(key, wrong.counter.ledger, caller=SHOP)
    assert answer is not None
    assert answer.state is AttemptState.SUCCEEDED


async def went_live(fault: GatewayFault) -> tuple[Counter, OtherKey, str]:
    """Try a till out, go live in its database, and lose the first real charge. The other key is the test key, as before."""
    counter = Counter()
    tried_out = OtherKey(counter, counter.gateway)
    for _ in range(10):
        await sell(counter, tried_out.gateway)
    counter.gateway = MemoryGateway(counter.clock, livemode=True)
    counter.using = attrs.evolve(counter.using, gateway=counter.gateway)
    lost = await lose(counter, fault)
    counter.gateway.heal()
    return counter, tried_out, lost.attempt_key


async def test_what_was_paid_while_the_till_was_tried_out_raises_no_doubt_about_the_live_account() -> None:
    counter, _, key = await went_live(GatewayFault.LOST_ON_THE_WAY)
    counter.clock.advance(KEY_HORIZON_SECONDS + 3600)
    assert (await counter.resolve()).settled == (key,)
    assert (await counter.charge()).state is AttemptState.NOT_CHARGED


async def test_what_was_paid_while_the_till_was_tried_out_does_not_speak_for_the_test_key() -> None:
    counter, tried_out, key = await went_live(GatewayFault.ANSWER_LOST)
    await sell(counter, counter.gateway)
    counter.clock.advance(KEY_HORIZON_SECONDS + 3600)
    assert (await tried_out.resolve()).still_unknown == (key,)
    counter.clock.advance(3600)
    assert (await counter.resolve()).settled == (key,)
    assert (await counter.charge()).state is AttemptState.SUCCEEDED


async def test_however_busy_the_shop_the_last_sales_tell_which_account_it_was() -> None:
    """A till changes to another account in a busy minute, and loses a charge a moment later."""
    counter = Counter()
    before = MemoryGateway(counter.clock)
    for _ in range(150):
        await sell(counter, before, seconds=0.2)
    for _ in range(20):
        await sell(counter, counter.gateway, seconds=0.2)
    lost = await lose(counter, GatewayFault.LOST_ON_THE_WAY)
    counter.gateway.heal()
    counter.clock.advance(KEY_HORIZON_SECONDS + 3600)
    assert (await counter.resolve()).settled == (lost.attempt_key,)


async def test_what_another_account_sold_since_does_not_speak_for_it() -> None:
    wrong, key = await lost_at_another_account(0)
    for _ in range(4):
        await sell(wrong.counter, wrong.gateway)
    assert (await wrong.resolve()).still_unknown == (key,)


async def test_the_first_charge_of_a_shop_is_not_taken_for_never_made_at_another_account_either() -> None:
    counter = Counter()
    lost = await lose(counter)
    counter.gateway.heal()
    for _ in range(150):
        await sell(counter, counter.gateway)
    counter.clock.advance(KEY_HORIZON_SECONDS + 3600)
    other = OtherKey(counter, MemoryGateway(counter.clock))
    await sell(counter, other.gateway)
    assert (await other.resolve()).still_unknown == (lost.attempt_key,)


@pytest.mark.parametrize("fault", list(GatewayFault))
async def test_who_can_not_be_asked_about_the_account_proves_nothing(fault: GatewayFault) -> None:
    class Interrupted(MemoryGateway):
        async def find(
            self, idempotency_key: str, *, tried_from: float, tried_until: float
        ) -> Payment | None:
            found = await super().find(idempotency_key, tried_from=tried_from, tried_until=tried_until)
            self.strike(fault)
            return found

    wrong, key = await lost_at_another_account(0)
    interrupted = attrs.evolve(wrong, gateway=Interrupted(wrong.counter.clock))
    assert (await interrupted.resolve()).still_unknown == (key,)


async def test_a_log_that_can_not_be_read_is_no_witness_that_nothing_was_charged() -> None:
    class Leaving(MemoryGateway):
        async def find(
            self, idempotency_key: str, *, tried_from: float, tried_until: float
        ) -> Payment | None:
            found = await super().find(idempotency_key, tried_from=tried_from, tried_until=tried_until)
            wrong.counter.log.available = False
            return found

    wrong, key = await lost_at_another_account(0)
    leaving = attrs.evolve(wrong, gateway=Leaving(wrong.counter.clock))
    assert (await leaving.resolve()).still_unknown == (key,)


async def test_an_account_that_is_ours_is_believed_that_nothing_was_charged() -> None:
    counter = Counter()
    await sell(counter, counter.gateway)
    counter.gateway.strike(GatewayFault.LOST_ON_THE_WAY)
    lost = await counter.charge()
    assert lost.state is AttemptState.UNKNOWN
    counter.gateway.heal()
    counter.clock.advance(KEY_HORIZON_SECONDS + 3600)
    assert (await counter.resolve()).settled == (lost.attempt_key,)
    answer = await charge_status(lost.attempt_key, counter.ledger, caller=SHOP)
    assert answer is not None
    assert answer.state is AttemptState.NOT_CHARGED


class ReviewedGateway(MemoryGateway):
    """An account with a rule that payments wait for a person, who makes one of each request that he approves."""

    asked: list[tuple[ChargeOrder, str]]

    async def charge(self, order: ChargeOrder, *, idempotency_key: str) -> Payment:
        self.asked.append((order, idempotency_key))
        raise AwaitsApproval("Somebody must approve it.")

    async def approve(self) -> None:
        for order, key in self.asked:
            await super().charge(order, idempotency_key=key)


async def held_for_approval() -> Counter:
    counter = Counter()
    counter.gateway = ReviewedGateway(counter.clock)
    counter.gateway.asked = []
    counter.using = attrs.evolve(counter.using, gateway=counter.gateway)
    answer = await counter.charge()
    assert answer.state is AttemptState.UNKNOWN  # never that it was not charged, for it may be yet
    assert answer.failure is not None
    assert answer.failure.reason == "approval_required"
    return counter


async def test_what_waits_for_a_persons_approval_is_never_asked_for_again() -> None:
    counter = await held_for_approval()
    for _ in range(40):
        counter.clock.advance(3600)
        assert (await counter.resolve()).settled == ()
        assert (await counter.charge()).state is AttemptState.UNKNOWN
    assert len(counter.gateway.asked) == 1


async def test_a_charge_that_was_approved_is_heard_of() -> None:
    counter = await held_for_approval()
    counter.clock.advance(5 * 86_400)
    key = counter.gateway.asked[0][1]
    await counter.log.record([told_of(key, b'{"id":"ch_w","payment_intent":"pi_w"}', counter)])
    assert (await counter.resolve()).settled == (key,)
    assert (await counter.charge()).outcome.charge_id == "ch_w"


@pytest.mark.parametrize("approved", [True, False])
async def test_what_became_of_an_approval_that_nobody_heard_of_is_read_once_it_must_have_lapsed(
    approved: bool,
) -> None:
    counter = await held_for_approval()
    counter.clock.advance(5 * 86_400)
    if approved:
        await counter.gateway.approve()
    counter.clock.advance(APPROVAL_SECONDS - 5 * 86_400 + 60)
    counter.gateway.strike(GatewayFault.UNAVAILABLE)
    assert (await counter.resolve()).settled == ()
    counter.gateway.heal()
    counter.clock.advance(7200)
    assert len((await counter.resolve()).settled) == 1
    assert (await counter.charge()).state is (
        AttemptState.SUCCEEDED if approved else AttemptState.NOT_CHARGED
    )
    assert len(counter.gateway.asked) == 1


async def test_what_nobody_can_settle_is_reported_and_never_guessed() -> None:
    counter = Counter()
    lost = await lose(counter)
    for _ in range(50):
        counter.clock.advance(3600)
        assert (await counter.resolve()).settled == ()
    answer = await charge_status(lost.attempt_key, counter.ledger, caller=SHOP)
    assert answer is not None
    assert answer.state is AttemptState.UNKNOWN


async def test_an_old_request_that_never_left_is_not_sent_a_day_later() -> None:
    counter = Counter()
    counter.gateway.strike(GatewayFault.UNAVAILABLE, times=1)
    await counter.charge()
    counter.clock.advance(KEY_HORIZON_SECONDS + 1)
    with pytest.raises(KeyReused, match="never charged"):
        await counter.charge()
    assert counter.moved == 0


FAULTS = st.sampled_from([None, *GatewayFault])


@given(
    st.lists(st.tuples(FAULTS, st.sampled_from(["charge", "crash", "resolve", "wait", "day"])), max_size=12)
)
def test_whatever_fails_and_however_often_it_is_asked_money_moves_at_most_once(
    steps: list[tuple[GatewayFault | None, str]],
) -> None:
    async def story() -> None:
        counter = Counter()
        told: set[AttemptState] = set()
        for fault, step in [*steps, (None, "settle")]:
            counter.gateway.heal()
            if fault is not None:
                counter.gateway.strike(fault)
            if step in ("charge", "crash"):
                counter.gateway.slow_seconds = 3 if step == "crash" else 0
                asked = asyncio.ensure_future(counter.charge())
                for _ in range(5):
                    await asyncio.sleep(0)
                if step == "crash":
                    asked.cancel()
                for result in await asyncio.gather(asked, return_exceptions=True):
                    if isinstance(result, ChargeAnswer):
                        told.add(result.state)
                counter.gateway.slow_seconds = 0
            elif step == "resolve":
                await counter.resolve()
            else:
                counter.clock.advance({"wait": 100, "day": 26 * 3600, "settle": 7200}[step])
        await counter.resolve()
        assert counter.moved <= 1
        if AttemptState.SUCCEEDED in told:
            assert counter.moved == 1
        settled = [
            attempt
            for attempt in [await counter.ledger.find(held.key) for held in counter.gateway.held]
            if attempt
        ]
        assert all(attempt.state is AttemptState.SUCCEEDED for attempt in settled)

    asyncio.run(story())
