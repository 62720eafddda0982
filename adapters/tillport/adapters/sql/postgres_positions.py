"""Positions on PostgreSQL: an order that no reader can overtake, and for which nobody waits.

The trouble. A reader follows the log by number: "what comes after 41?". If an event got its number when it was
inserted, a transaction that drew 42 could commit after one that drew 43. A reader that saw 43 meanwhile goes on from
there and never learns of 42. A transaction may stay open for minutes, when a host records within its own.

The rules.

1. Inserting draws `seq`, which says only in which order events were inserted, and leaves `seq` in
   `tillport_pending`, in the same transaction. It takes no lock that another insert would want.
2. After the commit somebody *sequences*: takes what is visible in `tillport_pending` out of it and appends it to
   `tillport_order` under the next positions, in one transaction. What is not committed is not visible, and is left
   for later; nobody waits for it.
3. Whoever sequences holds one advisory lock from before it looks until after its commit is visible to all
   (PostgreSQL lets go of locks after that). So positions become visible in their own order, without gaps. The lock is
   taken by a statement of its own, because the next statement must see everything that the one before us placed.
4. Readers see positions alone. A page is read by one statement: head, horizon and rows are of one moment.

It follows that a position that was handed out is final, that nothing ever appears before it, and that any number of
sequencers may race or die at any point: one of them places an event, or its transaction is rolled back and another
places it. There is no leader to be lost and no lease to run out. The commit that places is as durable as any other:
if it could be lost after a reader saw it, another order might take its place.

Who sequences. The process that recorded places its own: `record` *kicks* the process's `Sequencer` with the numbers
that it inserted. It runs while the caller is being answered, and takes together whatever this process recorded
meanwhile. So an event is visible one commit after it is durable, and no two processes do the same work. If the process
dies in between, another one's `sweep` (once a second, one look at an almost always empty table) finds what waits
longer than it should. A transaction of a host's tells by `NOTIFY` that it committed, which wakes the sweeps at once.

In which order. What one process recorded, one call after the other, has that order: its own numbers are placed in the
order in which they were drawn, and a sweep takes everything that is visible, lowest number first. (Taking *some* of
what another process left waiting would not do: it might take that one's second event and leave the first.) What
several processes record within the few milliseconds of a commit has the order in which they place it. What a host
records stands where its commit, not its insert, came to be seen.

A price that long-open transactions would otherwise set. While one is open, PostgreSQL keeps every row version deleted
since: searching `tillport_pending` from its start wades through all of them (measured: 1 ms for each 10,000). So a kick
names the numbers that it means, which finds them at once; only a sweep looks from the start, and rests the longer the
longer it took. Nor is there a counter row for the head, which every batch would leave a dead version of: the head is
`max(position)` of a table that is only appended to.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from tillport.adapters.sql.postgres_statements import OLDEST_PENDING, everything_script, these_script
from tillport.adapters.sql.postgres_store import PostgresStore, StoreUnavailable, ValuesRefused

logger = logging.getLogger("tillport.sql")

_BATCH: Final = 2000
"""Events placed by one transaction: more only when a backlog is worked off."""

_ATTEMPTS: Final = 3


@attrs.define(eq=False)
class Sequencer:
    """Give positions to what was recorded. One per process and database; any number may be at work.

    Each time it has placed something it calls the `tell` that was handed in, besides telling all others by NOTIFY.
    """

    _store: PostgresStore
    tell: Callable[[], None] | None = None
    name: str = attrs.field(init=False, factory=lambda: secrets.token_hex(8))
    """Tells our own notifications from those of others."""
    _mine: list[int] = attrs.field(init=False, factory=list)
    """Inserted and committed by this process, not placed by it yet."""
    _task: asyncio.Task[None] | None = attrs.field(init=False, default=None)
    _seen_waiting: int | None = attrs.field(init=False, default=None)

    @property
    def at_work(self) -> bool:
        """Whether it is placing events now, and will tell when it has."""
        return self._task is not None

    def kick(self, numbers: Iterable[int]) -> None:
        """Say that events with these numbers were committed. Never blocks, never raises."""
        self._mine.extend(numbers)
        if self._mine and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work_off(), name="tillport sequencer")

    async def idle(self) -> None:
        """Return once everything that was kicked for is placed, or the database can't be reached."""
        while self._task is not None:
            await asyncio.wait((self._task,))

    async def sweep(self, *, at_once: bool = False) -> None:
        """Place what nobody placed: what waited at the last sweep already, or, `at_once`, whatever waits now.

        Raises `StoreUnavailable`.
        """
        ((oldest,),) = await self._store.fetch(OLDEST_PENDING)
        if oldest is not None and (at_once or oldest == self._seen_waiting):
            while await self._place(everything_script(limit=_BATCH, sender=self.name)) == _BATCH:
                pass
        self._seen_waiting = oldest

    async def _work_off(self) -> None:
        failures = 0
        try:
            while self._mine and failures < _ATTEMPTS:
                numbers = sorted(self._mine)[:_BATCH]
                try:
                    await self._place(these_script(numbers, sender=self.name))
                    failures = 0
                except (StoreUnavailable, ValuesRefused) as error:
                    failures += 1
                    # What is recorded is safe; the next kick or anybody's sweep places it.
                    logger.log(
                        logging.WARNING if failures == _ATTEMPTS else logging.DEBUG,
                        "positions not given: %s",
                        error,
                    )
                    continue
                done = set(numbers)
                self._mine = [number for number in self._mine if number not in done]
        finally:
            self._task = None

    async def _place(self, script: str) -> int:
        placed = int((await self._store.script(script)).rpartition(" ")[2])
        if placed and self.tell is not None:
            self.tell()
        return placed
