"""Handlers at work beside the stores that settings name."""

import asyncio
import sqlite3
from contextlib import aclosing

import pytest

from tillport.adapters.compose import Secret, open_stores, run_effects
from tillport.adapters.conformance.samples import NOON, event
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.runtime import SystemClock
from tillport.adapters.sql.effects_stacks import DbapiEffectQueue
from tillport.domain.handlers import Handlers
from tillport.ports.effects import EffectState


@pytest.fixture
async def queue(tmp_path):
    path = tmp_path / "host.sqlite3"
    async with aclosing(DbapiEffectQueue(lambda: sqlite3.connect(path), threads=1)) as queue:
        await queue.create_tables()
        yield queue


async def marks(queue, count: int) -> None:
    """Wait until so many effects stand as done."""
    while len(await queue.list(states=[EffectState.DONE])) != count:  # noqa: ASYNC110 - it is in a database
        await asyncio.sleep(0.01)


async def test_what_is_done_is_forgotten_after_its_event(tmp_path, queue) -> None:
    handlers, seen = Handlers(), []
    handlers.on(name="note", from_start=True)(lambda _cursor, event: seen.append(event.id))
    url = Secret(f"sqlite:///{tmp_path / 'till.sqlite3'}")
    async with open_stores(url, ManualClock(now=NOON)) as long_ago:
        await long_ago.log.record([event(number) for number in range(1, 6)])
    async with (
        open_stores(url, ManualClock(now=NOON)) as stores,
        run_effects(handlers, queue, stores=stores, clock=ManualClock(now=NOON), run_loops=False) as effects,
    ):
        await effects.enlisters[0].step()
        await effects.workers[0].step()
        assert len(seen) == 5
        await effects.retention.step()
        assert len(await queue.list(states=[EffectState.DONE])) == 5
        await stores.log.forget(received_before=event(4).received_at, up_to=99, now=NOON)
        await effects.retention.step()
        done = await queue.list(states=[EffectState.DONE])
        assert [one.event_id for one in done] == ["evt_4", "evt_5"]
        assert list(await stores.log.record([event(1)])) == [False]
        await effects.enlisters[0].step()
        await effects.workers[0].step()
    assert seen == ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"]


async def test_the_loops_forget_too(tmp_path, queue) -> None:
    handlers = Handlers()
    handlers.on(name="note", from_start=True)(lambda _cursor, _event: None)
    url = Secret(f"sqlite:///{tmp_path / 'till.sqlite3'}")
    async with open_stores(url, SystemClock()) as long_ago:
        await long_ago.log.record([event(1), event(2)])
    async with open_stores(url, SystemClock()) as stores:
        async with asyncio.timeout(60), run_effects(handlers, queue, stores=stores):
            await marks(queue, 2)
        await stores.log.forget(received_before=event(2).received_at, up_to=99, now=NOON)
        async with asyncio.timeout(60), run_effects(handlers, queue, stores=stores):
            await marks(queue, 1)
