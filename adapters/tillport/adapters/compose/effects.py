"""Run an embedder's handlers beside the service, or in a process of their own; and open the queue for operators.

async with open_service(settings) as service, run_effects(handlers, queue, stores=service.stores):
    ...

async with open_stores(Secret(url), clock) as stores, run_effects(handlers, queue, stores=stores):
    await asyncio.Event().wait()
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any, Generic, TypeVar

import attrs

from tillport.adapters.compose.secret import Secret
from tillport.adapters.compose.stores import Stores, readable, sqlite_path
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.runtime import EffectsWork, EnlisterWork, Loop, MarksRetentionWork, SystemClock
from tillport.domain.effects import begin
from tillport.domain.handlers import Handlers
from tillport.ports.clock import Clock
from tillport.ports.effects import EffectQueue

Tx = TypeVar("Tx")


@attrs.frozen(kw_only=True)
class Effects(Generic[Tx]):
    """Handlers at work: what enlists for them, what performs, and what forgets the marks of forgotten events."""

    queue: EffectQueue[Tx]
    enlisters: tuple[EnlisterWork[Tx], ...]
    workers: tuple[EffectsWork[Tx], ...]
    retention: MarksRetentionWork
    loops: tuple[Loop, ...]


@asynccontextmanager
async def run_effects(
    handlers: Handlers[Tx],
    queue: EffectQueue[Tx],
    *,
    stores: Stores,
    clock: Clock | None = None,
    random: Random | None = None,
    workers: int = 1,
    handler_seconds: float = 30.0,
    lease_seconds: float = 8.0,
    drain_seconds: float = 10.0,
    run_loops: bool = True,
) -> AsyncIterator[Effects[Tx]]:
    """Run the handlers, with so many `workers` for each, until the context ends; then finish what is under way.

    When the context is entered every handler has its place in the log: it will see what is recorded from then on.
    A coroutine handler has `handler_seconds`; on the way out a round has `drain_seconds` before it is cancelled. The
    rest of a dead process's work is taken over after `lease_seconds`. Any number of processes may do the same.

    Effects that are done stay in the queue for as long as the log has their events, and are forgotten after them.

    The queue is not closed here. Raises `LogUnavailable` if the databases can't be reached at the start.
    """
    clock = clock or SystemClock()
    random = random or Random()  # noqa: S311 - spreads retries in time and names owners; no secret comes from it
    bell = LocalDoorbell(clock)
    owner = f"effects:{random.getrandbits(64):016x}"
    for handler in handlers:
        await begin(handler, stores.log, queue)
    enlisters = tuple(
        EnlisterWork(
            handler=handler,
            log=stores.log,
            queue=queue,
            cursors=stores.cursors,
            clock=clock,
            bell=bell,
            owner=owner,
            lease_seconds=lease_seconds,
        )
        for handler in handlers
    )
    performing = tuple(
        EffectsWork(
            handler=handler,
            log=stores.log,
            queue=queue,
            clock=clock,
            handler_seconds=handler_seconds,
            lease_seconds=lease_seconds,
        )
        for handler in handlers
        for _ in range(workers)
    )
    retention = MarksRetentionWork(log=stores.log, queue=queue)
    loops = (
        *(Loop(work=work, clock=clock, doorbell=stores.doorbell, random=random) for work in enlisters),
        *(
            Loop(work=work, clock=clock, doorbell=bell, random=random, drain_seconds=drain_seconds)
            for work in performing
        ),
        Loop(work=retention, clock=clock, doorbell=stores.doorbell, random=random),
    )
    async with AsyncExitStack() as closing:
        if run_loops:
            for loop in loops:
                await closing.enter_async_context(loop)
        yield Effects(queue=queue, enlisters=enlisters, workers=performing, retention=retention, loops=loops)


@asynccontextmanager
async def open_effect_queue(database_url: Secret) -> AsyncIterator[EffectQueue[Any]]:
    """Open the queue that a database URL names, to look at it and to decide about dead letters.

    Raises `SettingsRefused` for a URL that can't be served.
    """
    url = readable(database_url)
    if url.startswith("sqlite"):
        import sqlite3

        from tillport.adapters.sql.effects_stacks import DbapiEffectQueue

        path = sqlite_path(url)
        blocking = DbapiEffectQueue(lambda: sqlite3.connect(path), threads=1)
        try:
            yield blocking
        finally:
            await blocking.aclose()
        return
    from tillport.adapters.sql.effects import open_async_effect_queue

    async with open_async_effect_queue(url) as queue:
        yield queue
