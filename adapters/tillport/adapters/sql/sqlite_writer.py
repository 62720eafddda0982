"""Who writes to a SQLite file: one connection, the commits on it, and what must be done now and then after them.

* Every write is a `BEGIN IMMEDIATE` … `COMMIT`: a transaction that began by reading and then wants to write would fail
  whenever somebody else wrote in between.
* Writes that came together share a commit, each behind a savepoint of its own: a batch of events, a relay's cursor and
  two charges cost the disk one wait, not four.
* What the commits appended to the write-ahead log is copied into the file (a *checkpoint*) by a thread of its own, so
  that no request waits for it. Only the few pages that were appended meanwhile are left to the writer: once all of it is
  copied the log begins anew, and stays so small that it never leaves the machine's memory.
* A connection that failed is not trusted again: it is closed, and the next write opens another. So a disk that was
  full or a file that was locked costs the calls that met it, and nothing after that.

It knows nothing of those who wait: `sqlite_store` has it in a thread, `sqlite_child` in a process.
"""

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import attrs

from tillport.adapters.sql.sqlite_file import (
    SqliteFile,
    in_transaction,
    is_about_the_values,
    is_busy,
    one_for_each,
    unavailable,
)

SHARED_COMMIT_MAX: Final = 64
"""How many writes may share a commit, so that the first of them does not wait for ever."""

COMMITS_PER_CHECKPOINT: Final = 32
"""Some thousand pages under load, which is when SQLite itself would copy them: while a request waits."""

_CHECKPOINT: Final = "PRAGMA wal_checkpoint(PASSIVE)"


class Write(NamedTuple):
    """Something to write. `once` says that a single statement of `work` writes.

    It needs no transaction around it where nobody shares the commit, which saves two of the moments at which a thread has to
    get the interpreter back.
    """

    work: Callable[[sqlite3.Connection], Any]
    once: bool = False


Answer: TypeAlias = tuple[Any, BaseException | None]
"""What came of a write: what it returned, or what it raised."""


class Awaited(Protocol):
    """What somebody waits for: a future of a thread's, or of an event loop's."""

    def done(self) -> bool: ...
    def set_result(self, result: Any, /) -> None: ...
    def set_exception(self, exception: BaseException, /) -> None: ...


def settle(waits: Awaited, answer: Answer) -> None:
    """Give an answer to whoever waits for it, unless they went away."""
    returned, failure = answer
    if waits.done():
        return
    if failure is None:
        waits.set_result(returned)
    else:
        waits.set_exception(failure)


@attrs.define(eq=False)
class Writer:
    """The one who writes. Belongs to one thread, but for `close`."""

    _file: SqliteFile
    _connection: sqlite3.Connection | None = attrs.field(init=False, default=None)
    _commits: int = attrs.field(init=False, default=0)
    """Since the log was last copied."""
    _copying: ThreadPoolExecutor = attrs.field(init=False)
    _copier: sqlite3.Connection | None = attrs.field(init=False, default=None)
    _copied: "Future[None] | None" = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._copying = ThreadPoolExecutor(1, thread_name_prefix="tillport-sqlite-checkpoint")

    def commit(self, writes: Sequence[Write]) -> list[Answer]:
        """Commit them together, and return what came of each: with an error, nothing of that one is committed."""
        try:
            return self._commit(writes)
        except BaseException as error:  # noqa: BLE001 - it is told to those whom it concerns
            return [(None, one_for_each(error) if len(writes) > 1 else error) for _ in writes]

    def copy_back(self) -> None:
        """Have the log copied into the file if it is time. To be called after each commit, once it is answered."""
        self._commits += 1
        if self._copied is None:
            if self._commits >= COMMITS_PER_CHECKPOINT:
                if self._connection is not None:
                    with suppress(sqlite3.Error):  # as below
                        # If somebody was in the way when it was opened. Here, where no commit of ours can be.
                        self._file.use_wal(self._connection)
                with suppress(RuntimeError):  # the interpreter ends: whoever opens the file next copies it
                    self._copied = self._copying.submit(self._copy)
        elif self._copied.done():
            self._copied, self._commits = None, 0
            if self._connection is not None:
                with suppress(sqlite3.Error):  # whatever ails the file, the next write meets it, and tells
                    self._connection.execute(_CHECKPOINT).fetchall()

    def close(self) -> None:
        """Close the connections. Nothing is being written any more."""
        self._copying.shutdown(wait=True)
        _close(self._copier)
        _close(self._connection)
        self._copier = self._connection = None

    def _commit(self, writes: Sequence[Write]) -> list[Answer]:
        try:
            if self._connection is None:
                self._connection = self._file.connect(for_writing=True)
            if len(writes) == 1 and writes[0].once:
                return [(writes[0].work(self._connection), None)]
            return in_transaction(self._connection, "BEGIN IMMEDIATE", lambda db: _run_all(db, writes))
        except sqlite3.Error as error:
            if is_about_the_values(error):
                raise
            if not is_busy(error):
                _close(self._connection)
                self._connection = None
            raise unavailable(error) from error

    def _copy(self) -> None:
        try:
            if self._copier is None:
                self._copier = self._file.connect(for_writing=True)
            self._copier.execute(_CHECKPOINT).fetchall()
        except sqlite3.Error:  # as in `copy_back`
            _close(self._copier)
            self._copier = None


def _run_all(connection: sqlite3.Connection, writes: Sequence[Write]) -> list[Answer]:
    if len(writes) == 1:
        return [(writes[0].work(connection), None)]  # the transaction is its own
    return [_apart(connection, write) for write in writes]


def _apart(connection: sqlite3.Connection, write: Write) -> Answer:
    """Run one of the writes that share a commit. What it raises undoes its own work and nobody else's.

    Raises `sqlite3.Error` where the file is at fault, not the work: that concerns everybody.
    """
    connection.execute("SAVEPOINT apart")
    try:
        answer = write.work(connection)
    except Exception as error:
        if isinstance(error, sqlite3.Error) and not is_about_the_values(error):
            raise
        connection.execute("ROLLBACK TO apart")
        connection.execute("RELEASE apart")
        return None, error
    connection.execute("RELEASE apart")
    return answer, None


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        with suppress(sqlite3.Error):  # it failed before, and nothing of it is used again
            connection.close()
