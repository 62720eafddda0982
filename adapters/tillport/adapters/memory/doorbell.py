"""A doorbell that reaches everyone in this process, whatever thread they ring from; and one that need not be rung."""

import asyncio
import threading

import attrs

from tillport.ports.clock import Clock
from tillport.ports.doorbell import Doorbell


@attrs.define
class LocalDoorbell:
    """Wake the readers of one process."""

    _clock: Clock
    _rings: int = attrs.field(init=False, default=0)
    _waiting: set[asyncio.Future[None]] = attrs.field(init=False, factory=set, repr=False)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock, repr=False)

    @property
    def rings(self) -> int:
        """See `Doorbell.rings`."""
        return self._rings

    def ring(self) -> None:
        """See `Doorbell.ring`. May be called from any thread."""
        with self._lock:
            self._rings += 1
            if not self._waiting:
                return
            waiting, self._waiting = self._waiting, set()
        for woken in waiting:
            try:
                woken.get_loop().call_soon_threadsafe(_wake, woken)
            except RuntimeError:
                continue  # the loop that waited is closed: nobody is left to be woken there

    async def wait(self, heard: int, *, seconds: float) -> None:
        """See `Doorbell.wait`."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._rings > heard:
                return
            self._waiting.add(woken)
        timer = asyncio.ensure_future(self._clock.sleep_until(self._clock.now() + seconds))
        try:
            await asyncio.wait((woken, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            woken.cancel()
            with self._lock:
                self._waiting.discard(woken)


@attrs.frozen
class RungByTheLog:
    """The bell for who records through a log that rings it by itself, after each commit and not for each event."""

    _bell: Doorbell

    @property
    def rings(self) -> int:
        """See `Doorbell.rings`."""
        return self._bell.rings

    def ring(self) -> None:
        """Do nothing: it has rung, or will when the event is there to be read."""

    async def wait(self, heard: int, *, seconds: float) -> None:
        """See `Doorbell.wait`."""
        await self._bell.wait(heard, seconds=seconds)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
