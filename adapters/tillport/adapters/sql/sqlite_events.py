"""The event log's statements on SQLite, for whoever holds a connection: our writer, or a host."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from tillport.adapters.sql.rows import EVENT_COLUMNS, event_row, more_aliases
from tillport.adapters.sql.sqlite_writes import Batch, Execute, parts, record_aliases
from tillport.adapters.sql.statements import HORIZON
from tillport.ports.event_log import Event, refuse_unrecordable

HEAD: Final = f'SELECT max(coalesce((SELECT max(seq) FROM "StripeEvents"), 0), {HORIZON})'  # noqa: S608 - constants
ENDS: Final = f"{HEAD}, {HORIZON}"
"""The log's head and its horizon, in one step."""


@lru_cache(maxsize=128)
def _insert(rows: int, *, returning: bool) -> str:
    columns = ", ".join(EVENT_COLUMNS)
    row = f"({', '.join('?' * len(EVENT_COLUMNS))})"
    return (
        f'INSERT INTO "StripeEvents" ({columns}) SELECT * FROM (VALUES {", ".join([row] * rows)}) '  # noqa: S608 - constants
        "WHERE NOT EXISTS (SELECT 1 FROM tillport_tombstones WHERE event_id = column1) "
        # The next line alone would do, but leave a gap in the numbers for each repetition.
        'AND NOT EXISTS (SELECT 1 FROM "StripeEvents" AS known WHERE known.event_id = column1) '
        "ON CONFLICT (event_id) DO NOTHING" + (" RETURNING event_id" if returning else "")
    )


def batch_of(events: Sequence[Event]) -> Batch:
    """Make events ready to be recorded together. Of several with one id the first counts."""
    unique = _first_of_each_id(events)
    inserts = [(_insert(len(part), returning=False), _flat(part)) for part in parts(list(unique.values()))]
    return Batch(tuple(unique), tuple(inserts), tuple(_aliases_of(unique)))


def record_through(execute: Execute, events: Sequence[Event]) -> list[bool]:
    """Record on a host's connection, inside whatever transaction it has. Neither commits nor rolls back.

    Raises `EventRefused` before anything is written.
    """
    for event in events:
        refuse_unrecordable(event)
    unique = _first_of_each_id(events)
    new: set[str] = set()
    for part in parts(list(unique.values())):
        result = execute(_insert(len(part), returning=True), _flat(part))
        new.update(row[0] for row in result.fetchall())
    record_aliases(execute, _aliases_of(unique), new)
    return first_of_each(events, new)


def _first_of_each_id(events: Sequence[Event]) -> dict[str, Event]:
    unique = {event.id: event for event in events}
    if len(unique) < len(events):
        for event in reversed(events):  # the order is that of the first ones already
            unique[event.id] = event
    return unique


def _aliases_of(events: dict[str, Event]) -> list[tuple[str, str]]:
    return [(alias, event.id) for event in events.values() for alias in more_aliases(event)]


def _flat(part: Sequence[Event]) -> tuple[Any, ...]:
    return tuple(chain.from_iterable(map(event_row, part)))


def first_of_each(events: Sequence[Event], new: set[str]) -> list[bool]:
    """Say of each event whether it is new: the first of its id, if that id is among the new ones."""
    result: list[bool] = []
    for event in events:
        result.append(event.id in new)
        new.discard(event.id)
    return result
