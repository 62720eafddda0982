"""The network to PostgreSQL is cut, reset and swallowed while webhooks are recorded.

Whatever was acknowledged is in the log once; nobody waits longer than was agreed; and when the network is back, so is
the log, by itself.
"""

import asyncio
import random
import time
from contextlib import aclosing

import attrs
import pytest

from tillport.adapters.conformance.proxy import TcpProxy
from tillport.adapters.conformance.samples import event
from tillport.adapters.runtime.group_commit import GroupCommit
from tillport.adapters.sql.postgres import PostgresEventLog
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.ports.event_log import LogUnavailable

STATEMENT_SECONDS, CONNECT_SECONDS = 0.5, 0.5
WAIT_SECONDS_MAX = 20.0
"""A commit that is under way ends within its statement's time and a second; so does the one that waited for it, and a
connection to be had. Far more than that, on a machine that is busy with other tests, and far less than for ever."""
RECOVERY_SECONDS = 30.0


@attrs.define
class Traffic:
    """Writers that never stop, and what they were told."""

    log: GroupCommit
    acknowledged: set[str] = attrs.field(factory=set)
    refused: set[str] = attrs.field(factory=set)
    longest_seconds: float = 0.0
    _next: int = 0
    _ended: bool = False

    async def write(self) -> None:
        while not self._ended:
            self._next += 1
            one = event(self._next, body=b'"' + b"x" * 3000 + b'"')
            began = time.monotonic()
            try:
                await self.log.record([one])
                self.acknowledged.add(one.id)
            except LogUnavailable:
                self.refused.add(one.id)
                await asyncio.sleep(0.02)
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)

    async def flows(self) -> None:
        """Return when webhooks are acknowledged again."""
        before = len(self.acknowledged)
        async with asyncio.timeout(RECOVERY_SECONDS):
            while len(self.acknowledged) < before + 20:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.02)

    def end(self) -> None:
        self._ended = True


async def _suffer(proxy: TcpProxy, fault: str, chance: random.Random) -> None:
    if fault == "cut":
        await proxy.cut()
        await asyncio.sleep(chance.uniform(0.1, 0.6))
    elif fault == "black hole":
        proxy.black_hole()
        await asyncio.sleep(chance.uniform(0.5, 3.0))
    elif fault == "reset in a message":
        proxy.reset_after_bytes = chance.randrange(1, 20_000)
        await asyncio.sleep(0.2)
    else:
        proxy.reset()
    await proxy.heal()


@pytest.mark.parametrize("fault", ["cut", "reset", "reset in a message", "black hole"])
async def test_nothing_acknowledged_is_lost_and_nobody_waits_for_ever(fault: str, postgres, database) -> None:
    chance = random.Random(fault)
    async with (
        TcpProxy(target_port=postgres.port) as proxy,
        aclosing(
            PostgresStore(
                database.replace(f":{postgres.port}/", f":{proxy.port}/"),
                statement_timeout_seconds=STATEMENT_SECONDS,
                connect_timeout_seconds=CONNECT_SECONDS,
            )
        ) as store,
    ):
        log = PostgresEventLog(store)
        traffic = Traffic(GroupCommit(log))
        writers = [asyncio.create_task(traffic.write()) for _ in range(8)]
        for _ in range(4):
            await traffic.flows()
            await _suffer(proxy, fault, chance)
        await traffic.flows()
        traffic.end()
        await asyncio.wait_for(asyncio.gather(*writers), WAIT_SECONDS_MAX)
        await traffic.log.aclose()
        assert traffic.longest_seconds < WAIT_SECONDS_MAX
        assert traffic.refused, "the network was gone"
        again = [event(int(one.removeprefix("evt_"))) for one in sorted(traffic.refused)]
        await log.record(again)  # as Stripe does
        await log.sequencer.idle()
    direct = PostgresStore(database)
    whole = PostgresEventLog(direct)
    try:
        await whole.sequencer.sweep(at_once=True)
        found, after = [], 0
        while (page := await whole.read(after=after, limit=500)).events:
            found += [one.event.id for one in page.events]
            after = page.position
    finally:
        await direct.aclose()
    assert len(found) == len(set(found))
    assert traffic.acknowledged <= set(found)
    assert set(found) == traffic.acknowledged | traffic.refused
