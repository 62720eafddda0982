"""Retention: forgets events that are older than somebody wants to keep them, from one process at a time.

Whoever holds the lease of a cursor looks every few minutes; if its process dies, another takes over when the lease
ends. Should two ever do it at once, both are right: forgetting twice is forgetting once.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import attrs

from tillport.adapters.runtime.loop import Rest
from tillport.domain.forget import RETENTION, forget
from tillport.ports.clock import Clock
from tillport.ports.cursors import Cursors
from tillport.ports.effects import EffectQueue
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
