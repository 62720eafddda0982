"""What is written to a SQLite file, as functions with plain values: a process of its own can be handed both.

Therefore nothing here imports more than that process needs.
"""

import sqlite3
from collections.abc import Callable, Container, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

Row = TypeVar("Row")

Statement: TypeAlias = tuple[str, tuple[Any, ...]]
"""SQL text, and its values by position."""

Execute: TypeAlias = Callable[[str, tuple[Any, ...]], Any]
"""Run one statement and return something with `rowcount` and `fetchall`: a cursor, or a SQLAlchemy result."""

ROWS_PER_STATEMENT: Final = 512
"""Larger batches are cut. With 13 values a row this stays far below SQLite's limit of 32,766 values
(https://www.sqlite.org/limits.html, since 3.32; RETURNING needs 3.35)."""


def run(connection: sqlite3.Connection, *, statements: Sequence[Statement]) -> list[list[Any]]:
    """Run statements, each to its end, and return the rows of each."""
    return [connection.execute(text, values).fetchall() for text, values in statements]


class Batch(NamedTuple):
    """Events that are recorded together."""

    ids: tuple[str, ...]
    """Each once, in their order."""
    inserts: tuple[Statement, ...]
    aliases: tuple[tuple[str, str], ...]
    """What their rows have no column for, each with the id of its event."""

    @property
    def writes_once(self) -> bool:
        """Whether `record_exclusively` records it with a single statement that writes."""
        return len(self.inserts) == 1 and not self.aliases


def record_exclusively(connection: sqlite3.Connection, *, batch: Batch) -> dict[str, int]:
    """Record inside a transaction that began IMMEDIATE, in as few steps as can be (see `sqlite_store`).

    Without one where a single statement does it (`writes_once`). Return the number of each new event.
    """
    inserted = last = 0
    for text, values in batch.inserts:
        done = connection.execute(text, values)
        inserted += done.rowcount
        last = done.lastrowid or 0
    # One writes at a time and `seq` only grows, without gaps: up to the last of this call, the newest are its own.
    if inserted == len(batch.ids):
        new = dict(zip(batch.ids, range(last - inserted + 1, last + 1), strict=True))
    else:
        newest = 'SELECT event_id, seq FROM "StripeEvents" WHERE seq <= ? ORDER BY seq DESC LIMIT ?'
        new = dict(connection.execute(newest, (last, inserted)).fetchall())
    record_aliases(connection.execute, batch.aliases, new)
    return new


def record_aliases(execute: Execute, aliases: Sequence[tuple[str, str]], new: Container[str]) -> None:
    """Record the aliases of events that are new, in the transaction that recorded those."""
    for part in parts([pair for pair in aliases if pair[1] in new]):
        execute(_insert_aliases(len(part)), tuple(value for pair in part for value in pair))


def parts(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """Cut rows into what one statement takes."""
    return [rows[start : start + ROWS_PER_STATEMENT] for start in range(0, len(rows), ROWS_PER_STATEMENT)]


@lru_cache(maxsize=32)
def _insert_aliases(rows: int) -> str:
    return (
        "INSERT INTO tillport_aliases (alias, seq) SELECT column1, seq "  # noqa: S608 - constants
        f'FROM (VALUES {", ".join(["(?, ?)"] * rows)}) JOIN "StripeEvents" ON event_id = column2'
    )
