"""Charges under way: nobody's impatience cancels them.

A client that goes away, a server that stops: either would cancel the request's task somewhere between "Stripe was
asked" and "its answer is written down". The ledger would survive that (the attempt is unknown, and resolved), but
it is not needed: the charge runs in a task of its own, and the service waits for it before it stops. Who waits for one that
takes longer than that is told so.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import attrs

from tillport.domain import ChargeInProgress
from tillport.ports.clock import Clock

T = TypeVar("T")

RETRY_AFTER_SECONDS = 5


@attrs.define(eq=False)
class Unfinished:
    """Run work that outlives its request."""

    _clock: Clock
    _tasks: set[asyncio.Task[Any]] = attrs.field(init=False, factory=set)
    _stopping: bool = attrs.field(init=False, default=False)

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the work's result. If the caller is cancelled, the work goes on to its end.

        Raises `ChargeInProgress` for a caller that is cancelled after `stop`: it is the server's patience that ended, and
        whoever charges still listens.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            raise ChargeInProgress(
                "The service is stopping, and this charge is not over yet.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
                remedy="Send this very request again in a moment. Do not pay again with another token or key.",
            ) from None

    def begin(self) -> None:
        """Leave alone whoever is cancelled, after a stop too."""
        self._stopping = False

    def stop(self) -> None:
        """Answer whoever is cancelled from now on."""
        self._stopping = True

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone: then nobody else takes it, and asyncio would complain

    async def drained(self, *, seconds: float) -> bool:
        """Wait until nothing is under way, for so long at most by the clock; return whether nothing is."""
        if self._tasks:
            every = asyncio.ensure_future(asyncio.wait(set(self._tasks)))
            timer = asyncio.ensure_future(self._clock.sleep_until(self._clock.now() + seconds))
            try:
                await asyncio.wait({every, timer}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                every.cancel()
                timer.cancel()
                await asyncio.gather(every, timer, return_exceptions=True)
        return not self._tasks
