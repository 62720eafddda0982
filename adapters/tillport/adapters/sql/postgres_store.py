"""One PostgreSQL database: a bounded pool of connections, and what its errors mean.

* Nothing is connected until the first call, so a service starts while its database is away. A connection that
  broke is replaced at the next call; nothing has to be restarted when the server was. So is every connection once one
  met a server that only reads, because another has taken over: the address may lead to that one by now.
* Every connection runs in READ COMMITTED, which the statements of this package are written for, whatever the
  database's default is; and `synchronous_commit` is never weaker than `on`, because what is acknowledged must be on
  the disk. (Stronger settings of the operator's stay as they are.)
* Every statement ends in time: the server is told to give up after `statement_timeout_seconds`, and this side
  gives up a second later, in case nothing answers at all.
* Errors come in two kinds. `StoreUnavailable`: the call was not carried out as far as anybody can know, try again
  later. `ValuesRefused`: the very values are at fault, the same call would fail for ever. Neither repeats what the
  server said about the values, because that can hold whole rows.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg  # type: ignore[import-untyped] # it ships no types
import attrs
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect

from tillport.adapters.sql.creation import ddl
from tillport.adapters.sql.effects_tables import CREATION_LOCK as EFFECTS_LOCK
from tillport.adapters.sql.postgres_pool import Connection, Connections
from tillport.adapters.sql.postgres_session import SESSION_SETTINGS, only_reads
from tillport.adapters.sql.statements import Compiled

POSTGRESQL: Final = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy's own gap
"""The dialect that statements of ours for asyncpg are compiled for."""

_CREATION_LOCK: Final = 0x7111_9047_0000_0001
"""Advisory locks are one namespace per database, shared with the host: a number nobody else will think of."""

_ABOUT_THE_VALUES: Final = ("22", "23", "54")
"""SQLSTATE classes: data exception, integrity violation, program limit exceeded (an index entry too long, say).
https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_NOTIFYING: Final = "PreCommit_Notify"
"""The server's function that refuses a commit, as a limit exceeded, while the queue of notifications is full."""

_ROLLED_BACK: Final = ("40001", "40P01")
_LOCKED: Final = "55P03"
_NOT_UNIQUE: Final = "23505"
_NOT_THERE: Final = ("42P01", "42703")
_NOT_ALLOWED: Final = "42501"

_SESSION: Final = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')"


CONNECT_SECONDS: Final = 5.0


class StoreUnavailable(Exception):
    """The database can't be read or written now. What was being written may be there or not: usually not."""

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class ValuesRefused(Exception):
    """The database will never take these values."""

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


def for_asyncpg(url: str) -> str:
    """Return a URL as asyncpg wants it: SQLAlchemy's form names a driver, which is taken off.

    >>> for_asyncpg("postgresql+asyncpg://till@db/shop")
    'postgresql://till@db/shop'
    """
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0]
    if scheme not in ("postgresql", "postgres"):
        raise ValueError("The URL of a PostgreSQL database begins with postgresql://")
    return urlunsplit(parts._replace(scheme=scheme))


@attrs.define(eq=False, kw_only=True)
class PostgresStore:
    """Run statements on one PostgreSQL database. Connects by itself at the first call; `aclose` ends it.

    At most `connections_max` connections are open at once, and calls beyond that wait up to
    `connect_timeout_seconds` for one. Belongs to the event loop that uses it first.
    Behind a pooler that shares sessions between transactions (pgbouncer), hand in `statement_cache_size=0`.
    """

    url: str = attrs.field(converter=for_asyncpg, repr=False, kw_only=False)
    connections_max: int = 8
    connect_timeout_seconds: float = CONNECT_SECONDS
    statement_timeout_seconds: float = 10.0
    lock_timeout_seconds: float = 1.0
    """How long a statement waits for somebody else's open transaction, a host's that recorded the same event, say."""
    statement_cache_size: int = 256
    application_name: str = "tillport"
    tls: ssl.SSLContext | str | None = None
    """As asyncpg's `ssl`; None leaves it to the URL."""
    _connections: Connections | None = attrs.field(init=False, default=None, repr=False)
    _closed: bool = attrs.field(init=False, default=False)
    _opening: asyncio.Lock = attrs.field(init=False, factory=asyncio.Lock, repr=False)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection. What fails on it or on the way to it is raised as this module's errors."""
        with _errors_told():
            connections = self._connections or await self._opened()
            connection = await connections.lend()
            try:
                yield connection
            except BaseException as error:
                await connections.give_up(connection)
                if only_reads(error):
                    await connections.renew()
                raise
            await connections.take_back(connection)

    async def fetch(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Run one statement in a transaction of its own and return its rows."""
        async with self.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *values)
            return rows

    async def one(self, statement: Compiled, **values: Any) -> Sequence[Any] | None:
        """Run a compiled statement in a transaction of its own and return its first row, if any."""
        rows = await self.fetch(statement.text, *statement.positional(**values))
        return tuple(rows[0]) if rows else None

    async def script(self, statements: str) -> str:
        """Run several statements in one transaction and one round trip; return the last one's command tag.

        Each of them sees what was committed when *it* began.
        """
        async with self.connection() as connection:
            tag: str = await connection.execute(statements)
            return tag

    async def open_apart(self) -> asyncpg.Connection:
        """Return a connection beside the pool, the caller's to close: for listening."""
        with _errors_told():
            return await asyncpg.connect(self.url, **self._settings())

    async def create_tables(self) -> None:
        """Put the tables into a database that has none, at once and completely. Many may do this at the same time.

        For tests and demonstrations: a database that people manage is created by migrations.
        """
        async with self.connection() as connection, connection.transaction():
            for lock in (_CREATION_LOCK, EFFECTS_LOCK):
                await connection.execute(f"SELECT pg_advisory_xact_lock({lock})")
            if await connection.fetchval("SELECT to_regclass('tillport_log_state')") is None:
                for statement in ddl("postgresql"):
                    await connection.execute(statement)

    async def aclose(self) -> None:
        """Wait a moment for what is under way, then close every connection. Calls that come later fail."""
        self._closed = True
        connections, self._connections = self._connections, None
        if connections is None:
            return
        try:
            async with asyncio.timeout(self.connect_timeout_seconds):
                await connections.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connections.terminate()

    async def _opened(self) -> Connections:
        async with self._opening:
            if self._closed:
                raise StoreUnavailable("The database was closed.")
            if self._connections is None:
                pool = await asyncpg.create_pool(
                    self.url,
                    min_size=0,
                    max_size=self.connections_max,
                    init=_prepare,
                    reset=_leave_as_it_is,
                    **self._settings(),
                )
                self._connections = Connections(pool, self.connect_timeout_seconds)
            return self._connections

    def _settings(self) -> dict[str, Any]:
        timeout_ms = str(int(self.statement_timeout_seconds * 1000))
        settings: dict[str, Any] = {
            "timeout": self.connect_timeout_seconds,
            "command_timeout": self.statement_timeout_seconds + 1,
            "statement_cache_size": self.statement_cache_size,
            "server_settings": {
                **SESSION_SETTINGS,
                "application_name": self.application_name,
                "statement_timeout": timeout_ms,
                "lock_timeout": str(int(self.lock_timeout_seconds * 1000)),
                "idle_in_transaction_session_timeout": timeout_ms,
            },
        }
        if self.tls is not None:
            settings["ssl"] = self.tls
        return settings


async def _prepare(connection: Connection) -> None:
    await connection.execute(_SESSION)


async def _leave_as_it_is(_: Connection) -> None:
    """Spare asyncpg's reset, a round trip per call: nothing here changes a session."""


@contextmanager
def _errors_told() -> Iterator[None]:
    try:
        yield
    except asyncpg.PostgresError as error:
        raise told(error) from None  # its text may hold values
    except asyncpg.DataError:
        raise ValuesRefused("The values have no form in PostgreSQL.") from None  # likewise
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise StoreUnavailable(f"The database does not answer ({type(error).__name__}).") from error


def told(error: asyncpg.PostgresError) -> StoreUnavailable | ValuesRefused:
    """Return what a server's error means, without its words."""
    sqlstate = getattr(error, "sqlstate", None) or "?????"
    what = f"PostgreSQL says {sqlstate} ({type(error).__name__})."
    notifying = getattr(error, "server_source_function", None) == _NOTIFYING
    if sqlstate.startswith(_ABOUT_THE_VALUES) and not notifying:
        return ValuesRefused(what, sqlstate=sqlstate)
    return StoreUnavailable(what, sqlstate=sqlstate)


def was_rolled_back(error: StoreUnavailable | ValuesRefused) -> bool:
    """Tell whether the transaction was given up in favour of another, so that it may simply be tried again."""
    return error.sqlstate in _ROLLED_BACK


def lacks_tables(error: StoreUnavailable | ValuesRefused) -> bool:
    """Tell whether a table, a sequence or a column is missing: the database is of another version."""
    return error.sqlstate in _NOT_THERE


def lacks_rights(error: StoreUnavailable | ValuesRefused) -> bool:
    """Tell whether our user may not do what is needed on a table or a sequence."""
    return error.sqlstate == _NOT_ALLOWED


def collided(error: StoreUnavailable | ValuesRefused) -> bool:
    """Tell whether something unique was there already."""
    return error.sqlstate == _NOT_UNIQUE


def met_a_lock(error: StoreUnavailable) -> bool:
    """Tell whether somebody else's open transaction was in the way."""
    return error.sqlstate == _LOCKED
