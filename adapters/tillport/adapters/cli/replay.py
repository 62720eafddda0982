"""`tillport events replay` and `export`: hand out again what the log holds."""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from tillport.adapters.cli.events import GONE, Wanted, columns, with_stores
from tillport.adapters.cli.looking import with_effects
from tillport.adapters.cli.terminal import complain, hand_over, say
from tillport.adapters.compose import Secret, SettingsRefused, Stores, read_settings
from tillport.adapters.compose.courier import open_courier
from tillport.domain.replay import reenlist_once, replay_once
from tillport.ports.clock import Clock
from tillport.ports.effects import EffectQueue
from tillport.ports.event_log import RecordedEvent

_PAGE = 500


def replay_events(
    *,
    wanted: Wanted,
    after: int | None,
    up_to: int | None,
    messaging: str | None,
    handler: str | None,
    in_order: bool,
    effects_database: str | None,
    database: str | None,
    config: Path | None,
) -> int:
    """Publish a stretch of the log again, or enlist it for a handler; 1 if the courier will never take some of it."""
    if wanted.everything and after is None and up_to is None:
        raise SettingsRefused(
            "That would publish the whole log again.",
            remedy="Say what: --after, --up-to, --payment, --type, --since, --until or --select; --after 0 is everything.",
        )
    if handler is not None:
        return _to_handler(
            handler,
            in_order=in_order,
            wanted=wanted,
            after=after or 0,
            up_to=up_to,
            effects_database=effects_database,
            database=database,
            config=config,
        )
    url = Secret(messaging) if messaging is not None else read_settings(file=config).messaging_url

    async def work(stores: Stores, clock: Clock) -> int:
        where = await wanted.selector(stores.log, now=clock.now())
        head = await stores.log.head()
        position, last = after or 0, head if up_to is None else min(up_to, head)
        published, refused = 0, 0
        async with open_courier(url) as channel:
            while position < last:
                done = await replay_once(stores.log, channel, after=position, up_to=last, where=where)
                if done.reset:
                    complain(GONE)
                position = done.position
                published += done.published
                refused += len(done.refused)
                for event_id in done.refused:
                    complain(f"The courier will never take {event_id}.")
                if not done.more:
                    break
        say(f"Published {published} events again, up to position {last}.")
        return 1 if refused else 0

    return with_stores(work, database, config)


def _to_handler(
    handler: str,
    *,
    in_order: bool,
    wanted: Wanted,
    after: int,
    up_to: int | None,
    effects_database: str | None,
    database: str | None,
    config: Path | None,
) -> int:
    async def work(stores: Stores, effects: EffectQueue[Any] | None, clock: Clock) -> int:
        if effects is None:
            raise SettingsRefused(
                "There are no effects in this database.", remedy="Name theirs with --effects-database."
            )
        where = await wanted.selector(stores.log, now=clock.now())
        last = await stores.log.head() if up_to is None else up_to
        position, offered, more = after, 0, True
        while more:
            done = await reenlist_once(
                stores.log,
                effects,
                handler=handler,
                in_order=in_order,
                after=position,
                up_to=last,
                where=where,
            )
            if done.reset:
                complain(GONE)
            position, more = done.position, done.more
            offered += done.offered
        say(f"Offered {offered} events to {handler!r}; it takes those that it never had.")
        return 0

    return with_effects(work, database=database, effects_database=effects_database, config=config)


def export_events(
    *, wanted: Wanted, after: int, up_to: int | None, database: str | None, config: Path | None
) -> int:
    """Write events with their bodies, a JSON object a line."""

    async def work(stores: Stores, clock: Clock) -> int:
        where = await wanted.selector(stores.log, now=clock.now())
        position, count = after, 0
        last = await stores.log.head() if up_to is None else up_to
        while position < last:
            page = await stores.log.read(after=position, where=where, limit=_PAGE)
            if page.reset:
                complain(GONE)
            found = [recorded for recorded in page.events if recorded.position <= last]
            hand_over("".join(f"{exported(recorded)}\n" for recorded in found).encode())
            count += len(found)
            position = page.position
            if len(page.events) < _PAGE:
                break
        sys.stderr.write(f"{count} events, up to position {last}\n")
        return 0

    return with_stores(work, database, config)


def exported(recorded: RecordedEvent) -> str:
    """Return an event as one line of JSON: its columns and its body, in which no number is written anew."""
    event = recorded.event
    row = {**columns(recorded), "aliases": list(event.aliases), "created": event.created}
    row["received_at"] = event.received_at
    body = msgspec.json.format(event.body_without_secret, indent=-1).decode()
    return f'{json.dumps(row)[:-1]}, "body": {body}}}'
