"""A doorbell for every process on one PostgreSQL: `LISTEN` and `NOTIFY`, and a ring within the process.

Whoever gives positions notifies, once per batch, in the same transaction: so the bell rings when there is something
to read, not before. Nobody else need ring for an event. `run` keeps one connection listening, opens
another when it breaks, and rings after that, since something may have been missed. It also sweeps (see
`postgres_positions`).
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped] # it ships no types
import attrs

from tillport.adapters.sql.postgres_positions import Sequencer
from tillport.adapters.sql.postgres_statements import ARRIVALS, NEWS
from tillport.adapters.sql.postgres_store import PostgresStore, StoreUnavailable, ValuesRefused
from tillport.ports.clock import Clock

logger = logging.getLogger("tillport.sql")

_NOTIFY: Final = "SELECT pg_notify($1, $2)"
_LOOKS_PER_HEARTBEAT: Final = 5
_HEARTBEAT: Final = "SELECT pg_notification_queue_usage()"
"""A connection can be dead without anybody having said so. And once a full queue of notifications has refused a commit,
the server looks only when it is asked this way whether there is room again."""

_CLOSE_SECONDS: Final = 1.0
_REST_PER_SWEEP: Final = 20


@attrs.define(eq=False)
class PostgresDoorbell:
    """Wake the readers of every process. Hears others while `run` is at work, in one task per process.

    `sweep_seconds` is how often it looks for events that a dead process left without a position;
    `reconnect_seconds_max` bounds the pause before the next try to connect.
    """

    _store: PostgresStore
    _sequencer: Sequencer
    _clock: Clock
    sweep_seconds: float = attrs.field(default=1.0, kw_only=True)
    reconnect_seconds_max: float = attrs.field(default=2.0, kw_only=True)
    listening: bool = attrs.field(init=False, default=False)
    """Whether others are heard at the moment."""
    _rings: int = attrs.field(init=False, default=0)
    _waiting: set[asyncio.Future[None]] = attrs.field(init=False, factory=set, repr=False)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock, repr=False)
    _wanted: asyncio.Event = attrs.field(init=False, factory=asyncio.Event, repr=False)
    _arrived: bool = attrs.field(init=False, default=False)
    _announcing: asyncio.Task[None] | None = attrs.field(init=False, default=None, repr=False)
    _announce_again: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._sequencer.tell = self._ring_here

    @property
    def rings(self) -> int:
        """See `Doorbell.rings`."""
        return self._rings

    def ring(self) -> None:
        """See `Doorbell.ring`."""
        self._ring_here()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # another thread: those who listen elsewhere look by themselves, in time
        self._announce_again = True
        if self._announcing is None:
            self._announcing = loop.create_task(self._announce(), name="tillport doorbell ring")

    async def wait(self, heard: int, *, seconds: float) -> None:
        """See `Doorbell.wait`."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._rings > heard:
                return
            self._waiting.add(woken)
        try:
            await self._first_of(woken, seconds)
        finally:
            woken.cancel()
            with self._lock:
                self._waiting.discard(woken)

    async def run(self) -> None:
        """Listen and sweep until cancelled, whatever becomes of the database."""
        pause = 0.05
        while True:
            began = self._clock.now()
            try:
                connection = await self._store.open_apart()
                try:
                    await self._listen(connection)
                finally:
                    self.listening = False
                    await _close(connection)
            except (
                StoreUnavailable,
                ValuesRefused,
                OSError,
                TimeoutError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
            ) as error:
                if self._clock.now() - began > self.reconnect_seconds_max:
                    pause = 0.05  # it went well for a while
                logger.info("not listening, again in %.2f s: %s", pause, error)
                await self._clock.sleep_until(self._clock.now() + pause)
                pause = min(pause * 2, self.reconnect_seconds_max)

    async def _listen(self, connection: asyncpg.Connection) -> None:
        """Listen on a connection until it breaks, which raises."""
        self._wanted.clear()
        connection.add_termination_listener(lambda _: self._wanted.set())
        await connection.add_listener(NEWS, self._heard)
        await connection.add_listener(ARRIVALS, self._heard)
        self.listening = True
        self._arrived = True  # whatever was said while nobody listened
        self._ring_here()
        looks = 0
        while not connection.is_closed():
            arrived, self._arrived = self._arrived, False
            began = self._clock.now()
            await self._sequencer.sweep(at_once=arrived)
            # Beside a transaction that is open for long a sweep takes long, too: never more than a twentieth of the time.
            rest_seconds = max(self.sweep_seconds, _REST_PER_SWEEP * (self._clock.now() - began))
            looks += 1
            if looks % _LOOKS_PER_HEARTBEAT == 0:
                await connection.execute(_HEARTBEAT)
            if not self._wanted.is_set():
                waiting = asyncio.ensure_future(self._wanted.wait())
                try:
                    await self._first_of(waiting, rest_seconds)
                finally:
                    waiting.cancel()
            self._wanted.clear()
        raise StoreUnavailable("The connection that listened broke.")

    def _heard(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        if channel == ARRIVALS:
            self._arrived = True
            self._wanted.set()
        elif payload != self._sequencer.name:  # our own were rung at once
            self._ring_here()

    def _ring_here(self) -> None:
        with self._lock:
            self._rings += 1
            waiting, self._waiting = self._waiting, set()
        for woken in waiting:
            try:
                woken.get_loop().call_soon_threadsafe(_wake, woken)
            except RuntimeError:
                continue  # the loop that waited is closed: nobody is left to be woken there

    async def _announce(self) -> None:
        try:
            while self._announce_again:
                self._announce_again = False
                await self._store.fetch(_NOTIFY, NEWS, self._sequencer.name)
        except StoreUnavailable as error:
            logger.debug("others were not rung: %s", error)
        finally:
            self._announcing = None

    async def _first_of(self, woken: "asyncio.Future[Any]", seconds: float) -> None:
        rest: Coroutine[Any, Any, None] = self._clock.sleep_until(self._clock.now() + seconds)
        timer = asyncio.ensure_future(rest)
        try:
            await asyncio.wait((woken, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=_CLOSE_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)
