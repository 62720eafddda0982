"""A pool's connections, two of them kept at hand for whoever runs one short statement after another.

To bring a connection back to asyncpg's pool costs a task and three turns of the event loop, and the answer to whoever
waits for a commit comes after them. In a busy loop other things have their turn meanwhile, and the database has nothing
to do. So what was used without a failure is kept here, and lent again at once; everything else is the pool's: how
many there are, making them, and looking after one that failed or whose caller went away in the middle.
"""

import time
from typing import Any, Final, TypeAlias

import asyncpg  # type: ignore[import-untyped] # it ships no types
import attrs

Connection: TypeAlias = Any
"""A connection of asyncpg's, the pool's or one apart."""

KEPT_MAX: Final = 2
"""One that records and one that reads."""
KEPT_SECONDS: Final = 60.0
"""What nobody used for so long may be dead without a word (a firewall's doing): it is not lent again."""


@attrs.define(eq=False)
class Connections:
    """Lend the connections of a pool. Each that is lent is brought back by `take_back` or `give_up`."""

    _pool: asyncpg.Pool
    _wait_seconds: float
    _kept: list[tuple[Connection, float]] = attrs.field(init=False, factory=list)
    """Those at hand, each with when it was brought back, the newest last."""
    _waiting: int = attrs.field(init=False, default=0)
    """How many callers wait for the pool."""
    _closing: bool = attrs.field(init=False, default=False)

    async def lend(self) -> Connection:
        """Return a connection, the one that was used last if it can be had. Raises asyncpg's errors."""
        while self._kept:
            connection, since = self._kept.pop()
            if _is_open(connection):
                if time.monotonic() - since < KEPT_SECONDS:
                    return connection
                connection.terminate()
            await self.give_up(connection)
        self._waiting += 1
        try:
            return await self._pool.acquire(timeout=self._wait_seconds)
        finally:
            self._waiting -= 1

    async def take_back(self, connection: Connection) -> None:
        """Take a connection back that was used without a failure."""
        wanted = self._waiting or self._closing
        if len(self._kept) < KEPT_MAX and not wanted and _is_open(connection):
            self._kept.append((connection, time.monotonic()))
        else:
            await self.give_up(connection)

    async def give_up(self, connection: Connection) -> None:
        """Leave a connection to the pool, which finds out what is wrong with it, if anything is."""
        await self._pool.release(connection)

    async def renew(self) -> None:
        """Lend none of the present connections again: they lead to where nothing can be done."""
        await self._pool.expire_connections()
        while self._kept:
            await self.give_up(self._kept.pop()[0])

    async def close(self) -> None:
        """Wait for what is lent, then close every connection."""
        self._closing = True
        while self._kept:
            await self.give_up(self._kept.pop()[0])
        await self._pool.close()

    def terminate(self) -> None:
        """Close every connection at once."""
        self._closing = True
        self._kept.clear()
        self._pool.terminate()


def _is_open(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # it broke while it was kept, and the pool has parted with it
        return False
