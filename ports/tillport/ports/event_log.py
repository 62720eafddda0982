"""The event log: the record of everything that Stripe told us, in an order that every reader agrees on."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Protocol

import attrs
import msgspec

from tillport.ports.body import CarriesBody
from tillport.ports.client_secret import without_client_secret
from tillport.ports.errors import TillportError
from tillport.ports.selector import Selector


class LogUnavailable(TillportError):
    """The log can't be read or written now. Nothing of the call is to be taken as recorded."""

    code = "log_unavailable"


class LogOverloaded(LogUnavailable):
    """More events wait to be recorded than the log accepts. Nothing was recorded; come back later."""

    code = "log_overloaded"

    def __init__(self, message: str, *, retry_after_seconds: int, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class EventContended(LogUnavailable):
    """Somebody else's open transaction holds one of these events, and nobody knows yet whether it will commit.

    Nothing of the call was recorded. Others are not affected, and the same call works once that transaction is over.
    """

    code = "event_contended"


class EventRefused(TillportError):
    """The store can't hold this very event, however often it is tried. Others are not affected."""

    code = "event_refused"


class Event(CarriesBody, frozen=True, kw_only=True, dict=True):
    """A verified Stripe event, as it is recorded: the raw body beside what is searched and ordered by.

    `transaction_id` is the seed's `id` column: the charge once one is known, else the object's own id.
    `payment_key` orders the events of one payment. `aliases` are all ids by which `id = '…'` finds it, the
    transaction id among them. `created` is Stripe's time, `received_at` ours, both Unix seconds.
    """

    id: str
    type: str
    transaction_id: str
    payment_key: str
    aliases: tuple[str, ...]
    created: int
    received_at: float
    livemode: bool
    body: bytes
    """UTF-8 JSON text, byte for byte as it was signed."""
    api_version: str | None = None
    account: str | None = None
    request_key: str | None = None
    """The idempotency key of the API request that caused the event: ours, if we caused it."""

    @property
    def body_without_secret(self) -> bytes:
        """What may be told of the body: all of it, but for every `client_secret`.

        Looked through once, however many are told: the relay and each subscriber of a process have the same event.
        """
        known = self.__dict__
        told: bytes | None = known.get("told")
        if told is None:
            told = known["told"] = without_client_secret(self.body)
        return told

    def fields(self) -> Mapping[str, str | float | None]:
        """Return what a selector may speak about, apart from `id` (see `tillport.ports.selector`)."""
        return {
            "event_id": self.id,
            "type": self.type,
            "payment_key": self.payment_key,
            "account": self.account,
            "request_key": self.request_key,
            "created": self.created,
            "received_at": self.received_at,
        }


_FIRST_TIME, _LAST_TIME = -(2**63), 2**63 - 1


def _is_recordable(event: Event) -> bool:
    names = (
        f"{event.id}{event.type}{event.transaction_id}{event.payment_key}{''.join(event.aliases)}"
        f"{event.api_version}{event.account}{event.request_key}"
    )
    return (
        bool(event.id)
        and b"\0" not in event.body
        and "\0" not in names
        and _FIRST_TIME <= event.created <= _LAST_TIME
        and isfinite(event.received_at)
        and _is_unicode(names, event.body)
    )


def _is_unicode(names: str, body: bytes) -> bool:
    if names.isascii() and body.isascii():
        return True  # almost every event, and several times as fast
    try:
        names.encode()
        body.decode()
    except UnicodeError:
        return False
    return True


def refuse_unrecordable(event: Event) -> None:
    """Raise `EventRefused` for an event that not every store can hold.

    Every event log refuses the same ones, so that nothing changes when one store takes another's place: a body
    that is no UTF-8 text, NUL characters and lone surrogates (PostgreSQL has no place for them), times beyond 64
    bits, a received time that is no number, and an empty id.
    """
    known = event.__dict__
    if "recordable" in known:
        return  # looked at before: by a group commit for its batch's sake, say
    if not _is_recordable(event):
        raise EventRefused(
            "The event holds something that a database can't keep.",
            remedy="Events are UTF-8 JSON with an id, without NUL characters, with times in 64 bits.",
        )
    known["recordable"] = True


class RecordedEvent(msgspec.Struct, frozen=True):
    """An event and its place in the log. Positions start at 1 and grow; they may have gaps."""

    position: int
    event: Event


@attrs.frozen(kw_only=True)
class Page:
    """A stretch of the log.

    `position` is where to read on: every selected event up to it is in this page or was in an earlier one.
    `reset` says that events after the position asked for are gone (retention): the reader must not believe that
    it has seen everything.
    """

    events: tuple[RecordedEvent, ...]
    position: int
    reset: bool = False

    @property
    def begins_after(self) -> int:
        """The position after which a page with `reset` begins: who goes on from there misses nothing more."""
        return self.events[0].position - 1 if self.events else self.position


class EventLog(Protocol):
    """Record events once, and read them in one order.

    Raises `LogUnavailable` from every method.
    """

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        """Record the events durably and say of each, in the same order, whether it is new.

        All or nothing, and committed when it returns. An event whose `id` was recorded before (by anyone, at any
        time, retention included) or stands earlier in the same call is not new and changes nothing: the first
        body stays. Raises `EventRefused` if one of them can never be recorded, and a log whose transactions wait for
        one another raises `EventContended` if one of them is held by another for long; then none of them is.
        """
        ...

    async def read(self, *, after: int, where: Selector | None = None, limit: int = 100) -> Page:
        """Return up to `limit` selected events with a position greater than `after`, in log order.

        Once a page's `position` has been handed out, no event ever appears at or before it: a reader that goes on
        from there misses nothing, however many writers are at work. An event becomes visible here a moment after
        `record` returned at the latest.
        """
        ...

    async def find(self, event_id: str) -> RecordedEvent | None:
        """Return the event with that id once it is visible to `read`."""
        ...

    async def head(self) -> int:
        """Return the position of the newest visible event, 0 in an empty log."""
        ...
