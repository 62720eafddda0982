"""The event log's statements on SQLite, for whoever holds a connection: our writer thread, or a host."""

import sqlite3
from collections.abc import Callable, Container, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final, TypeVar

import attrs

from tillport.adapters.sql.rows import EVENT_COLUMNS, event_row, more_aliases
from tillport.adapters.sql.statements import HORIZON
from tillport.ports.event_log import Event, refuse_unrecordable

Execute = Callable[[str, tuple[Any, ...]], Any]
"""Run one statement and return something with `rowcount` and `fetchall`: a cursor, or a SQLAlchemy result."""

Row = TypeVar("Row")

_ROWS_PER_STATEMENT: Final = 512
"""Larger batches are cut. With 13 values a row this stays far below SQLite's limit of 32,766 values
(https://www.sqlite.org/limits.html, since 3.32; RETURNING needs 3.35)."""

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


@lru_cache(maxsize=32)
def _insert_aliases(rows: int) -> str:
    return (
        "INSERT INTO tillport_aliases (alias, seq) SELECT column1, seq "  # noqa: S608 - constants
        f'FROM (VALUES {", ".join(["(?, ?)"] * rows)}) JOIN "StripeEvents" ON event_id = column2'
    )


@attrs.frozen
class Batch:
    """Events that are recorded together, made ready: each id once, in order, and what its row has no column for."""

    unique: dict[str, Event]
    aliases: list[tuple[str, str]]
    """Each with the id of its event."""

    @classmethod
    def of(cls, events: Sequence[Event]) -> "Batch":
        """Make events ready. Of several with one id the first counts."""
        unique = {event.id: event for event in events}
        if len(unique) < len(events):
            for event in reversed(events):  # the order is that of the first ones already
                unique[event.id] = event
        return cls(unique, [(alias, event.id) for event in unique.values() for alias in more_aliases(event)])

    @property
    def writes_once(self) -> bool:
        """Whether `record_exclusively` records it with a single statement that writes."""
        return len(self.unique) <= _ROWS_PER_STATEMENT and not self.aliases

    def parts(self) -> list[list[Event]]:
        """Cut the events into what one statement takes."""
        return _parts(list(self.unique.values()))


def record_exclusively(connection: sqlite3.Connection, batch: Batch) -> dict[str, int]:
    """Record inside a transaction that began IMMEDIATE, in as few steps as can be (see `sqlite_store`).

    Without one where a single statement does it (`writes_once`). Return the number of each new event.
    """
    inserted = last = 0
    for part in batch.parts():
        done = connection.execute(_insert(len(part), returning=False), _flat(part))
        inserted += done.rowcount
        last = done.lastrowid or 0
    # One writes at a time and `seq` only grows, without gaps: up to the last of this call, the newest are its own.
    if inserted == len(batch.unique):
        new = dict(zip(batch.unique, range(last - inserted + 1, last + 1), strict=True))
    else:
        newest = 'SELECT event_id, seq FROM "StripeEvents" WHERE seq <= ? ORDER BY seq DESC LIMIT ?'
        new = dict(connection.execute(newest, (last, inserted)).fetchall())
    _record_aliases(connection.execute, batch, new)
    return new


def record_through(execute: Execute, events: Sequence[Event]) -> list[bool]:
    """Record on a host's connection, inside whatever transaction it has. Neither commits nor rolls back.

    Raises `EventRefused` before anything is written.
    """
    for event in events:
        refuse_unrecordable(event)
    batch = Batch.of(events)
    new: set[str] = set()
    for part in batch.parts():
        result = execute(_insert(len(part), returning=True), _flat(part))
        new.update(row[0] for row in result.fetchall())
    _record_aliases(execute, batch, new)
    return first_of_each(events, new)


def _record_aliases(execute: Execute, batch: Batch, new: Container[str]) -> None:
    for part in _parts([pair for pair in batch.aliases if pair[1] in new]):
        execute(_insert_aliases(len(part)), tuple(value for pair in part for value in pair))


def _parts(rows: list[Row]) -> list[list[Row]]:
    return [rows[start : start + _ROWS_PER_STATEMENT] for start in range(0, len(rows), _ROWS_PER_STATEMENT)]


def _flat(part: list[Event]) -> tuple[Any, ...]:
    return tuple(chain.from_iterable(map(event_row, part)))


def first_of_each(events: Sequence[Event], new: set[str]) -> list[bool]:
    """Say of each event whether it is new: the first of its id, if that id is among the new ones."""
    result: list[bool] = []
    for event in events:
        result.append(event.id in new)
        new.discard(event.id)
    return result
