"""Resolve what is unknown: settle attempts whose outcome was lost, without ever charging anew.

Three witnesses are heard, in this order: our own log (a webhook of the payment carries our idempotency key), Stripe
under the same key while it remembers it, and Stripe's list of payments after that. What none of them settles is
reported, never guessed. Nor is a lack believed where Stripe does not know payments that our log has from about
that time: then the key that we ask with opens another account, and what was charged in the old one is not to be seen.
"""

import attrs
import msgspec

from tillport.domain.account import doubt_about_the_account
from tillport.domain.charge import (
    APPROVAL_SECONDS,
    KEY_HORIZON_SECONDS,
    Charging,
    Failure,
    awaits_approval,
    outcome_of_error,
    outcome_of_payment,
    try_once,
)
from tillport.ports.event_log import EventLog, LogUnavailable
from tillport.ports.ledger import Attempt, AttemptState, Outcome
from tillport.ports.payments import CardDeclined, GatewayError
from tillport.ports.selector import AllOf, Compare

LONGEST_PAUSE_SECONDS = 3600.0
CLOCK_SLACK_SECONDS = 600.0
"""How far the clocks of two of our processes may be apart."""
LOOKED_THROUGH = 1000
"""Among so many that rest, the longest first, a round looks for those whose turn it is. The others are in a pause of up
to an hour, and must not hide who came after them."""


@attrs.frozen(kw_only=True)
class Resolved:
    """What one round did: keys of attempts that are settled now, and of those that still are not."""

    settled: tuple[str, ...] = ()
    still_unknown: tuple[str, ...] = ()


def pause_seconds(tries: int) -> float:
    """Return how long to leave an attempt alone after that many tries: 2, 4, 8 … seconds, an hour at most."""
    return min(2.0 ** min(tries, 20), LONGEST_PAUSE_SECONDS)


async def resolve_once(using: Charging, log: EventLog, *, limit: int = 20) -> Resolved:
    """Take over up to `limit` attempts that rest unsettled, and settle what can be settled.

    Safe to run anywhere and any number of times at once. Raises `LedgerUnavailable`.
    """
    settled: list[str] = []
    unknown: list[str] = []
    tried = 0
    for attempt in await using.ledger.unsettled(idle_at=using.clock.now(), limit=LOOKED_THROUGH):
        if tried == limit:
            break
        now = using.clock.now()  # each time: the ones before may have waited for Stripe for minutes
        if attempt.state is AttemptState.UNKNOWN and now < attempt.tried_at + pause_seconds(attempt.tries):
            unknown.append(attempt.key)
            continue
        tried += 1
        taken = await using.ledger.take_over(
            attempt.key, seen_tries=attempt.tries, now=now, busy_until=now + using.try_seconds
        )
        if taken is None:
            continue  # its own caller came back, or another worker was faster
        if taken.state is AttemptState.STARTED:
            # Told since as not sent, by one who was late: whether it is tried again is up to its caller.
            not_sent = attrs.evolve(taken.outcome, state=AttemptState.NOT_SENT)
            await using.ledger.settle(taken.key, not_sent, tries=taken.tries)
            continue
        state = await _settle(taken, using, log, now=now, tried_at=attempt.tried_at)
        (settled if state.final else unknown).append(taken.key)
    return Resolved(settled=tuple(settled), still_unknown=tuple(unknown))


async def _settle(
    attempt: Attempt, using: Charging, log: EventLog, *, now: float, tried_at: float
) -> AttemptState:
    outcome = await _from_log(attempt, log)
    if outcome is None and awaits_approval(attempt):
        # Never sent again. What is made of it in the end, Stripe tells; that it never will be, only time.
        outcome = attempt.outcome
        lapsed = attempt.started_at + APPROVAL_SECONDS
        if now > lapsed:
            outcome = await _from_stripe(attempt, using, log, until=lapsed)
    elif outcome is None:
        if now - attempt.started_at <= KEY_HORIZON_SECONDS:
            return (await try_once(attempt, using)).state
        # Nothing was sent after the horizon: a later `tried_at` is that of another look like this one.
        last_try = min(tried_at, attempt.started_at + KEY_HORIZON_SECONDS)
        outcome = await _from_stripe(attempt, using, log, until=last_try + using.try_seconds)
    return (await using.ledger.settle(attempt.key, outcome, tries=attempt.tries)).state


class _ChargeHead(msgspec.Struct):
    id: str
    payment_intent: str | None = None


class _ChargeData(msgspec.Struct):
    object: msgspec.Raw


class _ChargeEvent(msgspec.Struct):
    data: _ChargeData


async def _from_log(attempt: Attempt, log: EventLog) -> Outcome | None:
    # The time bound keeps this cheap in a log of years: webhooks carry our key only after we have sent it.
    where = AllOf(
        (
            Compare("received_at", ">=", attempt.started_at - CLOCK_SLACK_SECONDS),
            Compare("request_key", "=", attempt.key),
        )
    )
    try:
        page = await log.read(after=0, where=where, limit=20)
    except LogUnavailable:
        return None
    for recorded in page.events:
        if recorded.event.type != "charge.succeeded":
            continue  # a success is proof by itself; a failure could be followed by one
        try:
            body = bytes(msgspec.json.decode(recorded.event.body, type=_ChargeEvent).data.object)
            head = msgspec.json.decode(body, type=_ChargeHead)
        except msgspec.MsgspecError:
            continue  # it does not say which charge: the other witnesses are asked, and no other attempt waits for it
        return Outcome(
            state=AttemptState.SUCCEEDED, body=body, payment_intent_id=head.payment_intent, charge_id=head.id
        )
    return None


async def _from_stripe(attempt: Attempt, using: Charging, log: EventLog, *, until: float) -> Outcome:
    try:
        payment = await using.gateway.find(attempt.key, tried_from=attempt.started_at, tried_until=until)
    except CardDeclined as declined:
        return outcome_of_error(declined, attempt)
    except GatewayError as error:
        return _unsettled(attempt, error.message)
    if payment is not None:
        return outcome_of_payment(payment)
    doubt = await doubt_about_the_account(using.gateway, log, before=attempt.started_at)
    if doubt is not None:
        return _unsettled(attempt, doubt)
    failure = Failure(
        code="not_charged",
        message="Stripe holds no payment for this request: the card was not charged.",
        remedy="Start again with a new key and a new token.",
    )
    return Outcome(state=AttemptState.NOT_CHARGED, body=msgspec.json.encode(failure))


def _unsettled(attempt: Attempt, message: str) -> Outcome:
    if awaits_approval(attempt):
        return attempt.outcome  # whose words keep it from being sent again
    failure = Failure(
        code="outcome_unknown",
        message=f"The outcome could not be settled yet: {message}",
        remedy="It is being looked into. Do not pay again before it is known.",
    )
    return attrs.evolve(attempt.outcome, state=AttemptState.UNKNOWN, body=msgspec.json.encode(failure))
