"""One SQLite file, opened the way that loses nothing: who may touch it, on which thread, and what its errors mean.

* One thread writes, with one connection. Every write is a `BEGIN IMMEDIATE` … `COMMIT`: a transaction that began
  by reading and then wants to write would fail whenever somebody else wrote in between.
* What waits to be written while a commit is in flight shares the next one, each behind a savepoint of its own: a
  batch of events, a relay's cursor and two charges cost the disk one wait, not four.
* What the commits appended to the write-ahead log is copied into the file by a thread of its own (a *checkpoint*), so
  that no request waits for that. Only a log that grew beyond all measure is copied by the writer itself.
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
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import attrs
from sqlalchemy.dialects import sqlite

from tillport.adapters.sql.creation import create_sqlite
from tillport.adapters.sql.sqlite_thread import Hand

T = TypeVar("T")

SQLITE: Final = sqlite.dialect(paramstyle="qmark")
"""The dialect that every statement of ours for SQLite is compiled for."""

BUSY_TIMEOUT_SECONDS: Final = 5.0
"""How long a write waits for another process's write: longer than any commit takes, shorter than Stripe waits."""


SHARED_COMMIT_MAX: Final = 64
"""How many writes may share a commit, so that the first of them does not wait for ever."""


COMMITS_PER_CHECKPOINT: Final = 32
"""Some thousand pages under load, which is when SQLite itself would copy them: while a request waits."""

WRITER_CACHE_KILOBYTES: Final = 32_768
"""The upper pages of six indexes over millions of events; SQLite's own 2 MB hold those of a small table."""

WAL_PAGES_MAX: Final = 16_384
"""64 MB: from there on the writer stops to copy what the other thread has not copied yet."""


class StoreUnavailable(Exception):
    """The file can't be read or written now. What was being written is not there."""


_Answer: TypeAlias = tuple[Any, BaseException | None]
"""What came of a write: what it returned, or what it raised."""


@attrs.frozen(eq=False)
class _Job:
    """A write that waits for its commit, and who waits for it: the caller's thread, or a task of an event loop."""

    work: Callable[[sqlite3.Connection], Any]
    writes_once: bool
    answer: "Future[Any] | asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop | None

    def begins(self) -> bool:
        """Tell whether somebody still waits for it. From then on it is not left out any more."""
        if isinstance(self.answer, Future):
            return self.answer.set_running_or_notify_cancel()
        return not self.answer.cancelled()


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
    blocking: bool = attrs.field(default=False, kw_only=True)
    """Whether a caller's thread waits, and no event loop: for `tillport.domain.run` in Flask, Django or a script."""
    _reader_count: int = attrs.field(default=2, kw_only=True, alias="reader_count")
    _writing: Hand = attrs.field(init=False)
    _reading: ThreadPoolExecutor = attrs.field(init=False)
    _copying: ThreadPoolExecutor = attrs.field(init=False)
    _copier: sqlite3.Connection | None = attrs.field(init=False, default=None)
    _commits: int = attrs.field(init=False, default=0)
    _copied: "Future[None] | None" = attrs.field(init=False, default=None)
    _jobs: deque[_Job] = attrs.field(init=False, factory=deque)
    _closed: bool = attrs.field(init=False, default=False)
    _writer: sqlite3.Connection | None = attrs.field(init=False, default=None)
    _readers: threading.local = attrs.field(init=False, factory=threading.local)
    _open: set[sqlite3.Connection] = attrs.field(init=False, factory=set)

    def __attrs_post_init__(self) -> None:
        self._writing = Hand("tillport-sqlite-writer")
        self._reading = ThreadPoolExecutor(self._reader_count, thread_name_prefix="tillport-sqlite-reader")
        self._copying = ThreadPoolExecutor(1, thread_name_prefix="tillport-sqlite-checkpoint")

    async def write(self, work: Callable[[sqlite3.Connection], T], *, writes_once: bool = False) -> T:
        """Run `work` in a transaction and commit it before returning.

        `writes_once` says that a single statement of `work` writes: it needs no transaction around it where nobody
        shares the commit, which saves two of the moments at which the thread has to get the interpreter back.

        Raises `StoreUnavailable` if it is not committed, and what `work` raises, then nothing of it is committed
        either. A caller that is cancelled does not stop a transaction that has begun.
        """
        self._check_open()
        if self.blocking:
            waits: Future[T] = Future()
            self._begin(_Job(work, writes_once, waits, None))
            return waits.result()
        loop = asyncio.get_running_loop()
        told: asyncio.Future[T] = loop.create_future()
        self._begin(_Job(work, writes_once, told, loop))
        return await told

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on one snapshot of the file. Raises `StoreUnavailable`."""
        self._check_open()
        found = self._reading.submit(self._read, work)
        if self.blocking:
            return found.result()
        return await asyncio.wrap_future(found, loop=asyncio.get_running_loop())

    async def aclose(self) -> None:
        """Finish what was begun, then close every connection."""
        self._closed = True
        if self.blocking:
            self._close()
        else:
            await asyncio.to_thread(self._close)

    def _begin(self, job: _Job) -> None:
        self._jobs.append(job)
        try:
            self._writing.call(self._write_waiting)
        except RuntimeError as error:
            raise StoreUnavailable("The database was closed.") from error

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("The database was closed.")

    def _write_waiting(self) -> None:
        jobs: list[_Job] = []
        while self._jobs and len(jobs) < SHARED_COMMIT_MAX:
            job = self._jobs.popleft()
            if job.begins():
                jobs.append(job)
        if not jobs:
            return  # they shared an earlier commit
        try:
            answers = self._write(jobs)
        except BaseException as error:  # noqa: BLE001 - it is told to those whom it concerns
            _tell(jobs, [(None, _same(error) if len(jobs) > 1 else error) for _ in jobs])
            return
        _tell(jobs, answers)
        self._commits += 1
        if self._commits >= COMMITS_PER_CHECKPOINT and (self._copied is None or self._copied.done()):
            self._commits = 0
            with suppress(RuntimeError):  # the interpreter ends: whoever opens the file next copies it
                self._copied = self._copying.submit(self._checkpoint)

    def _checkpoint(self) -> None:
        try:
            if self._copier is None:
                self._copier = self._connect(for_writing=True)
            self._copier.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:  # whatever ails the file, the writer meets it too and tells whom it concerns
            if self._copier is not None:
                self._discard(self._copier)
                self._copier = None

    def _write(self, jobs: list[_Job]) -> list[_Answer]:
        try:
            if self._writer is None:
                self._writer = self._connect(for_writing=True)
            if len(jobs) == 1 and jobs[0].writes_once:
                return [(jobs[0].work(self._writer), None)]
            return _in_transaction(self._writer, "BEGIN IMMEDIATE", lambda db: _run_all(db, jobs))
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
            if for_writing:
                connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES_MAX:d}")
                connection.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KILOBYTES:d}")
            else:
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
        self._writing.close()
        self._reading.shutdown(wait=True)
        self._copying.shutdown(wait=True)
        for connection in list(self._open):
            self._discard(connection)
        self._writer = self._copier = None


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


def _run_all(connection: sqlite3.Connection, jobs: list[_Job]) -> list[_Answer]:
    if len(jobs) == 1:
        return [(jobs[0].work(connection), None)]  # the transaction is its own
    return [_apart(connection, job) for job in jobs]


def _apart(connection: sqlite3.Connection, job: _Job) -> _Answer:
    """Run one of the writes that share a commit. What it raises undoes its own work and nobody else's.

    Raises `sqlite3.Error` where the file is at fault, not the work: that concerns everybody.
    """
    connection.execute("SAVEPOINT apart")
    try:
        answer = job.work(connection)
    except Exception as error:
        if isinstance(error, sqlite3.Error) and not is_about_the_values(error):
            raise
        connection.execute("ROLLBACK TO apart")
        connection.execute("RELEASE apart")
        return None, error
    connection.execute("RELEASE apart")
    return answer, None


def _tell(jobs: list[_Job], answers: list[_Answer]) -> None:
    """Answer everybody, from the writer's thread: those of one event loop together, because each call wakes it."""
    together: dict[asyncio.AbstractEventLoop, list[tuple[_Job, _Answer]]] = {}
    for job, answer in zip(jobs, answers, strict=True):
        if job.loop is None:
            _settle([(job, answer)])
        else:
            together.setdefault(job.loop, []).append((job, answer))
    for loop, settled in together.items():
        try:
            loop.call_soon_threadsafe(_settle, settled)
        except RuntimeError:
            continue  # that loop is closed: nobody waits there any more


def _settle(settled: list[tuple[_Job, _Answer]]) -> None:
    for job, (answer, failure) in settled:
        if job.answer.done():
            continue  # its caller went away meanwhile
        if failure is None:
            job.answer.set_result(answer)
        else:
            job.answer.set_exception(failure)


def _same(error: BaseException) -> BaseException:
    """Return the error for one of several callers, who would otherwise gather their tracebacks in one object."""
    if not isinstance(error, StoreUnavailable):
        return error
    copy = StoreUnavailable(*error.args)
    copy.__cause__ = error.__cause__
    return copy


def is_about_the_values(error: sqlite3.Error) -> bool:
    """Tell whether the values were at fault, so that the same call would fail again."""
    return isinstance(error, sqlite3.IntegrityError | sqlite3.DataError)


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _unavailable(error: sqlite3.Error) -> StoreUnavailable:
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreUnavailable(f"SQLite says {name}: {error}.")
