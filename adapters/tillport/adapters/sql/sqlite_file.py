"""A SQLite file, opened the way that loses nothing, and what its errors mean.

`synchronous=FULL` makes COMMIT wait for the disk; in WAL mode SQLite's usual setting would not. Readers see the last
commit and wait for nobody.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, TypeVar

import attrs

T = TypeVar("T")

BUSY_TIMEOUT_SECONDS: Final = 5.0
"""How long a write waits for another process's write: longer than any commit takes, shorter than Stripe waits."""

WRITER_CACHE_KILOBYTES: Final = 32_768
"""The upper pages of six indexes over millions of events; SQLite's own 2 MB hold those of a small table."""

WAL_PAGES_MAX: Final = 16_384
"""64 MB: a log of this length is copied into the file by a commit itself, whoever waits for it."""


class StoreUnavailable(Exception):
    """The file can't be read or written now. Nothing of what was being written is to be taken as written."""


@attrs.frozen
class SqliteFile:
    """Where the file is, and how it is opened."""

    path: Path
    busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS
    creates: bool = True
    """Whether a file without tables gets them."""

    def connect(self, *, for_writing: bool) -> sqlite3.Connection:
        """Open it. Raises `sqlite3.Error`."""
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
                # Here, because the process that only writes (`sqlite_child`) has no use for all that this imports.
                from tillport.adapters.sql.creation import create_sqlite

                create_sqlite(connection)
            if for_writing:
                self.use_wal(connection)
                # What was erased is overwritten. Some builds of SQLite do so by themselves, others leave it readable.
                connection.execute("PRAGMA secure_delete=ON")
                connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES_MAX:d}")
                connection.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KILOBYTES:d}")
            else:
                connection.execute("PRAGMA query_only=ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch a file to WAL that is not in it: one that `db upgrade` made, or a copy. It stays in it.

        That needs the file for itself. Whoever has it now is not waited for, and holds up no write: whatever is the
        matter, writing goes on as the file is, and the writer tries again now and then. Raises `sqlite3.Error` if the
        file can't be read.
        """
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            return
        connection.execute("PRAGMA busy_timeout=0")
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
        connection.execute(f"PRAGMA busy_timeout={self.busy_timeout_seconds * 1000:.0f}")


def tables_in(path: Path) -> frozenset[str]:
    """Return the names of the tables in a file, and leave it and its folder as they are. Raises `sqlite3.Error`.

    Whoever opens a file in WAL mode, if only to read, leaves other files beside it; not who takes it for immutable. But
    then what is still in the log is not seen: where there is one, it is read too.
    """
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", timeout=BUSY_TIMEOUT_SECONDS, uri=True)
    ) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return frozenset(name for (name,) in names)


def in_transaction(connection: sqlite3.Connection, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
    """Run `work` between `begin` and COMMIT, or undo all of it."""
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


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether somebody else was at work on the file, so that nothing is wrong with the connection."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def unavailable(error: sqlite3.Error) -> StoreUnavailable:
    """Return what a caller is told of an error that is about the file."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreUnavailable(f"SQLite says {name}: {error}.")


def one_for_each(error: BaseException) -> BaseException:
    """Return the error for one of several callers, who would otherwise gather their tracebacks in one object."""
    if not isinstance(error, StoreUnavailable):
        return error
    copy = StoreUnavailable(*error.args)
    copy.__cause__ = error.__cause__
    return copy
