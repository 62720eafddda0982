"""The loops of effects (promise 5): for each handler one that enlists, in one process at a time, and workers in all.

The enlister reads the log under a lease, so that not every process reads all of it; that each event is enlisted once
does not depend on the lease. It tells the workers of its own process by a bell. Workers of other processes look.

A worker takes several effects into one transaction, as long as that is quick: handlers that take their time are given
fewer at once, down to one, so that nobody's transaction is open for long and a slow payment holds up few others.

What is new is looked at at once after a quiet time, and twenty times a second at most after that: a round of one effect
costs most of what a round of twenty does, so under load the pause is what leaves the machine to others.
"""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Generic, TypeVar

import attrs

from tillport.adapters.runtime.loop import Rest, is_meant_for_us
from tillport.domain.effects import begin, enlist_once, work_once
from tillport.domain.handlers import Handler, awaitable
from tillport.ports.clock import Clock
from tillport.ports.cursors import Cursors, LeaseLost
from tillport.ports.doorbell import Doorbell
from tillport.ports.effects import Effect, EffectQueue, Standing
from tillport.ports.event_log import Event, EventLog

logger = logging.getLogger("tillport.effects")

Tx = TypeVar("Tx")

GATHER_SECONDS = 0.05
"""How long a loop that is not behind waits after a round, so that the next one is about more than one event."""

CURSOR = "effects:"
"""What the names of these cursors begin with. They say what the log must still hold for whom."""


class HandlerCancelled(RuntimeError):
    """A handler let out the cancellation of something that it waited for: a failure like any other."""

    def __init__(self) -> None:
        super().__init__("something that the handler waited for was cancelled")


class HandlerBroke(RuntimeError):
    """A handler raised what is no `Exception`, such as a panic in a library that is written in Rust."""

    def __init__(self, what: BaseException) -> None:
        super().__init__(f"{type(what).__name__}: {what}")


_LEAVING = (Exception, KeyboardInterrupt, SystemExit, GeneratorExit)
"""What a handler lets out as it is: failures, and what ends the process or the coroutine. Anything else is no reason for either."""


@attrs.define(kw_only=True, eq=False)
class EnlisterWork(Generic[Tx]):
    """Enlist what a handler is to do, in the order of the log.

    `owner` is unique to this process. A dead enlister is replaced after `lease_seconds` plus a third of it at the
    latest. `bell` wakes the workers of this process.
    """

    handler: Handler[Tx]
    log: EventLog
    queue: EffectQueue[Tx]
    cursors: Cursors
    clock: Clock
    bell: Doorbell
    owner: str
    lease_seconds: float = attrs.field(default=6.0, validator=attrs.validators.gt(0))
    look_seconds: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    batch_size: int = 500
    position: int | None = attrs.field(init=False, default=None)
    """How far this process has enlisted; None while another one does it."""
    enlisted: int = attrs.field(init=False, default=0)
    _renew_at: float = attrs.field(init=False, default=0.0)
    _told: int = attrs.field(init=False, default=0)
    """Where the cursor stands."""

    @property
    def name(self) -> str:
        """What the log calls it."""
        return f"effects of {self.handler.name!r}, enlisting"

    async def step(self) -> Rest:
        """Enlist one batch, if this process is the enlister or can become it."""
        now = self.clock.now()
        # A lease that seems to last longer than leases do: the clock was set back. Renew it.
        if self.position is None or not 0 < self._renew_at - now <= self.lease_seconds:
            await self._claim(now)
        if self.position is None:
            return Rest(self.lease_seconds / 3)
        try:
            done = await enlist_once(
                self.handler, self.log, self.queue, position=self.position, batch_size=self.batch_size
            )
        except Exception:
            self._renew_at = 0.0  # whatever database answers next, first ask it where the handler stands
            raise
        if done.reset:
            logger.error(
                "%s: events after position %d were taken by retention before it came to them; they are missed",
                self.handler.name,
                self.position,
            )
        self.position = done.position
        self.enlisted += done.count
        if done.count:
            self.bell.ring()
        if done.more:
            return Rest(0)
        if done.count:
            return Rest(GATHER_SECONDS)
        return Rest(min(self.look_seconds, self.lease_seconds / 3), bell=True)

    async def close(self) -> None:
        """Give the lease up, so that another process goes on at once."""
        if self.position is not None:
            standing = await self._standing()
            if standing is not None:
                await self._tell_what_is_needed(standing)
            self.position = None
            await self.cursors.release(self._cursor, owner=self.owner)

    @property
    def _cursor(self) -> str:
        return CURSOR + self.handler.name

    async def _claim(self, now: float) -> None:
        held = await self.cursors.claim(
            self._cursor, owner=self.owner, now=now, until=now + self.lease_seconds
        )
        if held is None:
            self.position = None
            return
        # Where the handler stands, and not where we believe it does: a replica that lagged may have taken over since.
        standing = await self._standing()
        if standing is None:
            place = await begin(self.handler, self.log, self.queue)
            standing = Standing(handler=self.handler.name, position=place)
        if standing.position != self.position:
            logger.info("%s: enlisting from position %d", self.handler.name, standing.position)
        if standing.position != self.position or self._renew_at == 0.0:
            await self._check_that_the_log_is_ours(standing.position)
        self.position, self._told = standing.position, held
        self._renew_at = now + self.lease_seconds / 3
        await self._tell_what_is_needed(standing)

    async def _standing(self) -> Standing | None:
        standings = await self.queue.standings()
        return next((one for one in standings if one.handler == self.handler.name), None)

    async def _check_that_the_log_is_ours(self, position: int) -> None:
        head = await self.log.head()  # after the place, which never passes it: a log only grows
        if position > head:
            # It is not put back here: were this another log, the right one's whole history would be acted on later.
            logger.error(
                "%s stands at position %d and the log ends at %d: it is another log, or was restored from an older "
                "copy. What it records up to there is passed over; see the how-to on acting on events",
                self.handler.name,
                position,
                head,
            )

    async def _tell_what_is_needed(self, standing: Standing) -> None:
        """Move the cursor up to what retention may take: what was enlisted, but for what is not done or is dead.

        The queue may be in another database than the log, where retention can't see it: the cursor is how it knows.
        """
        oldest = standing.oldest_position
        needless = standing.position if oldest is None else min(standing.position, oldest - 1)
        if needless <= self._told:
            return
        try:
            await self.cursors.advance(self._cursor, owner=self.owner, position=needless)
            self._told = needless
        except LeaseLost:
            self.position = None
            logger.info("%s: another process enlists now", self.handler.name)


@attrs.define(kw_only=True, eq=False)
class EffectsWork(Generic[Tx]):
    """Perform what is due for a handler. Any number of these may do so at once, in any number of processes.

    A coroutine handler that takes longer than `handler_seconds` is cancelled and has failed. (A plain one can't be
    stopped.) What a dead worker had claimed is handed out again after `lease_seconds`. A round should last about
    `round_seconds` at most: `limit` follows, up to `limit_max`.
    """

    handler: Handler[Tx]
    log: EventLog
    queue: EffectQueue[Tx]
    clock: Clock
    lease_seconds: float = attrs.field(default=8.0, validator=attrs.validators.gt(0))
    look_seconds: float = attrs.field(default=0.5, validator=attrs.validators.gt(0))
    handler_seconds: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    round_seconds: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    limit_max: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    limit: int = attrs.field(init=False, default=10)
    done: int = attrs.field(init=False, default=0)
    failed: int = attrs.field(init=False, default=0)
    dead: int = attrs.field(init=False, default=0)
    _limited: Handler[Tx] = attrs.field(init=False)
    _owed: list[Effect] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.limit = min(self.limit, self.limit_max)
        self._limited = with_time_limit(self.handler, self.handler_seconds)

    @property
    def name(self) -> str:
        """What the log calls it."""
        return f"effects of {self.handler.name!r}"

    async def step(self) -> Rest:
        """Do one round."""
        began = self.clock.now()
        worked = await work_once(
            self._limited,
            self.log,
            self.queue,
            self.clock,
            lease_seconds=self.lease_seconds,
            limit=self.limit,
            owed=self._owed,
        )
        full = worked.claimed >= self.limit
        self._adapt(self.clock.now() - began, full=full)
        self.done += worked.done
        self.failed += len(worked.failed)
        self.dead += len(worked.dead)
        # An error's text may quote what must not stand in a log: people find it in the queue.
        for effect in worked.failed:
            logger.warning(
                "%s failed on %s (%d times) with %s; it is tried again: see `tillport effects show %s`",
                effect.handler,
                effect.event_id,
                effect.tries,
                (effect.error or "").partition(":")[0],
                effect.event_id,
            )
        for effect in worked.dead:
            logger.error(
                "%s gave up on %s; see `tillport effects show %s`",
                effect.handler,
                effect.event_id,
                effect.event_id,
            )
        if full:
            return Rest(0)
        return Rest(GATHER_SECONDS) if worked.claimed else Rest(self.look_seconds, bell=True)

    async def close(self) -> None:
        """Give back what an outage kept from it. What else was claimed is free again after its time."""
        if self._owed:
            await self.queue.give_back(self._owed, now=self.clock.now())

    def _adapt(self, seconds: float, *, full: bool) -> None:
        if seconds > self.round_seconds:
            self.limit = max(1, self.limit // 2)
        elif full and seconds < self.round_seconds / 4:
            self.limit = min(self.limit_max, self.limit * 2)


def with_time_limit(handler: Handler[Tx], seconds: float) -> Handler[Tx]:
    """Return the handler with an end to how long its coroutine may run, and nothing let out that would end its worker."""

    def function(transaction: Tx, event: Event) -> Awaitable[None] | None:
        try:
            doing = handler.function(transaction, event)
        except asyncio.CancelledError as error:  # of a future whose result it asked for
            raise HandlerCancelled from error
        except BaseException as error:
            if isinstance(error, _LEAVING):
                raise
            raise HandlerBroke(error) from error
        return None if doing is None else _within(awaitable(doing), seconds)

    return attrs.evolve(handler, function=function)


async def _within(doing: Awaitable[None], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await doing
    except asyncio.CancelledError as error:
        if is_meant_for_us():
            raise
        raise HandlerCancelled from error
    except BaseException as error:
        if isinstance(error, _LEAVING):
            raise
        raise HandlerBroke(error) from error
