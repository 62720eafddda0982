"""Positions on PostgreSQL: an order that no reader can overtake, and for which nobody waits.

The trouble. A reader follows the log by number: "what comes after 41?". If an event got its number when it was
inserted, a transaction that drew 42 could commit after one that drew 43. A reader that saw 43 meanwhile goes on from
there and never learns of 42. A transaction may stay open for minutes, when a host records within its own.

The rules.

1. A position is drawn from a sequence by whoever holds one advisory lock, and the lock is held until the commit that
   makes the position visible is seen by all (PostgreSQL lets go of locks after that). So positions become visible in
   their own order. A commit that fails leaves a gap, which means nothing.
2. What a process of ours records is committed at once, by one statement: it inserts the events, then takes the lock,
   draws their positions, writes them to `tillport_order` and tells everybody. It waits for another process's commit at
   most, because nobody holds the lock while waiting for anything else: whoever must wait for a host's transaction, which
   holds one of the events, waits before asking for the lock. An event is there to be read when it is acknowledged.
3. A host's transaction must not hold the lock, since it may stay open. It leaves `seq`, which says only in which order
   rows were inserted, in `tillport_pending`. After its commit somebody *sequences*: takes what is visible there out of
   it and gives it positions, in a short transaction of its own. What is not committed is not visible, and is left for
   later; nobody waits for it.
4. Readers see positions alone. A page is read by one statement: head, horizon and rows are of one moment.

It follows that a position that was handed out is final, that nothing ever appears before it, and that any number of
processes may race or die at any point. There is no leader to be lost and no lease to run out.

Why a sequence, and not `max(position) + 1`: a statement sees the table as it was when the statement began, which is
before it got the lock; a sequence is always read as it is now. Nor is there a counter row for the head: while a
transaction is open for long, PostgreSQL keeps every version of that row, and each batch would wade through all of them.

Who sequences. A host's transaction tells by `NOTIFY` that it committed, which wakes a *sweep* in every process: the
first takes everything that is visible, lowest number first. If that was not heard, there is a look once a second at an
almost always empty table. (Taking *some* of it would not do: it might be a transaction's second event without its first.)

An older version of Tillport gave every position in this second way, as `max(position) + 1`, and the sequence knows
nothing of those. While one is still at work the statement finds the sequence behind the log's head, and leaves its
batch waiting; or it meets a position that is taken, and is tried again. Whoever sequences first brings the sequence
up to the head. The same heals a copy of the database that came without its sequences. Such a batch is placed by the
process that recorded it, which was told its numbers: it *kicks* its `Sequencer`.

In which order. An event that was acknowledged before another one was sent stands before it, whichever processes
recorded them. What a host records stands where its commit, not its insert, came to be seen.

A price that long-open transactions set. While one is open, PostgreSQL keeps every row version deleted since:
searching `tillport_pending` from its start wades through all of them (measured: 1 ms for each 10,000). Only what hosts
record passes through there; a kick names the numbers that it means, which finds them at once; and a sweep rests the
longer the longer it took.
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
    """Give positions to what waits for them. One per process and database; any number may be at work.

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

    def placed(self) -> None:
        """Say that what this process recorded has its positions already, and that all others were told."""
        if self.tell is not None:
            self.tell()

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
        count = int((await self._store.script(script)).rpartition(" ")[2])
        if count:
            self.placed()
        return count
