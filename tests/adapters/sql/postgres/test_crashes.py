"""What PostgreSQL's and our own crashes do to the log: nothing."""

import asyncio
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import asyncpg
import attrs
import pytest

from tillport.adapters.conformance.samples import event
from tillport.adapters.runtime.clock import SystemClock
from tillport.adapters.sql.postgres import PostgresEventLog
from tillport.adapters.sql.postgres_doorbell import PostgresDoorbell
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.ports.event_log import LogUnavailable, RecordedEvent

WRITER = Path(__file__).with_name("writer_process.py")


async def until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.01)


@attrs.define
class Follower:
    """Reads the log as a relay does: from where it stands, for ever, whatever becomes of the database."""

    log: PostgresEventLog
    seen: list[RecordedEvent] = attrs.field(factory=list)
    position: int = 0

    async def run(self) -> None:
        while True:
            try:
                page = await self.log.read(after=self.position, limit=50)
            except LogUnavailable:
                await asyncio.sleep(0.02)
                continue
            assert page.position >= self.position
            self.seen += page.events
            self.position = page.position
            if not page.events:
                await asyncio.sleep(0.005)

    async def reaches(self, wanted: set[str]) -> None:
        await until(lambda: wanted <= {one.event.id for one in self.seen})

    async def assert_it_saw_everything_in_order(self) -> None:
        positions = [one.position for one in self.seen]
        assert positions == sorted(set(positions)), "each position once, in order"
        assert self.seen == [one async for one in everything_in(self.log)], "none left out"
        assert max(Counter(one.event.id for one in self.seen).values()) == 1


async def everything_in(log: PostgresEventLog) -> AsyncIterator[RecordedEvent]:
    page = await log.read(after=0, limit=500)
    while page.events:
        for one in page.events:
            yield one
        page = await log.read(after=page.position, limit=500)


async def record_under_fire(
    log: PostgresEventLog, name: str, acknowledged: set[str], stop: asyncio.Event
) -> None:
    number = 0
    while not stop.is_set():
        batch = [event(1, id=f"evt_{name}_{number + n}", payment_key=f"pi_{name}") for n in range(7)]
        number += 7
        try:
            await log.record(batch)
        except LogUnavailable:
            await asyncio.sleep(0.02)
        else:
            acknowledged.update(one.id for one in batch)


@pytest.mark.timeout(
    300
)  # after a kill PostgreSQL recovers first, which takes half a minute on a crowded machine
@pytest.mark.parametrize("how", ["backend", "postmaster", "everything"])
async def test_what_was_acknowledged_survives_a_killed_server(how, postgres, database) -> None:
    async with aclosing(PostgresStore(database, statement_timeout_seconds=5)) as store:
        log = PostgresEventLog(store)
        bell = PostgresDoorbell(store, log.sequencer, SystemClock(), sweep_seconds=0.2)
        follower = Follower(log)
        running = [asyncio.create_task(bell.run()), asyncio.create_task(follower.run())]
        acknowledged: set[str] = set()
        stop = asyncio.Event()
        writers = [asyncio.create_task(record_under_fire(log, name, acknowledged, stop)) for name in "abc"]
        chance = random.Random(how)
        for _ in range(3):
            before = len(acknowledged)
            await until(lambda: len(acknowledged) > before + 100)  # noqa: B023 - it is over before the next round
            await asyncio.sleep(chance.uniform(0, 0.1))
            if how == "backend":
                backends = list(postgres.backends())
                assert backends
                postgres.kill_backend(chance.choice(backends))
            else:
                (postgres.kill if how == "everything" else postgres.kill_postmaster)()
                await asyncio.to_thread(postgres.start)
        before = len(acknowledged)
        await until(lambda: len(acknowledged) > before + 50)
        stop.set()
        await asyncio.gather(*writers)
        await follower.reaches(acknowledged)
        ((rows, ids),) = await store.fetch('SELECT count(*), count(DISTINCT event_id) FROM "StripeEvents"')
        await until(lambda: len(follower.seen) == rows)
        assert rows == ids, "every row has a position"
        await follower.assert_it_saw_everything_in_order()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await log.sequencer.idle()


async def test_no_reader_is_overtaken_by_many_processes_nor_held_up_by_a_host(postgres, database) -> None:
    async with aclosing(PostgresStore(database)) as store:
        log = PostgresEventLog(store)
        bell = PostgresDoorbell(store, log.sequencer, SystemClock(), sweep_seconds=0.2)
        follower = Follower(log)
        running = [asyncio.create_task(bell.run()), asyncio.create_task(follower.run())]
        host = await asyncpg.connect(database)
        try:
            opened = host.transaction()
            await opened.start()
            await host.execute(
                'INSERT INTO "StripeEvents" (event_id, id, type, payment_key, key_is_alias, aliases, livemode, created, '
                "received_at, body) VALUES ('evt_host', 'ch_1', 'charge.succeeded', 'pi_1', true, '[]', false, 1, 1, '{}')"
            )
            await host.execute(
                "INSERT INTO tillport_pending SELECT seq FROM \"StripeEvents\" WHERE event_id = 'evt_host'"
            )
            writers = [
                subprocess.Popen(  # noqa: ASYNC220 - starting three takes no time
                    [sys.executable, WRITER, database, name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for name in ("x", "y", "z")
            ]
            try:
                # However long it takes for them to start: an open transaction of the host's holds nobody up.
                await until(
                    lambda: (
                        min(
                            Counter(one.event.payment_key for one in follower.seen)[f"pi_{w}a"] for w in "xyz"
                        )
                        > 50
                    ),
                    seconds=60,
                )
                writers[0].kill()
                await asyncio.sleep(0.5)
            finally:
                outputs = [await asyncio.to_thread(one.communicate, None, 60) for one in writers]
            assert [one.returncode for one in writers] == [-9, 0, 0]
            acknowledged = {line for out, _ in outputs for line in out.split()}
            await follower.reaches(acknowledged)
            assert "evt_host" not in {one.event.id for one in follower.seen}
            await opened.commit()
        finally:
            await host.close()
        await follower.reaches({"evt_host"})
        await follower.assert_it_saw_everything_in_order()
        ((first,),) = await store.fetch('SELECT event_id FROM "StripeEvents" ORDER BY seq LIMIT 1')
        assert first == "evt_host", "a reader that followed the numbers of insertion would have missed it"
        for writer in ("ya", "yb", "za", "zb"):
            mine = [
                int(one.event.id.rpartition("_")[2])
                for one in follower.seen
                if one.event.payment_key == f"pi_{writer}"
            ]
            assert mine == sorted(mine), (
                "the events of one payment keep the order in which one process recorded them"
            )
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
