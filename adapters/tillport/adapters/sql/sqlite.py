"""The event log, the ledger and the cursors in one SQLite file.

    store = SqliteStore("till.sqlite3")
    log, ledger, cursors = SqliteEventLog(store), SqliteLedger(store), SqliteCursors(store)
    …
    await store.aclose()

The file is created with its tables at first use. Several processes may have it open; each write of one waits for
the other's commit. Errors of the file (locked, full, unreadable) become `LogUnavailable` and `LedgerUnavailable`.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import attrs
import msgspec

from tillport.adapters.sql.own_events import OwnEvents
from tillport.adapters.sql.rows import attempt_of, attempt_row, outcome_row, page_of, recorded_event
from tillport.adapters.sql.schema import events as events_table
from tillport.adapters.sql.selection import (
    by_time_alone,
    find_statement,
    read_statement,
    shape_of,
    span_statement,
    values_of,
)
from tillport.adapters.sql.sqlite_events import ENDS, HEAD, batch_of, first_of_each
from tillport.adapters.sql.sqlite_file import StoreUnavailable
from tillport.adapters.sql.sqlite_retention import STRETCH, forget_stretch
from tillport.adapters.sql.sqlite_store import SQLITE, SqliteStore
from tillport.adapters.sql.sqlite_writes import Statement, record_exclusively, run
from tillport.adapters.sql.statements import Compiled, cursor_statements, ledger_statements
from tillport.ports.cursors import LeaseLost
from tillport.ports.errors import TillportError
from tillport.ports.event_log import (
    Event,
    EventRefused,
    LogUnavailable,
    Page,
    RecordedEvent,
    refuse_unrecordable,
)
from tillport.ports.ledger import Attempt, LedgerUnavailable, Opened, Outcome
from tillport.ports.selector import Selector

T = TypeVar("T")

_NEAR: Final = 2000
"""So far the log itself is read for events of a time: a few milliseconds, and in a stretch of them the page is full."""

_POSITION = events_table.c.seq  # one writer at a time: the order of insertion is the order of the log


@contextmanager
def _told_as(error_type: type[TillportError], what: str) -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise error_type(
            f"{what} can't be reached now. {error}",
            remedy="Look at the database file: is it there, unlocked, on a disk with room, and may this user write to it and "
            "to its folder (who only reads has to, as well)? Then try again.",
        ) from error


@attrs.frozen
class SqliteEventLog:
    """The event log, and its housekeeping, in a SQLite file.

    With `own`, for one event loop's use, readers get what this process recorded itself without asking the file.
    """

    _store: SqliteStore
    _own: OwnEvents | None = attrs.field(default=None, kw_only=True, alias="own")

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        """See `EventLog.record`."""
        for event in events:
            refuse_unrecordable(event)
        if not events:
            return []
        batch = batch_of(events)
        with _told_as(LogUnavailable, "The event log"):
            try:
                numbers = await self._store.write(
                    partial(record_exclusively, batch=batch), writes_once=batch.writes_once
                )
            except (sqlite3.IntegrityError, sqlite3.DataError) as error:
                raise EventRefused(f"SQLite refuses an event: {error}.") from error
        if self._own is not None:
            self._own.note(events, numbers)
        return first_of_each(events, set(numbers))

    async def read(self, *, after: int, where: Selector | None = None, limit: int = 100) -> Page:
        """See `EventLog.read`."""
        if self._own is None or where is not None:
            return await self._page(where, after, limit)
        return await self._own.page(partial(self._page, None), after=after, limit=limit)

    async def _page(self, where: Selector | None, after: int, limit: int) -> Page:
        shape, values = shape_of(where), values_of(where)
        statement = read_statement(shape, SQLITE, _POSITION, events_table)

        def stretch(connection: sqlite3.Connection, start: int, end: int, most: int) -> list[Any]:
            bound = statement.positional(b_after=start, b_head=end, b_limit=most, **values)
            return connection.execute(statement.text, bound).fetchall()

        def work(connection: sqlite3.Connection) -> Page:
            head, horizon = connection.execute(ENDS).fetchone()
            rows: list[Any] = []
            if head > after:
                near = min(head, after + _NEAR) if by_time_alone(shape) else head
                rows = stretch(connection, after, near, limit)
                if near < head and len(rows) < limit:  # what is selected lies further on, if anywhere
                    span = span_statement(shape, SQLITE, _POSITION, events_table)
                    first, last = _one(connection, span, b_after=near, **values)
                    if first is not None:
                        rows += stretch(connection, first - 1, last, limit - len(rows))
            found = tuple(recorded_event(row) for row in rows)
            return page_of(found, after=after, limit=limit, head=head, horizon=horizon)

        return await self._read(work)

    async def find(self, event_id: str) -> RecordedEvent | None:
        """See `EventLog.find`."""
        statement = find_statement(SQLITE, _POSITION, events_table)
        row = await self._read(lambda connection: _one(connection, statement, b_event_id=event_id))
        return None if row is None else recorded_event(row)

    async def head(self) -> int:
        """See `EventLog.head`."""
        head: int = await self._read(lambda connection: connection.execute(HEAD).fetchone()[0])
        return head

    async def forget(self, *, received_before: float, up_to: int, now: float) -> int:
        """See `Housekeeping.forget`. Others record in between."""
        work = partial(forget_stretch, received_before=received_before, up_to=up_to, now=now)
        gone = 0
        if self._own is not None:
            self._own.clear()
        with _told_as(LogUnavailable, "The event log"):
            while count := await self._store.write(work):
                gone += count
                if count < STRETCH:
                    break
        return gone

    async def replace_body(self, event_id: str, body: bytes, *, now: float) -> bool:
        """See `Housekeeping.replace_body`."""
        recorded = await self.find(event_id)
        if recorded is None:
            return False
        refuse_unrecordable(msgspec.structs.replace(recorded.event, body=body))
        text = 'UPDATE "StripeEvents" SET body = ?, erased_at = ? WHERE event_id = ? RETURNING 1'
        if self._own is not None:
            self._own.clear()
        with _told_as(LogUnavailable, "The event log"):
            (found,) = await _write(self._store, (text, (body.decode(), now, event_id)))
        return bool(found)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with _told_as(LogUnavailable, "The event log"):
            return await self._store.read(work)


@attrs.frozen
class SqliteLedger:
    """The charge ledger in a SQLite file."""

    _store: SqliteStore

    async def open(self, attempt: Attempt) -> Opened:
        """See `ChargeLedger.open`."""
        one = ledger_statements(SQLITE)
        values = {f"b_{name}": value for name, value in attempt_row(attempt).items()}
        new, (row,) = await self._write(_bound(one.insert, **values), _bound(one.find, b_key=attempt.key))
        return Opened(attempt_of(row), new=bool(new))

    async def take_over(self, key: str, *, seen_tries: int, now: float, busy_until: float) -> Attempt | None:
        """See `ChargeLedger.take_over`."""
        statement = ledger_statements(SQLITE).take_over
        values = {"b_key": key, "b_seen_tries": seen_tries, "b_now": now, "b_busy_until": busy_until}
        (taken,) = await self._write(_bound(statement, **values))
        return attempt_of(taken[0]) if taken else None

    async def settle(self, key: str, outcome: Outcome, *, tries: int) -> Attempt:
        """See `ChargeLedger.settle`."""
        one = ledger_statements(SQLITE)
        values = {f"b_{name}": value for name, value in outcome_row(outcome).items()}
        settle = _bound(one.settle, b_key=key, b_tries=tries, **values)
        _, found = await self._write(settle, _bound(one.find, b_key=key))
        if not found:
            raise KeyError(key)
        return attempt_of(found[0])

    async def find(self, key: str) -> Attempt | None:
        """See `ChargeLedger.find`."""
        statement = ledger_statements(SQLITE).find
        row = await self._read(lambda connection: _one(connection, statement, b_key=key))
        return None if row is None else attempt_of(row)

    async def unsettled(self, *, idle_at: float, limit: int) -> Sequence[Attempt]:
        """See `ChargeLedger.unsettled`."""
        statement = ledger_statements(SQLITE).unsettled
        bound = _bound(statement, b_idle_at=idle_at, b_limit=limit)
        rows = await self._read(lambda connection: connection.execute(*bound).fetchall())
        return [attempt_of(row) for row in rows]

    async def erase_payment(self, payment_id: str) -> int:
        """See `LedgerHousekeeping.erase_payment`."""
        statement = ledger_statements(SQLITE).erase_payment
        (erased,) = await self._write(_bound(statement, b_payment_id=payment_id))
        return len(erased)

    async def _write(self, *statements: Statement) -> list[list[Any]]:
        with _told_as(LedgerUnavailable, "The ledger"):
            return await _write(self._store, *statements)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with _told_as(LedgerUnavailable, "The ledger"):
            return await self._store.read(work)


@attrs.frozen
class SqliteCursors:
    """The consumer cursors in a SQLite file."""

    _store: SqliteStore

    async def claim(self, name: str, *, owner: str, now: float, until: float) -> int | None:
        """See `Cursors.claim`."""
        statement = cursor_statements(SQLITE).claim
        row = await self._write(statement, b_name=name, b_owner=owner, b_now=now, b_until=until)
        return None if row is None else int(row[0])

    async def advance(self, name: str, *, owner: str, position: int) -> None:
        """See `Cursors.advance`."""
        statement = cursor_statements(SQLITE).advance
        if await self._write(statement, b_name=name, b_owner=owner, b_position=position) is None:
            raise LeaseLost(f"Another reader has taken over {name!r}.", remedy="Stop, and claim again later.")

    async def release(self, name: str, *, owner: str) -> None:
        """See `Cursors.release`."""
        await self._write(cursor_statements(SQLITE).release, b_name=name, b_owner=owner)

    async def positions(self) -> dict[str, int]:
        """See `Cursors.positions`."""
        text = cursor_statements(SQLITE).positions.text
        with _told_as(LogUnavailable, "The cursors"):
            return await self._store.read(lambda connection: dict(connection.execute(text).fetchall()))

    async def drop(self, name: str, *, now: float) -> bool:
        """See `Cursors.drop`."""
        return await self._write(cursor_statements(SQLITE).drop, b_name=name, b_now=now) is not None

    async def _write(self, statement: Compiled, **values: Any) -> Any:
        with _told_as(LogUnavailable, "The cursors"):
            (rows,) = await _write(self._store, _bound(statement, **values))
        return rows[0] if rows else None


async def _write(store: SqliteStore, *statements: Statement) -> list[list[Any]]:
    """Run statements in one transaction, commit it, and return the rows of each."""
    return await store.write(partial(run, statements=statements))


def _bound(statement: Compiled, **values: Any) -> Statement:
    return statement.text, statement.positional(**values)


def _one(connection: sqlite3.Connection, statement: Compiled, **values: Any) -> Any:
    """Run a statement to its end and return its first row, if any."""
    rows = connection.execute(*_bound(statement, **values)).fetchall()
    return rows[0] if rows else None
