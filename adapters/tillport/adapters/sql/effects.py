"""Effects in a PostgreSQL database that the embedder reaches through SQLAlchemy's async engine.

    queue = AsyncEffectQueue(engine)                          # handlers get an AsyncConnection
    queue = AsyncEffectQueue(engine, lend=as_async_session)   # or an AsyncSession

One round of work is one transaction with one commit: all its effects are marked by one statement, each handler runs
in a savepoint, and the marks of those that failed are taken back. The savepoints are set on the driver's own
connection, in one round trip between two handlers, because at a thousand effects a second each trip counts.

A handler that commits would let go of its neighbours' marks before they were run. So a commit of the connection that
it was lent is refused, and is that handler's failure. (A session that was lent commits a savepoint, and may.) A commit
in plain SQL can't be refused: what was not run is made due again, unless this process dies at that very moment.

A database that does not answer is not waited for: our own statements have their time, after which the connection is
given up, and handlers have theirs from whoever runs them.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final, Generic, TypeVar, cast

import attrs
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from tillport.adapters.sql.autocommit import set_level
from tillport.adapters.sql.effects_statements import (
    BEGINNING,
    FREE,
    IDLE_SECONDS,
    LIMITS,
    POSTGRESQL_EFFECTS,
    STATEMENT_SECONDS,
    Values,
    by_position,
    effect_of,
    enlist_values,
    forget_values,
    ids_of,
    limits_values,
    list_statement,
    postpone_values,
    sqlstate_of,
    standing_of,
    stretch_values,
    unavailable,
)
from tillport.adapters.sql.effects_tables import CREATION_LOCK, effects_ddl
from tillport.adapters.sql.postgres_session import only_reads
from tillport.ports.effects import Effect, EffectState, Performed, Standing
from tillport.ports.errors import TillportError
from tillport.ports.event_log import LogUnavailable

logger = logging.getLogger("tillport.effects")

Tx = TypeVar("Tx")

_SET: Final = "SAVEPOINT tillport_effect"
_RELEASE: Final = "RELEASE SAVEPOINT tillport_effect"
_NEXT: Final = f"{_RELEASE}; {_SET}"
_UNDO: Final = "ROLLBACK TO SAVEPOINT tillport_effect"  # which leaves the savepoint set, for the next handler
_ENDED: Final = ("3B001", "25P01")  # there is no such savepoint; no transaction
_LIMITS: Final = text(LIMITS)
_FREE: Final = text(FREE)
_TEXTS: Final = {
    name: text(statement) for name, statement in attrs.asdict(POSTGRESQL_EFFECTS, recurse=False).items()
}


class HandlerCommitted(TillportError):
    """A handler tried to commit the transaction that it was lent."""

    code = "handler_committed"


def as_async_connection(connection: AsyncConnection) -> AbstractAsyncContextManager[AsyncConnection]:
    """Lend handlers the connection itself. (It is entered for each effect: a generator would cost five times this.)"""
    return nullcontext(connection)


@asynccontextmanager
async def as_async_session(connection: AsyncConnection) -> AsyncIterator[AsyncSession]:
    """Lend handlers a session of their own, inside the transaction; what it holds is flushed when they return."""
    async with AsyncSession(bind=connection, join_transaction_mode="create_savepoint") as session:
        yield session
        await session.commit()


@attrs.define(eq=False)
class AsyncEffectQueue(Generic[Tx]):
    """An effect queue on an async engine of PostgreSQL. The engine stays its owner's.

    `lend` makes what handlers get of the connection: `as_async_connection`, `as_async_session`, or your own. The
    engine's isolation level may be any; READ COMMITTED, PostgreSQL's own, never makes a round start over. Where it is
    AUTOCOMMIT our transactions, and what handlers are lent, are in READ COMMITTED.
    """

    _engine: AsyncEngine = attrs.field(validator=attrs.validators.instance_of(AsyncEngine))
    _lend: Callable[[AsyncConnection], AbstractAsyncContextManager[Tx]] = attrs.field(
        default=cast("Any", as_async_connection), kw_only=True, alias="lend"
    )
    statement_seconds: float = attrs.field(
        default=STATEMENT_SECONDS, kw_only=True, validator=attrs.validators.gt(0)
    )
    """How long the database may take to connect, or for a transaction of our own statements."""
    idle_seconds: float = attrs.field(default=IDLE_SECONDS, kw_only=True, validator=attrs.validators.gt(0))
    """How long a handler may say nothing to PostgreSQL, which then ends its transaction. More than a handler takes."""
    # Two that claim at the same moment look at the same rows, and the second holds what the first has got until its
    # own commit, so that the first can't begin with it. Between processes that happens, and costs another round.
    _claiming: asyncio.Lock = attrs.field(init=False, factory=asyncio.Lock, repr=False)

    def __attrs_post_init__(self) -> None:
        if self._engine.dialect.name != "postgresql":
            raise ValueError(
                "AsyncEffectQueue is for PostgreSQL. On SQLite use EngineEffectQueue or DbapiEffectQueue."
            )

    async def create_tables(self) -> None:
        """Create what is missing of the tables. Many may do this at the same time."""
        async with self._statement() as connection:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({CREATION_LOCK})"))
            for statement in effects_ddl(self._engine.dialect):
                await connection.execute(text(statement))

    async def begin(self, handler: str, *, position: int) -> int:
        """See `EffectQueue.begin`."""
        async with self._statement() as connection:
            await connection.execute(_TEXTS["begin"], {"handler": handler, "position": position})
            found: int = (await connection.execute(_TEXTS["place"], {"handler": handler})).scalar_one()
            return found

    async def enlist(self, handler: str, effects: Sequence[Effect], *, after: int, position: int) -> bool:
        """See `EffectQueue.enlist`."""
        async with self._statement() as connection:
            place = {"handler": handler, "after": after, "position": position}
            if (await connection.execute(_TEXTS["move"], place)).first() is None:
                return False
            if effects:
                await connection.execute(_TEXTS["enlist"], enlist_values(handler, effects))
            return True

    async def claim(self, handler: str, *, now: float, until: float, limit: int) -> Sequence[Effect]:
        """See `EffectQueue.claim`."""
        values = {"handler": handler, "now": float(now), "until": float(until), "limit": limit}
        async with self._claiming:
            return by_position(await self._rows("claim", values))

    async def give_back(self, effects: Sequence[Effect], *, now: float) -> None:
        """See `EffectQueue.give_back`."""
        if effects:
            async with self._statement() as connection:
                await connection.execute(_TEXTS["give_back"], {**ids_of(effects), "now": float(now)})

    async def perform(
        self, effects: Sequence[Effect], run: Callable[[Tx, Effect], Awaitable[None]]
    ) -> Sequence[Performed]:
        """See `EffectQueue.perform`."""
        if not effects:
            return []
        try:
            async with asyncio.timeout(self.statement_seconds):
                connection = await self._engine.connect()
        except Exception as error:
            raise unavailable(error) from error
        try:
            try:
                async with asyncio.timeout(self.statement_seconds):
                    marked, xid, driver = await self._begin_round(connection, effects)
            except LogUnavailable:
                raise
            except Exception as error:
                raise unavailable(error) from error
            with _guarded(connection):
                told = await self._run_all(connection, driver, effects, marked, run)
            failed = [one.effect for one in told if one.failure is not None]
            async with asyncio.timeout(self.statement_seconds):
                await driver.execute(_RELEASE)
                if failed:
                    await connection.execute(_TEXTS["unmark"], ids_of(failed))
                await connection.commit()
        except BaseException as error:
            # A transaction that a handler meddled with must not stay open under the pool's next user, and SQLAlchemy
            # may believe that it ended: so the connection goes, and the transaction with it.
            await _to_its_end(connection.invalidate())
            if isinstance(error, _Ended):
                await self._free([one for one in effects if one.event_id in error.unrun], xid)
                raise error.failure from None
            raise
        finally:
            await _to_its_end(connection.close())
        return told

    async def postpone(self, effect: Effect, *, error: str, due_at: float | None) -> None:
        """See `EffectQueue.postpone`."""
        async with self._statement() as connection:
            await connection.execute(_TEXTS["postpone"], postpone_values(effect, error, due_at))

    async def list(
        self,
        *,
        states: Sequence[EffectState] = (EffectState.DEAD,),
        handler: str | None = None,
        event_id: str | None = None,
        payment_key: str | None = None,
        limit: int = 100,
    ) -> Sequence[Effect]:
        """See `EffectQueue.list`."""
        statement, values = list_statement(states, handler, event_id, payment_key, limit)
        async with self._statement() as connection:
            return [effect_of(row) for row in await connection.execute(text(statement), values)]

    async def retry(self, handler: str, event_id: str, *, now: float) -> bool:
        """See `EffectQueue.retry`."""
        return bool(await self._rows("retry", {"handler": handler, "event_id": event_id, "now": float(now)}))

    async def skip(self, handler: str, event_id: str) -> bool:
        """See `EffectQueue.skip`."""
        values = {"handler": handler, "event_id": event_id}
        # It waits for a worker that is running the effect; the server ends the transaction of one that stands still.
        seconds = self.idle_seconds + self.statement_seconds
        return bool(await self._rows("skip", values, seconds=seconds))

    async def standings(self) -> Sequence[Standing]:
        """See `EffectQueue.standings`."""
        return [standing_of(row) for row in await self._rows("standings", {})]

    async def forget(self, *, up_to: int) -> int:
        """See `EffectQueue.forget`."""
        gone, place = 0, BEGINNING
        while found := await self._rows("stretch", stretch_values(place)):
            last = (found[0][0], found[0][1])
            gone += len(await self._rows("forget", forget_values(place, last, up_to)))
            place = last
        return gone

    async def _begin_round(
        self, connection: AsyncConnection, effects: Sequence[Effect]
    ) -> tuple[set[str], str, Any]:
        """Mark what is there to be done, and set the savepoint for the first.

        Return the ids, what PostgreSQL calls the transaction that marked them, and the driver's connection.
        """
        await set_level(connection)
        await connection.execute(_LIMITS, limits_values(self.idle_seconds))
        marked = (await connection.execute(_TEXTS["mark"], ids_of(effects))).all()
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.execute(_SET)
        return {row[0] for row in marked}, marked[0][1] if marked else "", driver

    async def _run_all(
        self,
        connection: AsyncConnection,
        driver: Any,
        effects: Sequence[Effect],
        marked: set[str],
        run: Callable[[Tx, Effect], Awaitable[None]],
    ) -> Sequence[Performed]:
        told: list[Performed] = []
        for effect in effects:
            if effect.event_id not in marked:
                told.append(Performed(effect=effect))
                continue
            releasing = False
            try:
                async with asyncio.timeout(None) as ours:
                    async with self._lend(connection) as lent:
                        try:
                            await run(lent, effect)
                        finally:  # what follows is ours; a session is flushed first
                            ours.reschedule(asyncio.get_running_loop().time() + self.statement_seconds)
                    _check_closed(connection)
                    releasing = True
                    await driver.execute(_NEXT)
            except Exception as failure:  # noqa: BLE001 - a handler may raise anything; the caller is told
                try:
                    async with asyncio.timeout(self.statement_seconds):
                        while (left := connection.get_nested_transaction()) is not None:
                            await left.rollback()
                        await driver.execute(_UNDO)
                    _check_whole(connection)
                    if releasing:
                        _check_answered(failure)
                except Exception as error:  # noqa: BLE001 - whatever it is, the round is over
                    # The connection is lost, or the handler ended the transaction: nothing of it counts, unless it was
                    # committed, with every mark.
                    if sqlstate_of(error) in _ENDED:
                        done = {one.effect.event_id for one in told if one.done}
                        raise _Ended(failure, marked - done - {effect.event_id}) from None
                    raise failure  # noqa: B904 - what came of clearing up after it tells less
                told.append(Performed(effect=effect, failure=failure))
            else:
                told.append(Performed(effect=effect, done=True))
        return told

    async def _free(self, effects: Sequence[Effect], xid: str) -> None:
        """Make due again what a handler's own commit left marked and nobody ran. Nothing is, if it rolled back."""
        if not effects:
            return
        try:
            async with self._statement() as connection:
                await connection.execute(_FREE, {**ids_of(effects), "xid": xid})
        except LogUnavailable:
            logger.error(  # noqa: TRY400 - where it was raised says nothing
                "%s: a handler ended its transaction, and the database can't be reached: if it committed, these are "
                "called done and are not: %s",
                effects[0].handler,
                ", ".join(effect.event_id for effect in effects),
            )

    async def _rows(self, name: str, values: Values, *, seconds: float | None = None) -> Sequence[Any]:
        async with self._statement(seconds) as connection:
            return (await connection.execute(_TEXTS[name], values)).all()

    @asynccontextmanager
    async def _statement(self, seconds: float | None = None) -> AsyncIterator[AsyncConnection]:
        """Lend ourselves a transaction for our own statements, which have `statement_seconds` unless told otherwise."""
        try:
            # SQLAlchemy gives up a connection whose statement was cut off, and does not lend it again.
            async with (
                asyncio.timeout(seconds or self.statement_seconds),
                self._engine.connect() as connection,
            ):
                try:
                    await set_level(connection)
                    async with connection.begin():
                        await connection.execute(_LIMITS, limits_values(self.idle_seconds))
                        yield connection
                except Exception as error:
                    if only_reads(error):
                        await connection.invalidate()
                    raise
        except LogUnavailable:
            raise
        except Exception as error:
            raise unavailable(error) from error


@asynccontextmanager
async def open_async_effect_queue(url: str) -> AsyncIterator[AsyncEffectQueue[AsyncConnection]]:
    """Open a queue on the PostgreSQL database of a URL, with an engine that is closed with it."""
    # It needs asyncpg, which an embedder who has an engine need not have.
    from tillport.adapters.sql.postgres_engine import engine_on

    engine = engine_on(url)
    try:
        yield AsyncEffectQueue(engine)
    finally:
        await engine.dispose()


class _Ended(Exception):
    """A handler ended the transaction in plain SQL. `unrun` are the ids of those marks that nothing was done for."""

    def __init__(self, failure: Exception, unrun: set[str]) -> None:
        super().__init__()
        self.failure = failure
        self.unrun = unrun


class _guarded:  # noqa: N801 - reads as the words that it stands for
    """Refuse commits of a connection for as long as this lasts."""

    def __init__(self, connection: AsyncConnection) -> None:
        assert connection.sync_connection is not None
        self._connection = connection.sync_connection

    def __enter__(self) -> None:
        event.listen(self._connection, "commit", _refuse_commit)

    def __exit__(self, *_: object) -> None:
        event.remove(self._connection, "commit", _refuse_commit)


def _check_closed(connection: AsyncConnection) -> None:
    if connection.in_nested_transaction():
        raise RuntimeError("The handler left a savepoint open.")


def _check_whole(connection: AsyncConnection) -> None:
    if not connection.in_transaction():
        raise RuntimeError("The handler ended the transaction.")


def _check_answered(failure: Exception) -> None:
    # If it was released all the same, what was rolled back was the next savepoint, of which nothing had been written: what
    # the handler wrote is still there, and would stay without its mark.
    if sqlstate_of(failure) is None:
        raise RuntimeError("Nobody answered whether the savepoint was released.")


def _refuse_commit(_: Any) -> None:
    raise HandlerCommitted(
        "A handler must not commit the transaction that it was lent: the mark that it is done commits with it.",
        remedy="Leave the commit out; Tillport commits when the handler returns.",
    )


async def _to_its_end(clearing_up: Coroutine[Any, Any, None]) -> None:
    """Clear up even while we are being cancelled. What was lost already needs none."""
    task = asyncio.ensure_future(clearing_up)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
    except Exception:  # noqa: BLE001 - the connection is gone, and with it the transaction: the round says so
        return
