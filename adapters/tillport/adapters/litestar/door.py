"""The door: what every handler of one service shares."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar

from tillport.adapters.litestar.settings import HttpSettings
from tillport.adapters.litestar.streams import Streams
from tillport.adapters.litestar.unfinished import Unfinished
from tillport.domain import Till
from tillport.ports.access import Caller, CallerKind, KeyRing


class Door:
    """A till, the keys that open it, and what is under way. Make one, hand it to the routers, use its `lifespan`.

    Raises `ValueError` if the settings' `default_app_key` is not an app key of this ring.
    """

    __slots__ = ("_drained_by", "default_caller", "keys", "settings", "streams", "till", "unfinished")

    def __init__(self, till: Till, keys: KeyRing, *, settings: HttpSettings | None = None) -> None:
        self.till = till
        self.keys = keys
        self.settings = settings or HttpSettings()
        self.streams = Streams(self.settings.streams_max)
        self.unfinished = Unfinished(till.charging.clock)
        self._drained_by = 0.0
        self.default_caller = self._default_caller()

    def _default_caller(self) -> Caller | None:
        key = self.settings.default_app_key
        if key is None:
            return None
        caller = self.keys.find(key)
        if caller is None or caller.kind is not CallerKind.APP:
            raise ValueError("default_app_key must be one of the app keys: that URL is open to everybody.")
        return caller

    def stop(self) -> None:
        """End every stream and take no new ones; `/ready` says so from now on. Does nothing the second time.

        Call it from the event loop's thread, when the service is asked to stop: servers wait for open requests
        first, and an idle stream is one. `drain_seconds` begin to run here, and the server's own wait is a part of them.
        """
        if not self.streams.stopped:
            self._drained_by = self.till.charging.clock.now() + self.settings.drain_seconds
        self.unfinished.stop()
        self.streams.stop()

    @asynccontextmanager
    async def lifespan(self, _app: Litestar) -> AsyncIterator[None]:
        """On the way out, wait for the charges under way. Give it to Litestar as the last of its `lifespan`.

        It may be entered again: tests start one application many times.
        """
        self.streams.begin()
        self.unfinished.begin()
        try:
            yield
        finally:
            self.stop()
            left = self._drained_by - self.till.charging.clock.now()
            await self.unfinished.drained(seconds=min(max(left, 0.0), self.settings.drain_seconds))
