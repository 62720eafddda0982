"""Open the store that a database URL names: event log, ledger and cursors, and how they are closed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from tillport.adapters.compose.database_url import problem_of
from tillport.adapters.compose.secret import Secret, as_secret
from tillport.adapters.compose.settings import SettingsRefused
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.runtime import SystemClock
from tillport.ports.attempts import AttemptBook
from tillport.ports.clock import Clock
from tillport.ports.cursors import Cursors
from tillport.ports.doorbell import Doorbell
from tillport.ports.effects import Standing
from tillport.ports.event_log import EventLog
from tillport.ports.ledger import ChargeLedger


@attrs.frozen(kw_only=True)
class Stores:
    """What is durable, and the doorbell that reaches as far as the store does."""

    log: EventLog
    ledger: ChargeLedger
    cursors: Cursors
    attempts: AttemptBook
    doorbell: Doorbell
    log_rings: bool = False
    """Whether `log` rings the doorbell by itself for what is recorded through it."""
    standings: Callable[[], Coroutine[Any, Any, Sequence[Standing]]] | None = None
    """Tells how the handlers fare whose effects are kept beside the log, if it is a database that may hold some."""


def sqlite_path(database_url: str) -> Path:
    """Return the file that a SQLite URL names: three slashes for a path from here, four for one from the root.

    Raises `SettingsRefused` for a URL that names none.

    >>> sqlite_path("sqlite:///till.sqlite3"), sqlite_path("sqlite:////var/lib/till.sqlite3")
    (PosixPath('till.sqlite3'), PosixPath('/var/lib/till.sqlite3'))
    """
    path = database_url.removeprefix("sqlite:///")
    if path == database_url or not path or path.startswith(":") or "?" in path:
        raise SettingsRefused(
            "The database URL names no SQLite file.",
            remedy="Write it as sqlite:///tillport.sqlite3, or with four slashes for a path from the root.",
        )
    return Path(path)


def readable(database_url: Secret) -> str:
    """Return a database URL that can be read. Raises `SettingsRefused`, which does not quote it."""
    url = database_url.reveal()
    if (problem := problem_of(url)) is not None:
        raise SettingsRefused(f"The database URL {problem[0]}", remedy=problem[1])
    return url


def system_clock() -> Clock:
    """Return the machine's clock."""
    return SystemClock()


@asynccontextmanager
async def open_stores(
    database_url: Secret | str, clock: Clock, *, writes_apart: bool = False, all_placed: bool = False
) -> AsyncIterator[Stores]:
    """Open the store, and close it on the way out. Raises `SettingsRefused` for a URL that can't be served.

    With `writes_apart` a process of its own writes to a SQLite file (`tillport.adapters.sql.sqlite_process`). With
    `all_placed` what hosts have committed on PostgreSQL can be read from the first moment; else it is a moment later, if no
    service runs: for who reads once and goes.
    """
    url = readable(as_secret(database_url))
    if url.startswith("sqlite"):
        opened = _sqlite(sqlite_path(url), clock, writes_apart=writes_apart)
    else:
        opened = _postgres(url, clock, all_placed=all_placed)
    async with opened as stores:
        yield stores


@asynccontextmanager
async def _sqlite(path: Path, clock: Clock, *, writes_apart: bool) -> AsyncIterator[Stores]:
    _check_folder(path)
    from tillport.adapters.sql.own_events import OwnEvents
    from tillport.adapters.sql.sqlite import SqliteCursors, SqliteEventLog, SqliteLedger
    from tillport.adapters.sql.sqlite_attempts import sqlite_attempts
    from tillport.adapters.sql.sqlite_standings import sqlite_standings
    from tillport.adapters.sql.sqlite_store import SqliteStore

    store = SqliteStore(path, writes_apart=writes_apart)
    try:
        yield Stores(
            log=SqliteEventLog(store, own=OwnEvents()),
            ledger=SqliteLedger(store),
            cursors=SqliteCursors(store),
            attempts=sqlite_attempts(store),
            doorbell=LocalDoorbell(clock),
            standings=partial(sqlite_standings, store),
        )
    finally:
        await store.aclose()


@asynccontextmanager
async def _postgres(url: str, clock: Clock, *, all_placed: bool) -> AsyncIterator[Stores]:
    from tillport.adapters.sql.own_events import OwnEvents
    from tillport.adapters.sql.postgres import PostgresCursors, PostgresEventLog, PostgresLedger
    from tillport.adapters.sql.postgres_attempts import postgres_attempts
    from tillport.adapters.sql.postgres_doorbell import PostgresDoorbell
    from tillport.adapters.sql.postgres_standings import postgres_standings
    from tillport.adapters.sql.postgres_store import PostgresStore, StoreUnavailable, ValuesRefused

    store = PostgresStore(url)
    log = PostgresEventLog(store, own=OwnEvents())
    bell = PostgresDoorbell(store, log.sequencer, clock)
    if all_placed:
        with suppress(
            StoreUnavailable, ValuesRefused
        ):  # whoever reads is told; a server that only reads places nothing
            await log.sequencer.sweep(at_once=True)
    tending = asyncio.create_task(bell.run(), name="tillport doorbell")
    try:
        yield Stores(
            log=log,
            ledger=PostgresLedger(store),
            cursors=PostgresCursors(store),
            attempts=postgres_attempts(store),
            doorbell=bell,
            log_rings=True,
            standings=partial(postgres_standings, store),
        )
    finally:
        tending.cancel()
        await asyncio.wait([tending])
        await log.sequencer.idle()  # what was recorded gets its position before we go
        await store.aclose()


def _check_folder(path: Path) -> None:
    folder = path.absolute().parent
    if not folder.is_dir():
        raise SettingsRefused(
            f"The folder of the database file is not there: {folder}.", remedy="Create it first."
        )
