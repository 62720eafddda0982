"""`tillport events`: read the log beside a service, or without one."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from tillport.adapters.cli.terminal import complain, paint, say
from tillport.adapters.compose import Secret, SettingsRefused, Stores, open_stores, read_settings, sqlite_path
from tillport.domain.notify import follow
from tillport.domain.selector import parse_selector
from tillport.ports.clock import Clock
from tillport.ports.event_log import Event, RecordedEvent
from tillport.ports.selector import Selector

_PAGE = 500


def list_events(
    *, select: str | None, after: int, limit: int, as_json: bool, database: str | None, config: Path | None
) -> int:
    """Print up to `limit` events after a position."""
    where = _selector(select)

    async def work(stores: Stores, _clock: Clock) -> int:
        position, left = after, limit
        while left > 0:
            page = await stores.log.read(after=position, where=where, limit=min(left, _PAGE))
            if page.reset:
                complain("Older events are gone: the log is kept for a limited time.")
            for recorded in page.events:
                say(_line(recorded, as_json=as_json))
            left -= len(page.events)
            if len(page.events) < min(_PAGE, left + len(page.events)):
                break
            position = page.position
        return 0

    return _with_stores(work, database, config)


def show_event(event_id: str, *, raw: bool, database: str | None, config: Path | None) -> int:
    """Print one event, or say that it is not there."""

    async def work(stores: Stores, _clock: Clock) -> int:
        found = await stores.log.find(event_id)
        if found is None:
            complain(f"There is no event {event_id!r} in the log.")
            return 1
        if raw:
            say(found.event.body.decode())
            return 0
        for name, value in _columns(found).items():
            say(f"{paint(f'{name:15}', 'dim')} {value}")
        say()
        say(json.dumps(json.loads(found.event.body), indent=2, ensure_ascii=False))
        return 0

    return _with_stores(work, database, config)


def tail_events(
    *, select: str | None, after: int | None, as_json: bool, database: str | None, config: Path | None
) -> int:
    """Print events as they are recorded, until interrupted."""
    where = _selector(select)

    async def work(stores: Stores, clock: Clock) -> int:
        start = await stores.log.head() if after is None else after
        async for heard in follow(
            stores.log, stores.doorbell, clock, where=where, after=start, look_seconds=0.25
        ):
            if isinstance(heard, RecordedEvent):
                say(_line(heard, as_json=as_json))
        return 0

    return _with_stores(work, database, config)


def _with_stores(
    work: Callable[[Stores, Clock], Awaitable[int]], database: str | None, config: Path | None
) -> int:
    url = existing_database(database, config)

    async def opened() -> int:
        from tillport.adapters.compose import system_clock

        clock = system_clock()
        async with open_stores(url, clock) as stores:
            return await work(stores, clock)

    return asyncio.run(opened())


def existing_database(database: str | None, config: Path | None) -> Secret:
    """Return the URL of a database that is read: reading must not make an empty file where there is none."""
    url = Secret(database) if database else read_settings(file=config).database_url
    if url.startswith("sqlite:") and not (path := sqlite_path(url.reveal())).exists():
        raise SettingsRefused(
            f"There is no database file {path}.",
            remedy="Name it with --database sqlite:///file, or with TILLPORT_DATABASE_URL.",
        )
    return url


def _selector(text: str | None) -> Selector | None:
    return None if text is None else parse_selector(text)


def _line(recorded: RecordedEvent, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(_columns(recorded))
    event = recorded.event
    return f"{recorded.position:>6}  {_time(event.received_at)}  {event.type:32}  {event.transaction_id:30}  {event.id}"


def _columns(recorded: RecordedEvent) -> dict[str, object]:
    event: Event = recorded.event
    return {
        "position": recorded.position,
        "event_id": event.id,
        "id": event.transaction_id,
        "type": event.type,
        "payment_key": event.payment_key,
        "aliases": " ".join(event.aliases),
        "created": _time(event.created),
        "received_at": _time(event.received_at),
        "livemode": event.livemode,
        "api_version": event.api_version,
        "account": event.account,
        "request_key": event.request_key,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
