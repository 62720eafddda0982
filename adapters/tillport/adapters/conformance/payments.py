"""The laws of a payment gateway: what every `PaymentGateway` does, whatever it charges with.

Each law takes a bench: a gateway together with the account behind it, in the tester's hands. With pytest and anyio's
plugin:

    LAWS = gateway_laws(GatewayCapabilities())

    @pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
    async def test_my_gateway(law):
        async with my_bench() as bench:
            await law(bench)

A law ends quietly or raises `AssertionError`. Whole histories are judged by `tillport.adapters.conformance.payments_judge`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Protocol, TypeAlias

import attrs

from tillport.ports.errors import TillportError
from tillport.ports.money import Money
from tillport.ports.payments import (
    CardDeclined,
    ChargeOrder,
    GatewayUnavailable,
    InvalidRequest,
    OutcomeUnknown,
    Payment,
    PaymentGateway,
    PaymentStatus,
)

DAY_SECONDS = 24 * 3600


class Trouble(StrEnum):
    """What a bench can do to every call from now on."""

    TURNED_AWAY = "turned_away"
    """Refused before any work: a rate limit, say."""
    LOST_ON_THE_WAY = "lost_on_the_way"
    """The request leaves and is never worked on; the caller sees a broken connection."""
    ANSWER_LOST = "answer_lost"
    """The work is done; the caller sees a broken connection."""


class Card(StrEnum):
    """What becomes of the card behind a token."""

    GOOD = "good"
    DECLINED = "declined"
    """With the code `card_declined` and the decline code `insufficient_funds`."""
    NEEDS_ACTION = "needs_action"


@attrs.frozen
class Moved:
    """Money that truly moved, as the account knows it."""

    payment_intent_id: str
    amount_minor: int
    currency: str


@attrs.frozen(kw_only=True)
class GatewayCapabilities:
    """What the gateway under test can do; each selects laws."""

    absence_seconds: float = 0.0
    """How long after the last try `find` takes the lack of a payment for proof."""
    time_moves: bool = True
    """`advance` works on the bench."""


class GatewayBench(Protocol):
    """A gateway under test, with the account behind it in the tester's hands."""

    @property
    def gateway(self) -> PaymentGateway: ...

    def now(self) -> float:
        """Return the time that gateway and account live in, in Unix seconds."""
        ...

    def advance(self, seconds: float) -> None:
        """Move that time on."""
        ...

    async def token(self, card: Card) -> str:
        """Return a new single-use token."""
        ...

    async def trouble(self, trouble: Trouble | None) -> None:
        """Let every call fail that way from now on; None ends it."""
        ...

    async def moved(self) -> Sequence[Moved]:
        """Return all money that truly moved, in any order. Not by way of the gateway, and untouched by trouble."""
        ...


GatewayLaw: TypeAlias = Callable[[GatewayBench], Awaitable[None]]
_TEA = Money(1250, "usd")
_MANY = 150
"""More payments than a page of Stripe's list holds."""


async def a_good_card_is_charged_and_the_charge_is_the_answer(bench: GatewayBench) -> None:
    order = ChargeOrder(await bench.token(Card.GOOD), _TEA, "Tea", {"cart": "7"})
    payment = await bench.gateway.charge(order, idempotency_key="key-1")
    shown = json.loads(payment.body)
    assert payment.status is PaymentStatus.SUCCEEDED
    assert (shown["object"], shown["id"]) == ("charge", payment.charge_id)
    assert (shown["amount"], shown["currency"]) == (1250, "usd")
    assert shown["metadata"]["cart"] == "7"
    assert list(await bench.moved()) == [Moved(payment.payment_intent_id, 1250, "usd")]


async def what_is_bought_is_shown_at_stripe(bench: GatewayBench) -> None:
    begun = bench.now()
    for card in (Card.GOOD, Card.NEEDS_ACTION):
        order = ChargeOrder(
            await bench.token(card), _TEA, "Earl Grey, caf\N{LATIN SMALL LETTER E WITH ACUTE}"
        )
        key = f"key-{card}"
        payment = await bench.gateway.charge(order, idempotency_key=key)
        found = await _found(bench, key, begun, bench.now())
        for told in (payment, found):
            assert json.loads(told.body)["description"] == order.description


async def amounts_are_taken_as_they_are(bench: GatewayBench) -> None:
    for number, money in enumerate([Money(500, "jpy"), Money(5120, "kwd"), Money(500, "isk")]):
        order = ChargeOrder(await bench.token(Card.GOOD), money)
        shown = json.loads((await bench.gateway.charge(order, idempotency_key=f"key-{number}")).body)
        assert (shown["amount"], shown["currency"]) == (money.amount_minor, money.currency)


async def one_key_charges_once(bench: GatewayBench) -> None:
    order = ChargeOrder(await bench.token(Card.GOOD), _TEA)
    first = await bench.gateway.charge(order, idempotency_key="key-1")
    again = await bench.gateway.charge(order, idempotency_key="key-1")
    assert again == first
    assert len(await bench.moved()) == 1


async def one_key_charges_once_at_the_same_time(bench: GatewayBench) -> None:
    order = ChargeOrder(await bench.token(Card.GOOD), _TEA)
    answers = await asyncio.gather(
        *(bench.gateway.charge(order, idempotency_key="key-1") for _ in range(5)), return_exceptions=True
    )
    for answer in answers:
        assert isinstance(answer, Payment) or type(answer) is OutcomeUnknown, answer
    assert len(await bench.moved()) == 1


async def one_key_charges_once_for_nearly_a_day(bench: GatewayBench) -> None:
    order = ChargeOrder(await bench.token(Card.GOOD), _TEA)
    first = await bench.gateway.charge(order, idempotency_key="key-1")
    bench.advance(DAY_SECONDS - 3600)
    assert await bench.gateway.charge(order, idempotency_key="key-1") == first
    assert len(await bench.moved()) == 1


async def different_keys_are_different_charges(bench: GatewayBench) -> None:
    for number in range(3):
        order = ChargeOrder(await bench.token(Card.GOOD), _TEA)
        await bench.gateway.charge(order, idempotency_key=f"key-{number}")
    assert len({moved.payment_intent_id for moved in await bench.moved()}) == 3


async def long_keys_are_told_apart_by_their_ends(bench: GatewayBench) -> None:
    """Ours have 73 characters."""
    keys = ["tillport_" + "0" * 63 + end for end in "12"]
    begun = bench.now()
    payments = [
        await bench.gateway.charge(ChargeOrder(await bench.token(Card.GOOD), _TEA), idempotency_key=key)
        for key in keys
    ]
    assert len(await bench.moved()) == 2
    for key, payment in zip(keys, payments, strict=True):
        found = await _found(bench, key, begun, bench.now())
        assert found.payment_intent_id == payment.payment_intent_id


async def one_key_with_another_order_is_unknown_and_moves_nothing_more(bench: GatewayBench) -> None:
    token = await bench.token(Card.GOOD)
    await bench.gateway.charge(ChargeOrder(token, _TEA), idempotency_key="key-1")
    await _fails(
        OutcomeUnknown, bench.gateway.charge(ChargeOrder(token, Money(1, "eur")), idempotency_key="key-1")
    )
    assert len(await bench.moved()) == 1


async def a_used_token_is_refused_under_another_key(bench: GatewayBench) -> None:
    order = ChargeOrder(await bench.token(Card.GOOD), _TEA)
    await bench.gateway.charge(order, idempotency_key="key-1")
    error = await _fails(InvalidRequest, bench.gateway.charge(order, idempotency_key="key-2"))
    assert isinstance(error, InvalidRequest)
    assert error.reason == "token_already_used"
    assert len(await bench.moved()) == 1


async def a_token_that_does_not_exist_is_refused(bench: GatewayBench) -> None:
    await _fails(
        InvalidRequest, bench.gateway.charge(ChargeOrder("tok_nowhere", _TEA), idempotency_key="key-1")
    )
    assert not await bench.moved()


async def a_decline_says_why_and_says_it_again(bench: GatewayBench) -> None:
    order = ChargeOrder(await bench.token(Card.DECLINED), _TEA)
    begun = bench.now()
    for asked in (
        bench.gateway.charge(order, idempotency_key="key-1"),
        bench.gateway.charge(order, idempotency_key="key-1"),
        bench.gateway.find("key-1", tried_from=begun, tried_until=bench.now()),
    ):
        error = await _fails(CardDeclined, asked)
        assert isinstance(error, CardDeclined)
        assert (error.reason, error.decline_code) == ("card_declined", "insufficient_funds")
        assert error.payment_intent_id is not None
        assert order.token not in f"{error!r} {error}"
    assert not await bench.moved()


async def a_card_that_needs_its_holder_is_a_normal_outcome(bench: GatewayBench) -> None:
    order = ChargeOrder(await bench.token(Card.NEEDS_ACTION), _TEA)
    begun = bench.now()
    payment = await bench.gateway.charge(order, idempotency_key="key-1")
    shown = json.loads(payment.body)
    assert payment.status is PaymentStatus.REQUIRES_ACTION
    assert (shown["object"], shown["id"], shown["status"]) == (
        "payment_intent",
        payment.payment_intent_id,
        "requires_action",
    )
    assert shown["client_secret"]
    assert shown["client_secret"] not in repr(payment)
    found = await bench.gateway.find("key-1", tried_from=begun, tried_until=bench.now())
    assert found is not None
    assert (found.status, found.payment_intent_id) == (payment.status, payment.payment_intent_id)
    assert not await bench.moved()


async def a_lost_answer_is_unknown_and_comes_again_under_the_same_key(bench: GatewayBench) -> None:
    order = ChargeOrder(await bench.token(Card.GOOD), _TEA)
    await bench.trouble(Trouble.ANSWER_LOST)
    await _fails(OutcomeUnknown, bench.gateway.charge(order, idempotency_key="key-1"))
    assert len(await bench.moved()) == 1
    await bench.trouble(None)
    payment = await bench.gateway.charge(order, idempotency_key="key-1")
    assert [payment.payment_intent_id] == [moved.payment_intent_id for moved in await bench.moved()]


async def a_lost_request_is_unknown_and_works_under_the_same_key(bench: GatewayBench) -> None:
    order = ChargeOrder(await bench.token(Card.GOOD), _TEA)
    await bench.trouble(Trouble.LOST_ON_THE_WAY)
    await _fails(OutcomeUnknown, bench.gateway.charge(order, idempotency_key="key-1"))
    assert not await bench.moved()
    await bench.trouble(None)
    await bench.gateway.charge(order, idempotency_key="key-1")
    assert len(await bench.moved()) == 1


async def who_is_turned_away_moved_nothing_and_may_come_again(bench: GatewayBench) -> None:
    order = ChargeOrder(await bench.token(Card.GOOD), _TEA)
    await bench.trouble(Trouble.TURNED_AWAY)
    await _fails(GatewayUnavailable, bench.gateway.charge(order, idempotency_key="key-1"))
    assert not await bench.moved()
    await bench.trouble(None)
    await bench.gateway.charge(order, idempotency_key="key-1")
    assert len(await bench.moved()) == 1


async def find_tells_what_became_of_a_lost_charge(bench: GatewayBench) -> None:
    await bench.gateway.charge(ChargeOrder(await bench.token(Card.GOOD), _TEA), idempotency_key="key-0")
    begun = bench.now()
    await bench.trouble(Trouble.ANSWER_LOST)
    order = ChargeOrder(await bench.token(Card.GOOD), Money(777, "usd"))
    await _fails(OutcomeUnknown, bench.gateway.charge(order, idempotency_key="key-1"))
    await bench.trouble(None)
    found = await bench.gateway.find("key-1", tried_from=begun, tried_until=bench.now())
    assert found is not None
    assert found.status is PaymentStatus.SUCCEEDED
    shown = json.loads(found.body)
    assert (shown["object"], shown["id"], shown["amount"]) == ("charge", found.charge_id, 777)
    assert len(await bench.moved()) == 2


async def find_looks_beyond_the_newest_payments(bench: GatewayBench) -> None:
    """More payments came after it than Stripe shows at once."""
    begun = bench.now()
    order = ChargeOrder(await bench.token(Card.GOOD), Money(777, "usd"))
    first = await bench.gateway.charge(order, idempotency_key="key-0")
    for number in range(1, _MANY + 1):
        other = ChargeOrder(await bench.token(Card.GOOD), _TEA)
        await bench.gateway.charge(other, idempotency_key=f"key-{number}")
    found = await _found(bench, "key-0", begun, bench.now())
    assert found.payment_intent_id == first.payment_intent_id


async def it_holds_what_was_paid_declined_or_waits_and_nothing_else(bench: GatewayBench) -> None:
    """By this the core tells the account that it charged for from another one."""
    paid = await bench.gateway.charge(
        ChargeOrder(await bench.token(Card.GOOD), _TEA), idempotency_key="key-1"
    )
    waits = await bench.gateway.charge(
        ChargeOrder(await bench.token(Card.NEEDS_ACTION), _TEA), idempotency_key="key-2"
    )
    order = ChargeOrder(await bench.token(Card.DECLINED), _TEA)
    declined = await _fails(CardDeclined, bench.gateway.charge(order, idempotency_key="key-3"))
    assert isinstance(declined, CardDeclined)
    assert declined.payment_intent_id is not None
    for held in (paid.payment_intent_id, waits.payment_intent_id, declined.payment_intent_id):
        assert await bench.gateway.holds(held) is True, held
    for other in (f"{paid.payment_intent_id}0", "pi_3OfAnotherAccount", "pi_../charges"):
        assert await bench.gateway.holds(other) is False, other
    for trouble in Trouble:
        await bench.trouble(trouble)
        await _fails(GatewayUnavailable, bench.gateway.holds(paid.payment_intent_id))


async def find_proves_absence(bench: GatewayBench) -> None:
    begun = bench.now()
    await bench.gateway.charge(ChargeOrder(await bench.token(Card.GOOD), _TEA), idempotency_key="key-0")
    await bench.trouble(Trouble.LOST_ON_THE_WAY)
    order = ChargeOrder(await bench.token(Card.GOOD), _TEA)
    await _fails(OutcomeUnknown, bench.gateway.charge(order, idempotency_key="key-1"))
    await bench.trouble(None)
    ended = bench.now()
    bench.advance(DAY_SECONDS)
    assert await bench.gateway.find("key-1", tried_from=begun, tried_until=ended) is None
    assert len(await bench.moved()) == 1


async def absence_is_no_proof_too_early(bench: GatewayBench) -> None:
    begun = bench.now()
    await _fails(OutcomeUnknown, bench.gateway.find("key-1", tried_from=begun, tried_until=bench.now()))


async def find_sees_a_payment_of_the_same_second(bench: GatewayBench) -> None:
    """Stripe's dates are whole seconds, so that a payment may seem older than its request."""
    bench.advance(0.75)
    begun = bench.now()
    order = ChargeOrder(await bench.token(Card.GOOD), _TEA)
    payment = await bench.gateway.charge(order, idempotency_key="key-1")
    found = await _found(bench, "key-1", begun, begun)
    assert found.payment_intent_id == payment.payment_intent_id


def _late(absence_seconds: float) -> GatewayLaw:
    async def find_sees_what_arrived_late(bench: GatewayBench) -> None:
        """The request was given up, and arrived while `find` would not yet have taken a lack for proof."""
        begun = bench.now()
        bench.advance(0.9 * absence_seconds)
        order = ChargeOrder(await bench.token(Card.GOOD), _TEA)
        await bench.gateway.charge(order, idempotency_key="key-1")
        for seconds in (0, DAY_SECONDS):
            bench.advance(seconds)
            found = await _found(bench, "key-1", begun, begun)
            assert [found.payment_intent_id] == [moved.payment_intent_id for moved in await bench.moved()]

    return find_sees_what_arrived_late


async def find_takes_no_trouble_for_absence(bench: GatewayBench) -> None:
    begun = bench.now()
    bench.advance(DAY_SECONDS)
    for trouble in Trouble:
        await bench.trouble(trouble)
        try:
            await bench.gateway.find("key-1", tried_from=begun, tried_until=begun)
        except (GatewayUnavailable, OutcomeUnknown):
            continue
        raise AssertionError(f"find answered in spite of {trouble}")


async def no_error_shows_the_token(bench: GatewayBench) -> None:
    token = await bench.token(Card.GOOD)
    for trouble in Trouble:
        await bench.trouble(trouble)
        error = await _fails(
            TillportError, bench.gateway.charge(ChargeOrder(token, _TEA), idempotency_key="key-1")
        )
        assert token not in f"{error!r} {error} {error.remedy} {error.__context__!r}"
        assert error.remedy


_MOVES_TIME = (
    one_key_charges_once_for_nearly_a_day,
    find_proves_absence,
    find_sees_a_payment_of_the_same_second,
    find_takes_no_trouble_for_absence,
)
_ALWAYS: tuple[GatewayLaw, ...] = (
    a_good_card_is_charged_and_the_charge_is_the_answer,
    what_is_bought_is_shown_at_stripe,
    amounts_are_taken_as_they_are,
    one_key_charges_once,
    one_key_charges_once_at_the_same_time,
    different_keys_are_different_charges,
    long_keys_are_told_apart_by_their_ends,
    one_key_with_another_order_is_unknown_and_moves_nothing_more,
    a_used_token_is_refused_under_another_key,
    a_token_that_does_not_exist_is_refused,
    a_decline_says_why_and_says_it_again,
    a_card_that_needs_its_holder_is_a_normal_outcome,
    a_lost_answer_is_unknown_and_comes_again_under_the_same_key,
    a_lost_request_is_unknown_and_works_under_the_same_key,
    who_is_turned_away_moved_nothing_and_may_come_again,
    find_tells_what_became_of_a_lost_charge,
    find_looks_beyond_the_newest_payments,
    it_holds_what_was_paid_declined_or_waits_and_nothing_else,
    no_error_shows_the_token,
)


def gateway_laws(capabilities: GatewayCapabilities) -> tuple[GatewayLaw, ...]:
    """Return the laws that a gateway with these capabilities must keep."""
    laws = _ALWAYS
    if capabilities.time_moves:
        laws += _MOVES_TIME
    if capabilities.absence_seconds > 0:
        laws += (absence_is_no_proof_too_early,)
        if capabilities.time_moves:
            laws += (_late(capabilities.absence_seconds),)
    return laws


async def _found(bench: GatewayBench, key: str, tried_from: float, tried_until: float) -> Payment:
    """Return what `find` tells of a payment that is there: no answer and none are both a broken law."""
    try:
        found = await bench.gateway.find(key, tried_from=tried_from, tried_until=tried_until)
    except TillportError as error:
        raise AssertionError(f"a payment is there, and find says {error!r}") from error
    assert found is not None, "a payment is there, and find says that there is none"
    return found


async def _fails(expected: type[TillportError], asked: Awaitable[object]) -> TillportError:
    told: object
    try:
        told = await asked
    except TillportError as error:
        told = error
    # Exactly that class: the core decides by it.
    assert type(told) is expected or (expected is TillportError and isinstance(told, expected)), (
        f"expected {expected.__name__}, got {told!r}"
    )
    assert isinstance(told, TillportError)
    return told
