"""The relay: publishes what was recorded (promise 6), from whichever process holds its lease.

One process relays at a time. It holds the lease of a cursor and renews it when a third has passed; if it dies, the
lease ends by itself and another process takes over. Should two ever relay at once (one was asleep and does not know
that it was replaced), the cursor refuses the older one, and consumers drop what they hear twice by its id.

A batch must not outlast the lease: two processes would publish the same one in turns, and neither could move the cursor.
Nor may it take longer than the channel waits for an answer. So where batches are slow (a backlog on its way to a
courier that is far away, or that syncs each message) they become smaller, down to one event.

A lone event is published at once. In a stream of them each batch is followed by a short pause, in which the next one
gathers: every batch costs a durable step of the cursor, and would compete for the disk with the webhooks themselves.
"""

import logging

import attrs

from tillport.adapters.runtime.loop import Rest
from tillport.domain.notify import Relayed, relay_once
from tillport.domain.status import RELAY
from tillport.ports.channel import Channel
from tillport.ports.clock import Clock
from tillport.ports.cursors import Cursors, LeaseLost
from tillport.ports.event_log import EventLog

logger = logging.getLogger("tillport.relay")


@attrs.define(kw_only=True, eq=False)
class RelayWork:
    """Publish the log to the channel, in order, from where the cursor stands.

    `owner` is unique to this process. A dead relay is replaced after `lease_seconds` plus a third of it at the
    latest. `look_seconds` is how long an event waits at most if its doorbell was not heard, `gather_seconds` how long
    the next batch gathers after one was published.
    """

    log: EventLog
    channel: Channel
    cursors: Cursors
    clock: Clock
    owner: str
    name: str = RELAY
    lease_seconds: float = attrs.field(default=9.0, validator=attrs.validators.gt(0))
    look_seconds: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    gather_seconds: float = attrs.field(default=0.05, validator=attrs.validators.ge(0))
    batch_size: int = 500
    limit: int = attrs.field(init=False, default=attrs.Factory(lambda self: self.batch_size, takes_self=True))
    """How many events a batch holds at present: `batch_size` at most."""
    position: int | None = attrs.field(init=False, default=None)
    """How far this process has relayed; None while another one does it."""
    published: int = attrs.field(init=False, default=0)
    _renew_at: float = attrs.field(init=False, default=0.0)

    async def step(self) -> Rest:
        """Publish one batch, if this process is the relay or can become it."""
        now = self.clock.now()
        # A lease that seems to last longer than leases do: the clock was set back. Renew it.
        if self.position is None or not 0 < self._renew_at - now <= self.lease_seconds:
            await self._claim(now)
        if self.position is None:
            return Rest(self.lease_seconds / 3)
        try:
            done = await relay_once(
                self.log,
                self.channel,
                self.cursors,
                name=self.name,
                owner=self.owner,
                position=self.position,
                batch_size=self.limit,
            )
        except LeaseLost:
            self.position = None
            self._adapt(self.clock.now() - now, full=False)
            logger.info("another process relays now")
            return Rest(self.lease_seconds / 3)
        except Exception:
            self._renew_at = 0.0  # whatever database answers next, first ask it where its cursor stands
            self._adapt(self.clock.now() - now, full=False)
            raise
        self._adapt(self.clock.now() - now, full=done.more)
        self._note(done)
        if done.more:
            return Rest(0)
        if done.published:
            return Rest(self.gather_seconds)
        return Rest(min(self.look_seconds, self.lease_seconds / 3), bell=True)

    async def close(self) -> None:
        """Give the lease up, so that another process goes on at once."""
        if self.position is not None:
            self.position = None
            await self.cursors.release(self.name, owner=self.owner)

    async def _claim(self, now: float) -> None:
        was = self.position
        found = await self.cursors.claim(self.name, owner=self.owner, now=now, until=now + self.lease_seconds)
        self._renew_at = now + self.lease_seconds / 3
        # Where the cursor stands, and not where we believe it does: a replica that lagged may have taken over since.
        self.position = found
        if found is not None and found != was:
            logger.info("relaying from position %d", found)

    def _adapt(self, seconds: float, *, full: bool) -> None:
        if seconds > self.lease_seconds / 3:
            self.limit = max(1, self.limit // 2)
        elif full and seconds < self.lease_seconds / 12:
            self.limit = min(self.batch_size, self.limit * 2)

    def _note(self, done: Relayed) -> None:
        self.position = done.position
        self.published += done.published
        if done.refused:
            logger.error(
                "the channel will never take %d events, which are in the log: %s",
                len(done.refused),
                ", ".join(done.refused[:10]),
            )
