"""Charges under way: nobody's impatience cancels them.

A client that goes away, a server that stops: either would cancel the request's task somewhere between "Stripe was
asked" and "its answer is written down". The ledger would survive that (the attempt is unknown, and resolved), but
it is not needed: the charge runs in a task of its own, and the service waits for it before it stops.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import attrs

from tillport.ports.clock import Clock

T = TypeVar("T")


@attrs.define(eq=False)
class Unfinished:
    """Run work that outlives its request."""

    _clock: Clock
    _tasks: set[asyncio.Task[Any]] = attrs.field(init=False, factory=set)

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the work's result. If the caller is cancelled, the work goes on to its end."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

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
