"""The resolver: settles attempts whose outcome was lost (promise 1). Any number of processes may do it at once."""

import logging

import attrs

from tillport.adapters.runtime.loop import Rest
from tillport.domain.charge import Charging
from tillport.domain.resolve import resolve_once
from tillport.ports.event_log import EventLog

logger = logging.getLogger("tillport.resolver")


@attrs.define(kw_only=True, eq=False)
class ResolverWork:
    """Look every `look_seconds` for attempts that rest unsettled, and settle what can be settled.

    What can't is told to the log once, by its key; the key names no card and no customer.
    """

    charging: Charging
    log: EventLog
    look_seconds: float = attrs.field(default=2.0, validator=attrs.validators.gt(0))
    limit: int = 20
    name: str = "resolver"
    settled: int = attrs.field(init=False, default=0)
    unknown: frozenset[str] = attrs.field(init=False, default=frozenset())
    """Keys of the attempts that the last round could not settle."""

    async def step(self) -> Rest:
        """Do one round."""
        done = await resolve_once(self.charging, self.log, limit=self.limit)
        self.settled += len(done.settled)
        for key in done.settled:
            logger.info("settled %s", key)
        found = frozenset(done.still_unknown)
        for key in sorted(found - self.unknown):
            logger.warning("the outcome of %s is unknown; it is looked into again and again", key)
        self.unknown = found
        return Rest(self.look_seconds)

    async def close(self) -> None:
        """Do nothing: an attempt that was taken over is free again after its time."""
