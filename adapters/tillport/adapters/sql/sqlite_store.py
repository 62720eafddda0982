"""One SQLite file, opened the way that loses nothing: who may touch it, on which thread, and what its errors mean.

* One thread writes, with one connection. Every write is a `BEGIN IMMEDIATE` … `COMMIT`: a transaction that began
  by reading and then wants to write would fail whenever somebody else wrote in between.
* Reads have threads and connections of their own; in WAL mode they see the last commit and wait for nobody.
* `synchronous=FULL` makes COMMIT wait for the disk. In WAL mode SQLite's usual setting would not.
* A connection that failed is not trusted again: it is closed, and the next call opens another. So a disk that was
  full or a file that was locked costs the calls that met it, and nothing after that.
* A thread that runs SQL lets go of the interpreter at every step and may wait 5 ms to get it back when the event
  loop is busy. Statements here therefore handle whole batches in one step where rates matter.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import attrs
from sqlalchemy.dialects import sqlite

from tillport.adapters.sql.creation import create_sqlite

T = TypeVar("T")

SQLITE: Final = sqlite.dialect(paramstyle="qmark")
"""The dialect that every statement of ours for SQLite is compiled for."""

BUSY_TIMEOUT_SECONDS: Final = 5.0
"""How long a write waits for another process's write: longer than any commit takes, shorter than Stripe waits."""


class StoreUnavailable(Exception):
    """The file can't be read or written now. What was being written is not there."""


@attrs.define(eq=False)
class SqliteStore:
    """Run work on one SQLite file. Opens by itself at the first call; `aclose` ends it.

    >>> import tempfile
    >>> async def example() -> int:
    ...     store = SqliteStore(Path(tempfile.mkdtemp()) / "till.sqlite3")
    ...     try:
    ...         rows = await store.read(
    ...             lambda db: db.execute('SELECT count(*) FROM "StripeEvents"').fetchone()
    ...         )
    ...     finally:
    ...         await store.aclose()
    ...     return rows[0]
    >>> asyncio.run(example())
    0
    """

    path: Path = attrs.field(converter=Path)
    busy_timeout_seconds: float = attrs.field(default=BUSY_TIMEOUT_SECONDS, kw_only=True)
    creates: bool = attrs.field(default=True, kw_only=True)
    """Whether a file without tables gets them. A host whose own migrations hold the tables says no."""
    _reader_count: int = attrs.field(default=2, kw_only=True)
    _writing: ThreadPoolExecutor = attrs.field(init=False)
    _reading: ThreadPoolExecutor = attrs.field(init=False)
    _writer: sqlite3.Connection | None = attrs.field(init=False, default=None)
    _readers: threading.local = attrs.field(init=False, factory=threading.local)
    _open: set[sqlite3.Connection] = attrs.field(init=False, factory=set)

    def __attrs_post_init__(self) -> None:
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="tillport-sqlite-writer")
        self._reading = ThreadPoolExecutor(self._reader_count, thread_name_prefix="tillport-sqlite-reader")

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction of its own and commit it before returning.

        Raises `StoreUnavailable` if it is not committed, and what `work` raises, then nothing is committed either.
        A caller that is cancelled does not stop a transaction that has begun.
        """
        return await self._on(self._writing, lambda: self._write(work))

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on one snapshot of the file. Raises `StoreUnavailable`."""
        return await self._on(self._reading, lambda: self._read(work))

    async def aclose(self) -> None:
        """Finish what was begun, then close every connection."""
        await asyncio.to_thread(self._close)

    async def _on(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        try:
            future = pool.submit(call)
        except RuntimeError as error:
            raise StoreUnavailable("The database was closed.") from error
        return await asyncio.wrap_future(future)

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._writer is None:
                self._writer = self._connect(for_writing=True)
            return _in_transaction(self._writer, "BEGIN IMMEDIATE", work)
        except sqlite3.Error as error:
            if is_about_the_values(error):
                raise
            if self._writer is not None and not _is_busy(error):
                self._discard(self._writer)
                self._writer = None
            raise _unavailable(error) from error

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._readers, "connection", None)
        try:
            if connection is None:
                connection = self._connect(for_writing=False)
                self._readers.connection = connection
            return _in_transaction(connection, "BEGIN", work)
        except sqlite3.Error as error:
            if is_about_the_values(error):
                raise
            if connection is not None and not _is_busy(error):
                self._discard(connection)
                self._readers.connection = None
            raise _unavailable(error) from error

    def _connect(self, *, for_writing: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=self.busy_timeout_seconds,
            isolation_level=None,  # transactions begin where we say so
            check_same_thread=False,  # each stays on its thread; only closing happens elsewhere
            cached_statements=256,
        )
        try:
            connection.execute("PRAGMA synchronous=FULL")
            if self.creates:
                create_sqlite(connection)
            if not for_writing:
                connection.execute("PRAGMA query_only=ON")
        except BaseException:
            connection.close()
            raise
        self._open.add(connection)
        return connection

    def _discard(self, connection: sqlite3.Connection) -> None:
        self._open.discard(connection)
        try:
            connection.close()
        except sqlite3.Error:
            return  # it failed before, and nothing of it is used again

    def _close(self) -> None:
        self._writing.shutdown(wait=True)
        self._reading.shutdown(wait=True)
        for connection in list(self._open):
            self._discard(connection)
        self._writer = None


def _in_transaction(connection: sqlite3.Connection, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute(begin)
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def is_about_the_values(error: sqlite3.Error) -> bool:
    """Tell whether the values were at fault, so that the same call would fail again."""
    return isinstance(error, sqlite3.IntegrityError | sqlite3.DataError)


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _unavailable(error: sqlite3.Error) -> StoreUnavailable:
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreUnavailable(f"SQLite says {name}: {error}.")
