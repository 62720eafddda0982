"""The event log, the ledger and the cursors on PostgreSQL, through asyncpg.

    store = PostgresStore("postgresql://till@db/shop")
    log, ledger, cursors = PostgresEventLog(store), PostgresLedger(store), PostgresCursors(store)
    bell = PostgresDoorbell(store, log.sequencer, clock)
    listening = asyncio.create_task(bell.run())
    …
    listening.cancel()
    await log.sequencer.idle()
    await store.aclose()

Any number of processes may do the same on one database. `postgres_positions` explains how events get their places.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import attrs
import msgspec

from tillport.adapters.sql.autocommit import refuse_autocommit
from tillport.adapters.sql.own_events import OwnEvents
from tillport.adapters.sql.postgres_pool import Connection
from tillport.adapters.sql.postgres_positions import Sequencer
from tillport.adapters.sql.postgres_retention import forget
from tillport.adapters.sql.postgres_statements import (
    ANNOUNCE,
    BRING_UP_NUMBERS,
    FIND_SOURCE,
    HEAD,
    PLAIN_VALUES,
    page_statement,
    picking_statement,
    placing_statement,
    record_statement,
    record_values,
    span_statement,
)
from tillport.adapters.sql.postgres_store import (
    POSTGRESQL,
    PostgresStore,
    StoreUnavailable,
    ValuesRefused,
    collided,
    lacks_rights,
    lacks_tables,
    met_a_lock,
    was_rolled_back,
)
from tillport.adapters.sql.rows import (
    attempt_of,
    attempt_row,
    outcome_row,
    page_of,
    recorded_event,
)
from tillport.adapters.sql.schema import order
from tillport.adapters.sql.selection import (
    by_time_alone,
    find_statement,
    has_type,
    names_few,
    shape_of,
    values_of,
)
from tillport.adapters.sql.sqlite_events import first_of_each
from tillport.adapters.sql.statements import Compiled, cursor_statements, ledger_statements
from tillport.ports.cursors import LeaseLost
from tillport.ports.errors import TillportError
from tillport.ports.event_log import (
    Event,
    EventContended,
    EventRefused,
    LogUnavailable,
    Page,
    RecordedEvent,
    refuse_unrecordable,
)
from tillport.ports.ledger import Attempt, LedgerUnavailable, Opened, Outcome
from tillport.ports.selector import Selector

_REMEDY: Final = (
    "Look at the database: does it run, does it take connections, has its disk room? Then try again."
)
_UPGRADE: Final = "Its tables are not those of this version of Tillport. Run: tillport db upgrade."
_GRANT: Final = (
    "Its user may not do this. It needs SELECT, INSERT, UPDATE and DELETE on Tillport's tables, "
    "and USAGE, SELECT and UPDATE on their sequences."
)
_RECORD: Final = record_statement(with_aliases=False)
_RECORD_WITH_ALIASES: Final = record_statement(with_aliases=True)
_ATTEMPTS: Final = 8
"""How often a batch is tried. Beside a busy process of the version before, a third of them meet a position that is taken, and
of those one in fifteen meets another at the next try: three tries in a row failed once in a thousand batches."""
_END: Final = 2**62
_NEAR: Final = 2000
"""So far the log itself is read for events of a time: a few milliseconds, and in a stretch of them the page is full."""
_REPLACE_BODY: Final = 'UPDATE "StripeEvents" SET body = $1, erased_at = $2 WHERE event_id = $3 RETURNING 1'


@contextmanager
def _told_as(error_type: type[TillportError], what: str) -> Iterator[None]:
    try:
        yield
    except (StoreUnavailable, ValuesRefused) as error:
        remedy = _UPGRADE if lacks_tables(error) else _GRANT if lacks_rights(error) else _REMEDY
        raise error_type(f"{what} can't be reached now. {error}", remedy=remedy) from error


async def record_on_asyncpg(connection: Connection, events: Sequence[Event]) -> list[bool]:
    """Record the events in the transaction of a host's asyncpg connection, and say of each whether it is new.

    Everything else is as `EventLog.record` has it, except that the caller commits: the event is in the log when the
    host's transaction is, and readers see it a moment after. Raises `EventRefused` before anything is written, and
    `NoTransaction` outside of one; and asyncpg's own errors. For other connections see `tillport.adapters.sql.host`.
    """
    for event in events:
        refuse_unrecordable(event)
    if not events:
        return []
    refuse_autocommit(connection)
    values = record_values(events)
    rows = await connection.fetch(_RECORD if len(values) == PLAIN_VALUES else _RECORD_WITH_ALIASES, *values)
    if rows:
        await connection.execute(ANNOUNCE)
    return first_of_each(events, {row[0] for row in rows})


@attrs.frozen
class PostgresEventLog:
    """The event log, and its housekeeping, on PostgreSQL. Takes concurrent calls of `record`.

    With `own`, readers get what this process recorded itself without the database's sending it back.
    """

    _store: PostgresStore
    _own: OwnEvents | None = attrs.field(default=None, kw_only=True, alias="own")
    sequencer: Sequencer = attrs.field(
        default=attrs.Factory(lambda self: Sequencer(self._store), takes_self=True)
    )

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        """See `EventLog.record`."""
        for event in events:
            refuse_unrecordable(event)
        if not events:
            return []
        if self.sequencer.at_work:
            await self.sequencer.idle()  # so that what this process recorded before stands before this
        values = record_values(events)
        statement = placing_statement(with_aliases=len(values) > PLAIN_VALUES, sender=self.sequencer.name)
        with _told_as(LogUnavailable, "The event log"):
            try:
                rows = await self._insert(statement, values)
            except ValuesRefused as error:
                if collided(error):
                    raise  # of numbers that we draw: no event's fault
                raise EventRefused(
                    f"An event can't be kept: {error}", remedy="Ids and types are shorter than 2,600 bytes."
                ) from error
            except StoreUnavailable as error:
                if not met_a_lock(error):
                    raise
                raise EventContended(
                    f"Another open transaction holds one of these events. {error}",
                    remedy="Send it again once that transaction is over.",
                ) from error
        if rows:
            self._note(events, rows)
        return first_of_each(events, {row[0] for row in rows})

    def _note(self, events: Sequence[Event], rows: Sequence[Any]) -> None:
        """Have those told who wait for what is new, of which each row holds id, number and the first one's position."""
        first = rows[0][2]
        if first is None:
            self.sequencer.kick(number for _, number, _ in rows)
            return
        if self._own is not None:
            by_number = sorted((number, event_id) for event_id, number, _ in rows)
            self._own.note(events, {event_id: first + index for index, (_, event_id) in enumerate(by_number)})
        self.sequencer.placed()

    async def _insert(self, statement: str, values: list[Any]) -> Sequence[Any]:
        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._store.fetch(statement, *values)
            except (StoreUnavailable, ValuesRefused) as error:
                if collided(error):
                    await self._store.script(BRING_UP_NUMBERS)
                elif not was_rolled_back(error):
                    raise
        return await self._store.fetch(statement, *values)

    async def read(self, *, after: int, where: Selector | None = None, limit: int = 100) -> Page:
        """See `EventLog.read`."""
        if self._own is None or where is not None:
            return await self._read(where, after, limit)
        return await self._own.page(partial(self._read, None), after=after, limit=limit)

    async def _read(self, where: Selector | None, after: int, limit: int) -> Page:
        shape = shape_of(where)
        if names_few(shape):
            return await self._page(where, after, _END, limit, picking=True)
        near = after + _NEAR if by_time_alone(shape) or has_type(shape) else _END
        page = await self._page(where, after, near, limit)
        if page.position <= near or len(page.events) == limit:
            return page
        if has_type(shape):
            return await self._further(where, page, near, limit)
        # What is selected lies further on, if anywhere. What comes later than this look is left to the next page.
        span = span_statement(shape_of(where), POSTGRESQL)
        with _told_as(LogUnavailable, "The event log"):
            row = await self._store.one(span, b_after=near, **values_of(where))
        assert row is not None, "it is an aggregate"
        head, horizon, first, last = row
        found, reset = page.events, page.reset
        if first is not None:
            rest = await self._page(where, first - 1, last, limit - len(found))
            found, reset = found + rest.events, reset or rest.reset
        whole = page_of(found, after=after, limit=limit, head=head, horizon=horizon)
        return attrs.evolve(whole, reset=whole.reset or reset)

    async def _further(self, where: Selector | None, page: Page, near: int, limit: int) -> Page:
        """Go on from a page that is not full, on the way that is the shorter by what was met so far.

        What was met is the share of this type among the last `_NEAR` events. Nothing met: it is rare, or begins later.
        """
        head, met, missing = page.position, len(page.events), limit - len(page.events)
        along = min(head - near, missing * _NEAR / met) if met else head - near
        picking = met * head / _NEAR < along
        rest = await self._page(where, near, _END, missing, picking=picking)
        return attrs.evolve(rest, events=page.events + rest.events, reset=page.reset or rest.reset)

    async def _page(
        self, where: Selector | None, after: int, last: int, limit: int, *, picking: bool = False
    ) -> Page:
        """Read the selected events up to position `last`, and say where the log ends if they don't fill the page.

        Along the log, or `picking` what is selected out of it.
        """
        statement = (picking_statement if picking else page_statement)(shape_of(where), POSTGRESQL)
        values = statement.positional(b_after=after, b_last=last, b_limit=limit, **values_of(where))
        with _told_as(LogUnavailable, "The event log"):
            rows = await self._store.fetch(statement.text, *values)
        head, horizon = rows[0][0], rows[0][1]
        found = tuple(recorded_event(row[2:]) for row in map(tuple, rows) if row[2] is not None)
        return page_of(found, after=after, limit=limit, head=head, horizon=horizon)

    async def find(self, event_id: str) -> RecordedEvent | None:
        """See `EventLog.find`."""
        if not _is_text(event_id):
            return None
        with _told_as(LogUnavailable, "The event log"):
            row = await self._store.one(
                find_statement(POSTGRESQL, order.c.position, FIND_SOURCE), b_event_id=event_id
            )
        return None if row is None else recorded_event(row)

    async def head(self) -> int:
        """See `EventLog.head`."""
        with _told_as(LogUnavailable, "The event log"):
            ((head,),) = await self._store.fetch(HEAD)
        return int(head)

    async def forget(self, *, received_before: float, up_to: int, now: float) -> int:
        """See `Housekeeping.forget`.

        While a transaction is open that is older than the call, it only marks events, and a later call takes them
        away: a transaction that still sees neither tombstone nor event could record the event again.
        """
        if self._own is not None:
            self._own.clear()
        with _told_as(LogUnavailable, "The event log"):
            return await forget(self._store, received_before=received_before, up_to=up_to, now=now)

    async def replace_body(self, event_id: str, body: bytes, *, now: float) -> bool:
        """See `Housekeeping.replace_body`."""
        recorded = await self.find(event_id)
        if recorded is None:
            return False
        refuse_unrecordable(msgspec.structs.replace(recorded.event, body=body))
        if self._own is not None:
            self._own.clear()
        with _told_as(LogUnavailable, "The event log"):
            return bool(await self._store.fetch(_REPLACE_BODY, body.decode(), float(now), event_id))


@attrs.frozen
class PostgresLedger:
    """The charge ledger on PostgreSQL."""

    _store: PostgresStore

    async def open(self, attempt: Attempt) -> Opened:
        """See `ChargeLedger.open`."""
        one = ledger_statements(POSTGRESQL)
        values = {f"b_{name}": value for name, value in attempt_row(attempt).items()}
        if await self._one(one.insert, **values) is not None:
            return Opened(attempt_of(tuple(attempt_row(attempt).values())), new=True)
        row = await self._one(one.find, b_key=attempt.key)
        assert row is not None, "it was there, and attempts are never deleted"
        return Opened(attempt_of(row), new=False)

    async def take_over(self, key: str, *, seen_tries: int, now: float, busy_until: float) -> Attempt | None:
        """See `ChargeLedger.take_over`."""
        statement = ledger_statements(POSTGRESQL).take_over
        row = await self._one(
            statement, b_key=key, b_seen_tries=seen_tries, b_now=float(now), b_busy_until=float(busy_until)
        )
        return None if row is None else attempt_of(row)

    async def settle(self, key: str, outcome: Outcome, *, tries: int) -> Attempt:
        """See `ChargeLedger.settle`."""
        one = ledger_statements(POSTGRESQL)
        values = {f"b_{name}": value for name, value in outcome_row(outcome).items()}
        row = await self._one(one.settle, b_key=key, b_tries=tries, **values)
        if row is None:
            row = await self._one(one.find, b_key=key)
        if row is None:
            raise KeyError(key)
        return attempt_of(row)

    async def find(self, key: str) -> Attempt | None:
        """See `ChargeLedger.find`."""
        if not _is_text(key):
            return None
        row = await self._one(ledger_statements(POSTGRESQL).find, b_key=key)
        return None if row is None else attempt_of(row)

    async def unsettled(self, *, idle_at: float, limit: int) -> Sequence[Attempt]:
        """See `ChargeLedger.unsettled`."""
        statement = ledger_statements(POSTGRESQL).unsettled
        values = statement.positional(b_idle_at=float(idle_at), b_limit=limit)
        with _told_as(LedgerUnavailable, "The ledger"):
            return [attempt_of(tuple(row)) for row in await self._store.fetch(statement.text, *values)]

    async def erase_payment(self, payment_id: str) -> int:
        """See `LedgerHousekeeping.erase_payment`."""
        if not _is_text(payment_id):
            return 0
        statement = ledger_statements(POSTGRESQL).erase_payment
        with _told_as(LedgerUnavailable, "The ledger"):
            return len(
                await self._store.fetch(statement.text, *statement.positional(b_payment_id=payment_id))
            )

    async def _one(self, statement: Compiled, **values: Any) -> Sequence[Any] | None:
        with _told_as(LedgerUnavailable, "The ledger"):
            return await self._store.one(statement, **values)


@attrs.frozen
class PostgresCursors:
    """The consumer cursors on PostgreSQL."""

    _store: PostgresStore

    async def claim(self, name: str, *, owner: str, now: float, until: float) -> int | None:
        """See `Cursors.claim`."""
        statement = cursor_statements(POSTGRESQL).claim
        row = await self._one(statement, b_name=name, b_owner=owner, b_now=float(now), b_until=float(until))
        return None if row is None else int(row[0])

    async def advance(self, name: str, *, owner: str, position: int) -> None:
        """See `Cursors.advance`."""
        statement = cursor_statements(POSTGRESQL).advance
        if await self._one(statement, b_name=name, b_owner=owner, b_position=position) is None:
            raise LeaseLost(f"Another reader has taken over {name!r}.", remedy="Stop, and claim again later.")

    async def release(self, name: str, *, owner: str) -> None:
        """See `Cursors.release`."""
        await self._one(cursor_statements(POSTGRESQL).release, b_name=name, b_owner=owner)

    async def positions(self) -> dict[str, int]:
        """See `Cursors.positions`."""
        with _told_as(LogUnavailable, "The cursors"):
            return {
                row[0]: row[1]
                for row in await self._store.fetch(cursor_statements(POSTGRESQL).positions.text)
            }

    async def drop(self, name: str, *, now: float) -> bool:
        """See `Cursors.drop`."""
        if not _is_text(name):
            return False
        return await self._one(cursor_statements(POSTGRESQL).drop, b_name=name, b_now=float(now)) is not None

    async def _one(self, statement: Compiled, **values: Any) -> Sequence[Any] | None:
        with _told_as(LogUnavailable, "The cursors"):
            return await self._store.one(statement, **values)


def _is_text(value: str) -> bool:
    """Tell whether PostgreSQL can hold it; what it can't hold is not there either."""
    try:
        value.encode()
    except UnicodeError:
        return False
    return "\0" not in value
