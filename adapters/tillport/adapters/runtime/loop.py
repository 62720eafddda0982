"""One loop: work that is done step by step, for ever, whatever happens.

The theory. A *work* knows what to do next and how long it may rest afterwards; it has no task, no timer and no
chance of its own. A *loop* owns the task, and everything that all works need alike:

* a step that fails is told to the log and tried again, later each time, spread by a random source that is handed in;
* a rest ends early when the doorbell rings, if the work says that news concerns it;
* `stop` lets a step that is under way finish, within a limit, wakes one that rests, and lets the work clear up.

Time passes only through the clock that is handed in, so all of it runs in one thread under a virtual clock too.
"""

import asyncio
import logging
import traceback
from collections.abc import Coroutine
from random import Random
from typing import Any, Protocol

import attrs

from tillport.adapters.runtime.clock import breathe
from tillport.ports.clock import Clock
from tillport.ports.doorbell import Doorbell
from tillport.ports.errors import TillportError

logger = logging.getLogger("tillport.runtime")


@attrs.frozen
class Rest:
    """How long a work may rest, in seconds, and whether the doorbell wakes it before."""

    seconds: float
    bell: bool = False


class Work(Protocol):
    """Something that is done in steps."""

    @property
    def name(self) -> str:
        """What the log calls it."""
        ...

    async def step(self) -> Rest:
        """Do the next piece. May raise anything, and is then called again after a pause."""
        ...

    async def close(self) -> None:
        """Clear up after the last step. Called once; may raise anything, which is told to the log."""
        ...


@attrs.define
class LoopState:
    """How a loop fares, for health checks and metrics. Times are Unix seconds."""

    steps: int = 0
    failures_in_a_row: int = 0
    last_good_at: float | None = None
    last_failure: str | None = None


@attrs.define(kw_only=True, eq=False)
class Loop:
    """Drive one work in a task of its own. Use it as an async context manager, or `start` and `stop` it.

    After a failure it pauses `pause_seconds_min` seconds, twice as long after each further one, up to
    `pause_seconds_max`, of which up to half is taken off by `random`, so that processes don't come back in step.
    `drain_seconds` is how long `stop` waits for the step that is under way before it cancels it.
    """

    work: Work
    clock: Clock
    doorbell: Doorbell
    random: Random
    pause_seconds_min: float = 0.1
    pause_seconds_max: float = 4.0
    drain_seconds: float = 1.0
    state: LoopState = attrs.field(init=False, factory=LoopState)
    _task: asyncio.Task[None] | None = attrs.field(init=False, default=None)
    _resting: bool = attrs.field(init=False, default=False)
    _stopping: bool = attrs.field(init=False, default=False)

    async def __aenter__(self) -> "Loop":
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def start(self) -> None:
        """Begin, in a task of the running event loop. Does nothing if it has begun already."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self.run(), name=f"tillport {self.work.name}")

    async def stop(self) -> None:
        """Finish the step that is under way, clear up and return. Does nothing if it was never started."""
        task = self._task
        if task is None:
            return
        self._stopping = True
        if self._resting:
            task.cancel()
        if not await self._ends_in_time(task):
            task.cancel()
            await self._ends_in_time(task)
        if not task.done():
            logger.error("%s: would not end, and was left behind", self.work.name)
        if not task.done() or task.cancelled():
            return
        if (error := task.exception()) is not None:
            raise error  # run() lets nothing through, so this is a bug of ours: not to be hidden

    async def run(self) -> None:
        """Do step after step until `stop`. For a caller that owns the task; others use `start`."""
        try:
            while not self._stopping:
                heard = (
                    self.doorbell.rings
                )  # before the look: what is recorded meanwhile ends the rest at once
                rest = await self.step()
                if self._stopping:
                    break
                await self._rest(rest, heard)
        finally:
            await self._clear_up()

    async def step(self) -> Rest:
        """Do one step and return the rest that follows, whether it worked or failed. For simulations."""
        state = self.state
        state.steps += 1
        try:
            rest = await self.work.step()
        except (Exception, asyncio.CancelledError) as error:
            # A loop survives whatever a step raises; the log is told.
            if isinstance(error, asyncio.CancelledError) and is_meant_for_us():
                raise
            state.failures_in_a_row += 1
            state.last_failure = describe(error)
            pause = self._pause_seconds(state.failures_in_a_row)
            # One outage, one warning: what repeats is for those who look closer.
            level = logging.WARNING if state.failures_in_a_row == 1 else logging.DEBUG
            logger.log(level, "%s: %s; again in %.1f s", self.work.name, state.last_failure, pause)
            return Rest(pause)
        if state.failures_in_a_row:
            logger.info("%s: works again after %d failed tries", self.work.name, state.failures_in_a_row)
        state.failures_in_a_row = 0
        state.last_good_at = self.clock.now()
        return rest

    async def _rest(self, rest: Rest, heard: int) -> None:
        if rest.seconds <= 0:
            return await breathe()
        self._resting = True
        try:
            if rest.bell:
                await self.doorbell.wait(heard, seconds=rest.seconds)
                await breathe()  # a bell that rings all the time must not starve the others
            else:
                await self.clock.sleep_until(self.clock.now() + rest.seconds)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()  # it was `stop` that ended the rest, and this task is still to clear up
        finally:
            self._resting = False
        return None

    async def _clear_up(self) -> None:
        try:
            await self.work.close()
        except Exception as error:  # noqa: BLE001 - it ends anyway, and what it held ends by itself
            logger.warning("%s: could not clear up: %s", self.work.name, describe(error))

    def _pause_seconds(self, failures: int) -> float:
        longest = min(self.pause_seconds_min * 2.0 ** min(failures - 1, 20), self.pause_seconds_max)
        return longest * (1 - self.random.random() / 2)

    async def _ends_in_time(self, task: asyncio.Task[None]) -> bool:
        limit = asyncio.ensure_future(_plain(self.clock.sleep_until(self.clock.now() + self.drain_seconds)))
        try:
            await asyncio.wait({task, limit}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()
        return task.done()


def is_meant_for_us() -> bool:
    """Tell whether a cancellation that was caught is of this task itself, not of something that it waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def _plain(waiting: Coroutine[Any, Any, None]) -> None:
    await waiting


def describe(error: BaseException) -> str:
    """Return what may be logged of an error: our own words, else its type and where it was raised.

    The text of an error that is not ours may quote a statement's values, a URL with a password, or an event.

    >>> describe(ValueError("sk_live_secret"))
    'ValueError'
    """
    if isinstance(error, TillportError):
        return f"{error.code}: {error}"
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames))
    return f"{type(error).__name__} in {places}" if places else type(error).__name__
