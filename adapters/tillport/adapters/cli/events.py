"""`tillport events`: read the log beside a service, or without one."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import msgspec

from tillport.adapters.cli.interruptible import run_interruptible
from tillport.adapters.cli.moments import moment, stamp
from tillport.adapters.cli.terminal import complain, hand_over, paint, say
from tillport.adapters.compose import Secret, Stores, open_stores, read_settings
from tillport.adapters.compose.looking import check_log
from tillport.domain.notify import Reset, follow
from tillport.domain.selector import parse_selector
from tillport.ports.clock import Clock
from tillport.ports.event_log import Event, EventLog, RecordedEvent
from tillport.ports.selector import AllOf, Compare, Selector

GONE = "Older events are gone: the log is kept for a limited time."
_PAGE = 500


@attrs.frozen(kw_only=True)
class Wanted:
    """Which events a command is about, as its words say; what is None narrows nothing.

    `payment` is any id of a payment, `since` and `until` are as `moment` reads them and speak of when we received.
    """

    select: str | None = None
    type: str | None = None
    payment: str | None = None
    since: str | None = None
    until: str | None = None

    @property
    def everything(self) -> bool:
        return self == Wanted()

    async def selector(self, log: EventLog, *, now: float) -> Selector | None:
        """Return the selector that all of it amounts to. Raises `InvalidSelector` and `SettingsRefused`.

        Looks into the log for the payment: `payment_intent.created` does not name the charge that comes of it, but has
        the payment key of those that do.
        """
        parts: list[Selector] = []
        if self.select is not None:
            parts.append(parse_selector(self.select))
        if self.payment is not None:
            named = Compare("id", "=", self.payment)
            keys = {one.event.payment_key for one in (await log.read(after=0, where=named)).events}
            parts.append(Compare("payment_key", "=", keys.pop()) if len(keys) == 1 else named)
        if self.type is not None:
            parts.append(Compare("type", "=", self.type))
        if self.since is not None:
            parts.append(Compare("received_at", ">=", moment(self.since, now=now)))
        if self.until is not None:
            parts.append(Compare("received_at", "<", moment(self.until, now=now)))
        return AllOf(tuple(parts)) if parts else None


def list_events(
    *, wanted: Wanted, after: int, limit: int, as_json: bool, database: str | None, config: Path | None
) -> int:
    """Print up to `limit` events after a position."""

    async def work(stores: Stores, clock: Clock) -> int:
        where = await wanted.selector(stores.log, now=clock.now())
        position, left = after, limit
        while left > 0:
            page = await stores.log.read(after=position, where=where, limit=min(left, _PAGE))
            if page.reset:
                complain(GONE)
            for recorded in page.events:
                say(_line(recorded, as_json=as_json))
            left -= len(page.events)
            if len(page.events) < min(_PAGE, left + len(page.events)):
                break
            position = page.position
        return 0

    return with_stores(work, database, config)


def show_event(event_id: str, *, raw: bool, database: str | None, config: Path | None) -> int:
    """Print one event, or say that it is not there."""

    async def work(stores: Stores, _clock: Clock) -> int:
        found = await stores.log.find(event_id)
        if found is None:
            complain(f"There is no event {event_id!r} in the log.")
            return 1
        if raw:
            hand_over(found.event.body + b"\n")
            return 0
        for name, value in columns(found).items():
            say(f"{paint(f'{name:15}', 'dim')} {value}")
        say()
        say(msgspec.json.format(found.event.body_without_secret, indent=2).decode())
        return 0

    return with_stores(work, database, config)


def tail_events(
    *, wanted: Wanted, after: int | None, as_json: bool, database: str | None, config: Path | None
) -> int:
    """Print events as they are recorded, until interrupted."""

    async def work(stores: Stores, clock: Clock) -> int:
        where = await wanted.selector(stores.log, now=clock.now())
        head = await stores.log.head()
        if after is not None and after > head:
            complain(f"The log ends at position {head}: what comes next is shown once it is past {after}.")
        start = head if after is None else after
        async for heard in follow(
            stores.log, stores.doorbell, clock, where=where, after=start, look_seconds=0.25
        ):
            if isinstance(heard, RecordedEvent):
                say(_line(heard, as_json=as_json))
            elif isinstance(heard, Reset):
                complain(GONE)
        return 0

    return with_stores(work, database, config)


def with_stores(
    work: Callable[[Stores, Clock], Awaitable[int]], database: str | None, config: Path | None
) -> int:
    url = existing_database(database, config)

    async def opened() -> int:
        from tillport.adapters.compose import system_clock

        clock = system_clock()
        async with open_stores(url, clock, all_placed=True) as stores:
            return await work(stores, clock)

    return run_interruptible(opened())


def existing_database(
    database: str | None, config: Path | None, *, check: Callable[[Secret], None] = check_log
) -> Secret:
    """Return the URL of a database that is read: reading must not make one, nor tables in somebody else's file.

    A `database` that is empty names none, as an unset variable of a shell's would: nobody meant the settings' own by that.
    `check` raises `SettingsRefused` for what is not there.
    """
    url = Secret(database) if database is not None else read_settings(file=config).database_url
    check(url)
    return url


def _line(recorded: RecordedEvent, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(columns(recorded))
    event = recorded.event
    return f"{recorded.position:>6}  {stamp(event.received_at)}  {event.type:32}  {event.transaction_id:30}  {event.id}"


def columns(recorded: RecordedEvent) -> dict[str, object]:
    event: Event = recorded.event
    return {
        "position": recorded.position,
        "event_id": event.id,
        "id": event.transaction_id,
        "type": event.type,
        "payment_key": event.payment_key,
        "aliases": " ".join(event.aliases),
        "created": stamp(event.created),
        "received_at": stamp(event.received_at),
        "livemode": event.livemode,
        "api_version": event.api_version,
        "account": event.account,
        "request_key": event.request_key,
    }
