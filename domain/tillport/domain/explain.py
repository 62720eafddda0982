"""Explain a payment: everything that is known of it, from any of its names, as one story in time.

What is told comes from our own records alone: the ledger (what was asked, what Stripe answered), the log (what Stripe told us and when
it came), the relay's place in the log, and the effects where there are any. Nothing here shows a token, a body, or a
person: amounts, ids, types, times and states.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import attrs
import msgspec

from tillport.domain.charge import ATTEMPT_KEY_PREFIX, Failure, as_told, awaits_approval
from tillport.domain.notify import projection
from tillport.domain.resolve import CLOCK_SLACK_SECONDS
from tillport.domain.status import RELAY
from tillport.ports.attempts import AttemptBook
from tillport.ports.cursors import Cursors
from tillport.ports.effects import Effect, EffectQueue, EffectState
from tillport.ports.event_log import EventLog, RecordedEvent
from tillport.ports.ledger import Attempt, AttemptState
from tillport.ports.selector import AllOf, Compare, Selector

NAMES_MAX = 100
"""A payment has a handful of names. What leads to more is not one payment."""
EVENTS_MAX = 2_000
_PAGE = 200
_DELIVERY_SECONDS = 4 * 86_400.0
"""Stripe tries to deliver an event for three days (docs.stripe.com/webhooks#retries)."""


@attrs.frozen(kw_only=True)
class Explaining:
    """The ports that explaining needs. `effects` is None where there is no queue of effects."""

    log: EventLog
    attempts: AttemptBook
    cursors: Cursors
    effects: EffectQueue[Any] | None = None
    relay: str = RELAY


@attrs.frozen(kw_only=True)
class Evidence:
    """All that our records hold of one payment. `reset`: the log no longer reaches back to its beginning."""

    asked: str
    names: frozenset[str]
    attempts: tuple[Attempt, ...]
    events: tuple[RecordedEvent, ...]
    effects: tuple[Effect, ...] | None
    relay_position: int | None
    reset: bool = False

    @property
    def empty(self) -> bool:
        return not self.attempts and not self.events

    def published(self, recorded: RecordedEvent) -> bool:
        """Tell whether the relay is past that event."""
        return self.relay_position is not None and recorded.position <= self.relay_position


async def gather(asked: str, using: Explaining) -> Evidence:
    """Look a payment up by any of its names: `ch_…`, `pi_…`, `re_…`, `evt_…`, or the key of its attempt.

    Raises `LogUnavailable` and `LedgerUnavailable`.
    """
    search = _Search(using)
    if asked.startswith("evt_"):
        found = await using.log.find(asked)
        if found is not None:
            search.add_event(found)
    else:
        search.names.append(asked)
    await search.follow()
    events = tuple(sorted(search.events.values(), key=lambda one: one.position))
    effects: list[Effect] | None = None
    if using.effects is not None:
        effects = []
        for key in sorted({one.event.payment_key for one in events}):
            effects += await using.effects.list(states=tuple(EffectState), payment_key=key, limit=EVENTS_MAX)
    return Evidence(
        asked=asked,
        names=frozenset(search.names),
        attempts=tuple(sorted(search.attempts.values(), key=lambda one: (one.started_at, one.key))),
        events=events,
        effects=None if effects is None else tuple(effects),
        relay_position=(await using.cursors.positions()).get(using.relay),
        reset=search.reset,
    )


@attrs.define
class _Search:
    """Goes from name to name until there is no new one."""

    using: Explaining
    names: list[str] = attrs.field(factory=list)
    attempts: dict[str, Attempt] = attrs.field(factory=dict)
    events: dict[str, RecordedEvent] = attrs.field(factory=dict)
    reset: bool = False

    async def follow(self) -> None:
        for name in self.names:  # grows meanwhile
            for attempt in await self.using.attempts.about(name):
                await self._add_attempt(attempt)
            if not name.startswith(ATTEMPT_KEY_PREFIX):
                await self._read(Compare("id", "=", name))

    async def _add_attempt(self, attempt: Attempt) -> None:
        if attempt.key in self.attempts:
            return
        self.attempts[attempt.key] = attempt
        ids = (attempt.outcome.charge_id, attempt.outcome.payment_intent_id)
        self._add_names(attempt.key, *ids)
        if not any(ids):
            # Nobody wrote down what it made, so its events are known by its key alone, in the days when they came.
            first, last = attempt.started_at - CLOCK_SLACK_SECONDS, attempt.tried_at + _DELIVERY_SECONDS
            await self._read(
                AllOf(
                    (
                        Compare("received_at", ">=", first),
                        Compare("received_at", "<", last),
                        Compare("request_key", "=", attempt.key),
                    )
                )
            )

    async def _read(self, where: Selector) -> None:
        position = 0
        while len(self.events) < EVENTS_MAX:
            page = await self.using.log.read(after=position, where=where, limit=_PAGE)
            self.reset |= page.reset and position == 0
            for recorded in page.events:
                self.add_event(recorded)
            position = page.position
            if len(page.events) < _PAGE:
                return

    def add_event(self, recorded: RecordedEvent) -> None:
        event = recorded.event
        if event.id not in self.events:
            self.events[event.id] = recorded
            key = event.request_key or ""
            ours = (key,) if key.startswith(ATTEMPT_KEY_PREFIX) else ()
            self._add_names(event.transaction_id, event.payment_key, *event.aliases, *ours)

    def _add_names(self, *names: str | None) -> None:
        self.names += [
            name
            for name in dict.fromkeys(names)
            if name and name not in self.names and len(self.names) < NAMES_MAX
        ]


class Step(StrEnum):
    """What kind of thing happened. The value is stable, for programs."""

    ATTEMPT = "attempt"
    TRY = "try"
    OUTCOME = "outcome"
    EVENT = "event"
    EFFECT = "effect"


@attrs.frozen(kw_only=True)
class Moment:
    """One line of the story. `facts` are for programs, `text` for people; `at` is None where no time was kept."""

    at: float | None
    step: Step
    text: str
    facts: Mapping[str, Any]


def story(evidence: Evidence) -> tuple[Moment, ...]:
    """Tell what happened, in the order of time; what has no time of its own stands with what it belongs to."""
    moments = [moment for attempt in evidence.attempts for moment in _of_attempt(attempt)]
    moments += [_of_event(recorded, evidence) for recorded in evidence.events]
    moments.sort(key=lambda moment: moment.at or 0.0)
    after: dict[str, list[Moment]] = {}
    for effect in evidence.effects or ():
        after.setdefault(effect.event_id, []).append(_of_effect(effect))
    return tuple(
        one for moment in moments for one in (moment, *after.get(moment.facts.get("event_id", ""), ()))
    )


def _of_attempt(attempt: Attempt) -> Iterator[Moment]:
    money = attempt.order.money
    yield Moment(
        at=attempt.started_at,
        step=Step.ATTEMPT,
        text=f"{attempt.caller_id} asked for {money}; written down before Stripe heard of it",
        facts={
            "attempt_key": attempt.key,
            "caller": attempt.caller_id,
            "amount_minor": money.amount_minor,
            "currency": money.currency,
        },
    )
    if attempt.tries > 1:
        yield Moment(
            at=attempt.tried_at,
            step=Step.TRY,
            text=f"try {attempt.tries}, the latest, under the same key",
            facts={"attempt_key": attempt.key, "tries": attempt.tries},
        )
    yield Moment(
        at=attempt.tried_at,
        step=Step.OUTCOME,
        text=f"the ledger says: {in_words(attempt)}",
        facts={
            "attempt_key": attempt.key,
            "state": attempt.state.value,
            "charge_id": attempt.outcome.charge_id,
            "payment_intent_id": attempt.outcome.payment_intent_id,
            **_why(attempt),
        },
    )


def in_words(attempt: Attempt) -> str:
    """Say where an attempt stands."""
    money, charge_id, why = attempt.order.money, attempt.outcome.charge_id, _why(attempt)
    reason = " / ".join(str(one) for one in why.values())
    match attempt.state:
        case AttemptState.SUCCEEDED:
            return f"charged {money} as {charge_id}"
        case AttemptState.REQUIRES_ACTION:
            return f"{money} waits for the cardholder's confirmation (3-D Secure)"
        case AttemptState.PROCESSING:
            return f"{money} is being processed by Stripe"
        case AttemptState.DECLINED:
            return f"declined ({reason})"
        case AttemptState.REFUSED:
            return f"refused by Stripe as a request ({reason})"
        case AttemptState.NOT_CHARGED:
            return "not charged: Stripe holds no payment for it"
        case AttemptState.NOT_SENT:
            return f"not sent: nothing moved, and the caller may try again ({reason})"
        case AttemptState.UNKNOWN if awaits_approval(attempt):
            return (
                f"{money} waits for a person's approval: look at Settings > Approvals in Stripe's dashboard"
            )
        case AttemptState.UNKNOWN | AttemptState.STARTED:
            return "nobody knows yet whether it was charged; it is being looked into"


def _why(attempt: Attempt) -> dict[str, str]:
    if attempt.state in (AttemptState.SUCCEEDED, AttemptState.REQUIRES_ACTION, AttemptState.PROCESSING):
        return {}
    try:
        failure = msgspec.json.decode(as_told(attempt.outcome).body, type=Failure)
    except msgspec.MsgspecError:
        return {}
    named = {"code": failure.code, "reason": failure.reason, "decline_code": failure.decline_code}
    return {name: value for name, value in named.items() if value is not None}


def _of_event(recorded: RecordedEvent, evidence: Evidence) -> Moment:
    event, published = recorded.event, evidence.published(recorded)
    lag = max(0.0, event.received_at - event.created)
    try:
        told = msgspec.json.decode(projection(event))
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError):
        told = None  # no event as Stripe documents it, or one that was erased: nothing to show
    return Moment(
        at=event.received_at,
        step=Step.EVENT,
        text=f"{event.type} came",
        facts={
            "event_id": event.id,
            "type": event.type,
            "position": recorded.position,
            "transaction_id": event.transaction_id,
            "created": event.created,
            "received_at": event.received_at,
            "lag_seconds": round(lag, 3),
            "published": published,
            "told": told,
        },
    )


def _of_effect(effect: Effect) -> Moment:
    words = {
        EffectState.DUE: f"waits to be run (failed {effect.tries} times)"
        if effect.tries
        else "waits to be run",
        EffectState.DONE: "done",
        EffectState.DEAD: f"gave up after {effect.tries} failures",
        EffectState.SKIPPED: "skipped by hand",
    }[effect.state]
    return Moment(
        at=None,
        step=Step.EFFECT,
        text=f"effect {effect.handler!r}: {words}",
        facts={
            "event_id": effect.event_id,
            "handler": effect.handler,
            "state": effect.state.value,
            "tries": effect.tries,
            "error": effect.error,
        },
    )


def verdict(evidence: Evidence) -> tuple[str, ...]:
    """Sum up in a few sentences, what matters most first, and what to do where something is to be done."""
    return tuple(_verdict(evidence))


def _verdict(evidence: Evidence) -> Iterator[str]:
    types = {one.event.type for one in evidence.events}
    for attempt in evidence.attempts:
        words = in_words(attempt)
        yield f"{words[0].upper()}{words[1:]}."
        if attempt.state is AttemptState.SUCCEEDED and "charge.succeeded" not in types and not evidence.reset:
            yield "Stripe's webhook about it has not come (yet): `tillport reconcile` fetches what was missed."
        if attempt.state is not AttemptState.SUCCEEDED and "charge.succeeded" in types:
            yield "Stripe has told since that a charge succeeded."
    if not evidence.attempts and not evidence.empty:
        yield "The ledger knows nothing of it: it was not charged through this till."
    yield from _what_followed(types)
    waiting = [one for one in evidence.events if not evidence.published(one)]
    if waiting:
        yield f"{len(waiting)} of {len(evidence.events)} events wait to be published: is a service running?"
    elif evidence.events:
        yield f"All {len(evidence.events)} events were published."
    dead = [one for one in evidence.effects or () if one.state is EffectState.DEAD]
    if dead:
        yield f"{len(dead)} effects gave up: `tillport effects` shows and retries them."
    if evidence.reset:
        yield "The log does not reach back to its beginning: older events may be gone by age."


def _what_followed(types: set[str]) -> Iterator[str]:
    if "charge.dispute.created" in types:
        closed = "charge.dispute.closed" in types
        yield f"It was disputed{', and the dispute is closed' if closed else ''}."
    if "charge.refunded" in types:
        yield "It was refunded, in part or in full."
    if "payment_intent.canceled" in types:
        yield "It was cancelled."
