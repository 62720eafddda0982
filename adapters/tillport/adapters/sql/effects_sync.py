"""An effect queue over blocking calls: what SQLAlchemy's engine, DB-API and Django have in common.

A small `Stack` says how transactions and savepoints are made in each (`effects_stacks`, `effects_django`). The queue
runs on threads of its own, so that no event loop waits; handlers are plain functions and run on those threads.

Each handler runs in a savepoint that begins with its mark. Whatever a handler does with the transaction, its writes and
its mark go the same way: one that commits has committed its own mark, one that rolls back has undone it. The round is
then broken and raised, and what was not reached is tried again.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar, cast

import attrs
from sqlalchemy import Dialect

from tillport.adapters.sql.effects_statements import (
    BEGINNING,
    IDLE_SECONDS,
    LIMITS,
    STATEMENTS,
    EffectStatements,
    Place,
    Values,
    by_position,
    effect_of,
    enlist_values,
    forget_values,
    ids_of,
    limits_values,
    list_statement,
    postpone_values,
    standing_of,
    stretch_values,
    unavailable,
)
from tillport.adapters.sql.effects_tables import CREATION_LOCK, effects_ddl
from tillport.ports.effects import Effect, EffectState, Performed, Standing
from tillport.ports.errors import TillportError
from tillport.ports.event_log import LogUnavailable

Tx = TypeVar("Tx")
Tx_co = TypeVar("Tx_co", covariant=True)
R = TypeVar("R")

_CLOSING_SECONDS: Final = 10.0


class HandlerSuspended(TillportError):
    """A handler awaited something where the database blocks and no event loop runs."""

    code = "handler_suspended"


class Work(Protocol[Tx_co]):
    """A transaction under way, on the thread that began it."""

    def execute(self, statement: str, values: Values) -> Sequence[Sequence[Any]]:
        """Run one of our statements (named values) and return its rows, if it has any."""
        ...

    def savepoint(self) -> None:
        """Set a savepoint."""
        ...

    def release(self) -> None:
        """Release the latest savepoint. Raises if it is gone, because the transaction was ended."""
        ...

    def undo(self) -> None:
        """Roll back to the latest savepoint and release it. Raises likewise."""
        ...

    def lend(self) -> AbstractContextManager[Tx_co]:
        """Lend what a handler writes through."""
        ...


class Stack(Protocol[Tx_co]):
    """One way of reaching a database with blocking calls."""

    @property
    def dialect(self) -> Dialect:
        """Which statements it takes. May connect."""
        ...

    def transaction(self) -> AbstractContextManager[Work[Tx_co]]:
        """Begin; commit at the end, or roll back when something is raised. Raises what the database says.

        On SQLite it begins IMMEDIATE where that can be arranged.
        """
        ...

    def close(self) -> None:
        """Close what this thread holds open."""
        ...


@attrs.define(eq=False)
class SyncEffectQueue(Generic[Tx]):
    """An effect queue over a blocking stack, on `threads` threads of its own. `aclose` ends it.

    A thread that runs a handler is busy until the handler returns; another one serves the rest meanwhile. A driver that
    blocks can't be interrupted: how long one waits for a database that does not answer is up to the connection's owner.
    """

    _stack: Stack[Tx]
    threads: int = attrs.field(default=4, kw_only=True, validator=attrs.validators.ge(1))
    idle_seconds: float = attrs.field(default=IDLE_SECONDS, kw_only=True, validator=attrs.validators.gt(0))
    """How long a handler may say nothing to PostgreSQL, which then ends its transaction. More than a handler takes."""
    _pool: ThreadPoolExecutor = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="tillport-effects")

    async def create_tables(self) -> None:
        """Create what is missing of the tables. Many may do this at the same time."""

        def work(work: Work[Tx], _: EffectStatements) -> None:
            dialect = self._stack.dialect
            if dialect.name == "postgresql":
                work.execute(f"SELECT pg_advisory_xact_lock({CREATION_LOCK})", {})
            for statement in effects_ddl(dialect):
                work.execute(statement, {})

        await self._do(work)

    async def begin(self, handler: str, *, position: int) -> int:
        """See `EffectQueue.begin`."""

        def work(work: Work[Tx], sql: EffectStatements) -> int:
            work.execute(sql.begin, {"handler": handler, "position": position})
            return int(work.execute(sql.place, {"handler": handler})[0][0])

        return await self._do(work)

    async def enlist(self, handler: str, effects: Sequence[Effect], *, after: int, position: int) -> bool:
        """See `EffectQueue.enlist`."""

        def work(work: Work[Tx], sql: EffectStatements) -> bool:
            place = {"handler": handler, "after": after, "position": position}
            moved = bool(work.execute(sql.move, place))
            if moved and effects:
                work.execute(sql.enlist, enlist_values(handler, effects))
            return moved

        return await self._do(work)

    async def claim(self, handler: str, *, now: float, until: float, limit: int) -> Sequence[Effect]:
        """See `EffectQueue.claim`."""
        values = {"handler": handler, "now": float(now), "until": float(until), "limit": limit}
        return by_position(await self._do(lambda work, sql: work.execute(sql.claim, values)))

    async def give_back(self, effects: Sequence[Effect], *, now: float) -> None:
        """See `EffectQueue.give_back`."""
        if effects:
            values = {**ids_of(effects), "now": float(now)}
            await self._do(lambda work, sql: work.execute(sql.give_back, values))

    async def perform(
        self, effects: Sequence[Effect], run: Callable[[Tx, Effect], Awaitable[None]]
    ) -> Sequence[Performed]:
        """See `EffectQueue.perform`."""
        if not effects:
            return []
        return await self._on_thread(lambda: self._perform(effects, run))

    async def postpone(self, effect: Effect, *, error: str, due_at: float | None) -> None:
        """See `EffectQueue.postpone`."""
        values = postpone_values(effect, error, due_at)
        await self._do(lambda work, sql: work.execute(sql.postpone, values))

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
        rows = await self._do(lambda work, _: work.execute(statement, values))
        return [effect_of(row) for row in rows]

    async def retry(self, handler: str, event_id: str, *, now: float) -> bool:
        """See `EffectQueue.retry`."""
        values = {"handler": handler, "event_id": event_id, "now": float(now)}
        return bool(await self._do(lambda work, sql: work.execute(sql.retry, values)))

    async def skip(self, handler: str, event_id: str) -> bool:
        """See `EffectQueue.skip`."""
        values = {"handler": handler, "event_id": event_id}
        return bool(await self._do(lambda work, sql: work.execute(sql.skip, values)))

    async def standings(self) -> Sequence[Standing]:
        """See `EffectQueue.standings`."""
        return [standing_of(row) for row in await self._do(lambda work, sql: work.execute(sql.standings, {}))]

    async def forget(self, *, up_to: int) -> int:
        """See `EffectQueue.forget`."""
        gone, place = 0, BEGINNING
        while True:
            began = time.monotonic()
            found = await self._do(partial(_end_of_stretch, place=place))
            if not found:
                return gone
            last = (found[0][0], found[0][1])
            values = forget_values(place, last, up_to)
            gone += len(await self._do(partial(_forget, values=values)))
            place = last
            # On SQLite others who write look now and then whether they can: half of the time they must.
            await asyncio.sleep(time.monotonic() - began)

    async def aclose(self) -> None:
        """Finish what was begun, then close every connection that was opened."""
        await asyncio.to_thread(self._close)

    def _perform(
        self, effects: Sequence[Effect], run: Callable[[Tx, Effect], Awaitable[None]]
    ) -> Sequence[Performed]:
        begun = False

        def begin(lent: Tx, effect: Effect) -> Awaitable[None]:
            nonlocal begun
            begun = True
            return run(lent, effect)

        try:
            with self._transaction() as (work, sql):
                return [self._try(work, sql, effect, begin) for effect in effects]
        except Exception as error:
            if begun or isinstance(error, LogUnavailable):
                raise
            raise unavailable(error) from error

    def _try(
        self,
        work: Work[Tx],
        sql: EffectStatements,
        effect: Effect,
        run: Callable[[Tx, Effect], Awaitable[None]],
    ) -> Performed:
        work.savepoint()
        marked = work.execute(
            sql.mark, ids_of([effect])
        )  # if that fails, the handler has not: the round ends
        try:
            if marked:
                with work.lend() as lent:
                    drive(run(lent, effect))
        except Exception as failure:  # noqa: BLE001 - a handler may raise anything; the caller is told
            try:
                work.undo()
            except Exception:  # noqa: BLE001 - whatever it is, the round is over
                # The connection is lost, or the handler ended the transaction: nothing of it counts.
                raise failure  # noqa: B904 - what came of clearing up after it tells less
            return Performed(effect=effect, failure=failure)
        work.release()
        return Performed(effect=effect, done=bool(marked))

    async def _do(self, work: Callable[[Work[Tx], EffectStatements], R]) -> R:
        """Run statements of our own in a transaction."""

        def on_thread() -> R:
            try:
                with self._transaction() as (begun, sql):
                    return work(begun, sql)
            except LogUnavailable:
                raise
            except Exception as error:
                raise unavailable(error) from error

        return await self._on_thread(on_thread)

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Work[Tx], EffectStatements]]:
        with self._stack.transaction() as work:
            dialect = self._stack.dialect.name
            if dialect == "postgresql":
                work.execute(LIMITS, limits_values(self.idle_seconds))
            yield work, STATEMENTS[dialect]

    async def _on_thread(self, call: Callable[[], R]) -> R:
        try:
            future = self._pool.submit(call)
        except RuntimeError as error:
            raise LogUnavailable("The effect queue was closed.") from error
        return await asyncio.wrap_future(future)

    def _close(self) -> None:
        # Each thread closes its own connections, for some may be closed nowhere else: so all must meet.
        meeting = threading.Barrier(self.threads)

        def close() -> None:
            with suppress(threading.BrokenBarrierError):  # a handler that never returns has a thread still
                meeting.wait(_CLOSING_SECONDS)
            self._stack.close()

        futures = [self._pool.submit(close) for _ in range(self.threads)]
        self._pool.shutdown(wait=False)
        for future in futures:
            if not future.cancelled():
                future.exception(2 * _CLOSING_SECONDS)


def refuse_other_databases(name: str) -> None:
    """Raise `ValueError` for a dialect that has no statements here: it would look like a database that is away."""
    if name not in STATEMENTS:
        raise ValueError(
            f"Effects are kept in SQLite or PostgreSQL, not in {name}: give them a database of their own."
        )


def _end_of_stretch(work: Work[Any], sql: EffectStatements, *, place: Place) -> Sequence[Sequence[Any]]:
    return work.execute(sql.stretch, stretch_values(place))


def _forget(work: Work[Any], sql: EffectStatements, *, values: Values) -> Sequence[Sequence[Any]]:
    return work.execute(sql.forget, values)


def drive(doing: Awaitable[None]) -> None:
    """Run a coroutine that never suspends, where there is no event loop."""
    coroutine = cast("Coroutine[Any, Any, None]", doing)
    try:
        coroutine.send(None)
    except StopIteration:
        return
    except RuntimeError as error:
        if str(error) != "no running event loop":  # asyncio has no type for that
            raise
        raise _suspended() from error
    coroutine.close()
    raise _suspended()


def _suspended() -> HandlerSuspended:
    return HandlerSuspended(
        "A handler awaited something, and this queue's database blocks: there is no event loop.",
        remedy="Register a plain function, or use AsyncEffectQueue.",
    )
