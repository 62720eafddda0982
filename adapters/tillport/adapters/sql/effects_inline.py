"""Inline effects: the event, and what the host does about it, in one transaction of the host's, before Stripe hears 200.

    log = AsyncInlineLog(PostgresEventLog(store), engine, partial(inline, handlers))
    event, new = await record(verified, log, received_at=clock.now())

For hosts that want no moment between the two, and pay for it: each webhook has a commit of its own (never a group's),
waits for its handlers, and is answered with 5xx when one fails, so that Stripe sends it again. There are no retries of
ours, no dead letters, and a handler that always fails keeps its event out of the log until Stripe gives up.

The log's tables must be in the database of the engine. Reading goes through the log that is handed in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs
import sqlalchemy.event
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tillport.adapters.sql.autocommit import set_level
from tillport.adapters.sql.effects_stacks import begun
from tillport.adapters.sql.effects_statements import STATEMENT_SECONDS, sqlstate_of
from tillport.adapters.sql.effects_sync import drive
from tillport.adapters.sql.host import record_on, record_on_async
from tillport.adapters.sql.postgres_session import only_reads
from tillport.ports.errors import TillportError
from tillport.ports.event_log import Event, EventLog, EventRefused, LogUnavailable, Page, RecordedEvent
from tillport.ports.selector import Selector

_REMEDY: Final = "Stripe sends the event again. Look at the handler's failure, which is this error's cause."

# The event stands before the savepoint. If that can't be released, a transaction without the event would be committed: the
# next one, which drivers begin unasked once a handler has ended ours, or one that PostgreSQL has given up.
_SET: Final = "SAVEPOINT tillport_inline"
_RELEASE: Final = "RELEASE SAVEPOINT tillport_inline"
_GONE: Final = ("3B001", "25P01")
_GIVEN_UP: Final = "25P02"


class EffectFailed(LogUnavailable):
    """A handler failed, or the database did. Neither the event nor anything that was done about it is there."""

    code = "effect_failed"


class HandlerEnded(TillportError):
    """A handler tried to commit or to roll back the transaction that it was lent, or did so in plain SQL."""

    code = "handler_ended"


class FailureHidden(TillportError):
    """A handler went on after a statement of its own had failed, and PostgreSQL gives up the whole transaction then."""

    code = "failure_hidden"


@attrs.frozen
class _Reading:
    """What both have in common: reading is the inner log's."""

    _log: EventLog

    async def read(self, *, after: int, where: Selector | None = None, limit: int = 100) -> Page:
        """See `EventLog.read`."""
        return await self._log.read(after=after, where=where, limit=limit)

    async def find(self, event_id: str) -> RecordedEvent | None:
        """See `EventLog.find`."""
        return await self._log.find(event_id)

    async def head(self) -> int:
        """See `EventLog.head`."""
        return await self._log.head()


@attrs.frozen
class AsyncInlineLog(_Reading):
    """Record through an async engine (PostgreSQL), and run `act` on each new event in the same transaction."""

    _engine: AsyncEngine
    _act: Callable[[AsyncConnection, Event], Awaitable[None]]

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        """See `EventLog.record`. Raises `EffectFailed` when `act` does; then nothing is recorded."""
        try:
            async with asyncio.timeout(STATEMENT_SECONDS) as ours, self._engine.connect() as connection:
                try:
                    return await self._record(connection, events, ours)
                except Exception as error:
                    if only_reads(error):
                        await connection.invalidate()
                    raise
        except EventRefused:
            raise
        except Exception as error:
            raise _failed(error) from error

    async def _record(
        self, connection: AsyncConnection, events: Sequence[Event], ours: asyncio.Timeout
    ) -> Sequence[bool]:
        await set_level(connection)
        async with connection.begin():
            new = await record_on_async(connection, events)
            if not any(new):
                return new
            await connection.exec_driver_sql(_SET)
            ours.reschedule(None)  # how long handlers take is up to them
            assert connection.sync_connection is not None
            with _held(connection.sync_connection):
                for event in (event for event, fresh in zip(events, new, strict=True) if fresh):
                    await self._act(connection, event)
            ours.reschedule(asyncio.get_running_loop().time() + STATEMENT_SECONDS)
            with _is_whole():
                await connection.exec_driver_sql(_RELEASE)
        return new


@attrs.frozen
class InlineLog(_Reading):
    """Record through a blocking engine (SQLite, PostgreSQL), on a thread, and run `act` in the same transaction."""

    _engine: Engine
    _act: Callable[[Connection, Event], Awaitable[None]]

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        """See `EventLog.record`. Raises `EffectFailed` when `act` does; then nothing is recorded."""
        return await asyncio.to_thread(self._record, events)

    def _record(self, events: Sequence[Event]) -> Sequence[bool]:
        try:
            with begun(self._engine) as connection:
                new = record_on(connection, events)
                if not any(new):
                    return new
                connection.exec_driver_sql(_SET)
                with _held(connection):
                    for event in (event for event, fresh in zip(events, new, strict=True) if fresh):
                        drive(self._act(connection, event))
                with _is_whole():
                    connection.exec_driver_sql(_RELEASE)
                return new
        except EventRefused:
            raise
        except Exception as error:
            raise _failed(error) from error


@contextmanager
def _held(connection: Connection) -> Iterator[None]:
    """Refuse to end the transaction while handlers have it: the event is in it, and would be lost or be alone."""
    for name in ("commit", "rollback"):
        sqlalchemy.event.listen(connection, name, _refuse_end)
    try:
        yield
    finally:
        for name in ("commit", "rollback"):
            sqlalchemy.event.remove(connection, name, _refuse_end)
        over = not connection.in_transaction()
        if over:
            # SQLAlchemy believes so, the database does not: the pool's next user would commit what was refused here.
            connection.invalidate()
    if over:
        raise _ended()


@contextmanager
def _is_whole() -> Iterator[None]:
    """Tell what a savepoint that can't be released says about the handlers."""
    try:
        yield
    except DBAPIError as error:
        if sqlstate_of(error) == _GIVEN_UP:
            raise FailureHidden(
                "A handler went on after a statement of its own had failed: PostgreSQL has given up the whole transaction, "
                "and the event with it.",
                remedy="Let the failure out, or run what may fail in a savepoint: connection.begin_nested().",
            ) from error
        if sqlstate_of(error) in _GONE or "no such savepoint" in str(error.orig):
            raise _ended() from error
        raise


def _refuse_end(_: Connection) -> None:
    raise _ended()


def _ended() -> HandlerEnded:
    return HandlerEnded(
        "A handler must neither commit nor roll back the transaction that it was lent: the event itself is in it.",
        remedy="Leave that out, and raise to fail; Tillport commits when every handler has returned.",
    )


def _failed(error: Exception) -> EffectFailed:
    return EffectFailed(
        f"The event was not recorded, with its effects ({type(error).__name__}).", remedy=_REMEDY
    )
