"""One SQLite file for many callers: who may touch it, and on which thread.

* One writes at a time (`sqlite_writer`), in a thread, or in a process of its own (`sqlite_process`) for a service.
* What waits to be written while a commit is in flight shares the next one.
* Reads have threads and connections of their own. As a writer's, a connection that failed is not used again.
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
from typing import Any, Final, TypeVar

import attrs
from sqlalchemy.dialects import sqlite

from tillport.adapters.sql.sqlite_file import (
    BUSY_TIMEOUT_SECONDS,
    SqliteFile,
    StoreUnavailable,
    in_transaction,
    is_about_the_values,
    is_busy,
    unavailable,
)
from tillport.adapters.sql.sqlite_process import WriterProcess
from tillport.adapters.sql.sqlite_thread import Hand
from tillport.adapters.sql.sqlite_writer import SHARED_COMMIT_MAX, Answer, Write, Writer, settle

T = TypeVar("T")

SQLITE: Final = sqlite.dialect(paramstyle="qmark")
"""The dialect that every statement of ours for SQLite is compiled for."""


@attrs.frozen(eq=False)
class _Job:
    """A write that waits for its commit, and who waits for it: the caller's thread, or a task of an event loop."""

    write: Write
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
    writes_apart: bool = attrs.field(default=False, kw_only=True)
    """Whether a process of its own writes: for a service on one event loop. Not on Windows, and not for who blocks."""
    _reader_count: int = attrs.field(default=2, kw_only=True, alias="reader_count")
    _file: SqliteFile = attrs.field(init=False)
    _process: WriterProcess | None = attrs.field(init=False, default=None)
    _writer: Writer = attrs.field(init=False)
    _writing: Hand = attrs.field(init=False)
    _jobs: deque[_Job] = attrs.field(init=False, factory=deque)
    _reading: ThreadPoolExecutor = attrs.field(init=False)
    _readers: threading.local = attrs.field(init=False, factory=threading.local)
    _open: set[sqlite3.Connection] = attrs.field(init=False, factory=set)
    """The readers' connections."""
    _closed: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._file = SqliteFile(self.path, self.busy_timeout_seconds, self.creates)
        if self.writes_apart:
            assert not self.blocking, "its answers come to an event loop"
            self._process = WriterProcess(self._file)
        self._writer = Writer(self._file)
        self._writing = Hand("tillport-sqlite-writer")
        self._reading = ThreadPoolExecutor(self._reader_count, thread_name_prefix="tillport-sqlite-reader")

    async def write(self, work: Callable[[sqlite3.Connection], T], *, writes_once: bool = False) -> T:
        """Run `work` in a transaction and commit it before returning.

        `writes_once` says that a single statement of `work` writes. With `writes_apart` it runs in the other process, and
        is such as can be pickled.

        Raises `StoreUnavailable` if it may not be committed, and what `work` raises, then nothing of it is committed
        either. A caller that is cancelled does not stop a transaction that has begun.
        """
        self._check_open()
        write = Write(work, writes_once)
        answer: asyncio.Future[T]
        if self._process is not None:
            answer = self._process.begin(write)
        elif self.blocking:
            waits: Future[T] = Future()
            self._begin(_Job(write, waits, None))
            return waits.result()
        else:
            loop = asyncio.get_running_loop()
            answer = loop.create_future()
            self._begin(_Job(write, answer, loop))
        return await answer

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
            return
        if self._process is not None:
            await self._process.aclose()
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
        _tell(jobs, self._writer.commit([job.write for job in jobs]))
        self._writer.copy_back()

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._readers, "connection", None)
        try:
            if connection is None:
                connection = self._file.connect(for_writing=False)
                self._open.add(connection)
                self._readers.connection = connection
            return in_transaction(connection, "BEGIN", work)
        except sqlite3.Error as error:
            if is_about_the_values(error):
                raise
            if connection is not None and not is_busy(error):
                self._discard(connection)
                self._readers.connection = None
            raise unavailable(error) from error

    def _discard(self, connection: sqlite3.Connection) -> None:
        self._open.discard(connection)
        with suppress(sqlite3.Error):  # it failed before, and nothing of it is used again
            connection.close()

    def _close(self) -> None:
        self._writing.close()
        self._reading.shutdown(wait=True)
        self._writer.close()
        for connection in list(self._open):
            self._discard(connection)


def _tell(jobs: list[_Job], answers: list[Answer]) -> None:
    """Answer everybody, from the writer's thread: those of one event loop together, because each call wakes it."""
    together: dict[asyncio.AbstractEventLoop, list[tuple[_Job, Answer]]] = {}
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


def _settle(settled: list[tuple[_Job, Answer]]) -> None:
    for job, answer in settled:
        settle(job.answer, answer)
