"""Retention: forgets events that are older than somebody wants to keep them, from one process at a time.

What handlers have done about an event is forgotten after the event itself (`MarksRetentionWork`), and never before: as
long as the event is in the log, the mark is what tells that its effect is there. When retention has taken the event, its
id stays as a tombstone, so it is not recorded again, and the handlers' places in the log have passed it.

Whoever holds the lease of a cursor looks every few minutes; if its process dies, another takes over when the lease
ends. Should two ever do it at once, both are right: forgetting twice is forgetting once.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import attrs

from tillport.adapters.runtime.loop import Rest
from tillport.domain.forget import RETENTION, forget, gone_up_to
from tillport.ports.clock import Clock
from tillport.ports.cursors import Cursors
from tillport.ports.effects import EffectQueue
from tillport.ports.event_log import EventLog
from tillport.ports.housekeeping import Housekeeping

logger = logging.getLogger("tillport.retention")


@attrs.define(kw_only=True, eq=False)
class RetentionWork:
    """Forget every `look_seconds` what was received more than `keep_seconds` ago and nobody has still to read.

    `owner` is unique to this process. `effects` opens the queue whose unfinished effects are waited for, if any.
    """

    keeper: Housekeeping
    cursors: Cursors
    clock: Clock
    owner: str
    keep_seconds: float = attrs.field(validator=attrs.validators.gt(0))
    effects: Callable[[], AbstractAsyncContextManager[EffectQueue[Any] | None]] = nullcontext
    name: str = RETENTION
    look_seconds: float = attrs.field(default=600.0, validator=attrs.validators.gt(0))
    forgotten: int = attrs.field(init=False, default=0)
    _holds: bool = attrs.field(init=False, default=False)

    async def step(self) -> Rest:
        """Forget what may go, if this process is the one that does or can become it."""
        now = self.clock.now()
        claimed = await self.cursors.claim(
            self.name, owner=self.owner, now=now, until=now + 2 * self.look_seconds
        )
        self._holds = claimed is not None
        if self._holds:
            async with self.effects() as effects:
                gone = await forget(
                    self.keeper, self.cursors, now=now, keep_seconds=self.keep_seconds, effects=effects
                )
            self.forgotten += gone
            if gone:
                logger.info("forgot %d events older than %.0f days", gone, self.keep_seconds / 86_400)
        return Rest(self.look_seconds)

    async def close(self) -> None:
        """Give the lease up, so that another process goes on."""
        if self._holds:
            self._holds = False
            await self.cursors.release(self.name, owner=self.owner)


@attrs.define(kw_only=True, eq=False)
class MarksRetentionWork:
    """Look every `look_seconds` how far the log has been forgotten, and forget the settled effects up to there.

    It does not matter who made the log forget: this service, another, or a person at the command line. What is not
    done stays. Any number of processes may do this at once.
    """

    log: EventLog
    queue: EffectQueue[Any]
    look_seconds: float = attrs.field(default=600.0, validator=attrs.validators.gt(0))
    name: str = "effects, forgetting"
    forgotten: int = attrs.field(init=False, default=0)
    _up_to: int = attrs.field(init=False, default=0)

    async def step(self) -> Rest:
        """Forget what belongs to events that the log no longer has."""
        up_to = await gone_up_to(self.log)
        if up_to > self._up_to:
            gone = await self.queue.forget(up_to=up_to)
            self._up_to = up_to
            self.forgotten += gone
            if gone:
                logger.info("forgot %d effects that are done, of events up to position %d", gone, up_to)
        return Rest(self.look_seconds)

    async def close(self) -> None:
        """Do nothing: it holds nothing."""
