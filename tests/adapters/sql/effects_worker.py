"""A process that performs effects until it is killed: `python effects_worker.py STACK URL [NUMBER]`.

Each handler writes its line, says so on standard output, and takes its time before it returns. The one of that number
says that it hangs, and does: there it is killed.
The log is in memory, with the same events in every process; what is real is the database of the effects.
"""

import asyncio
import itertools
import sqlite3
import sys
import time
from contextlib import aclosing, asynccontextmanager

from tillport.adapters.conformance.samples import event
from tillport.adapters.memory.cursors import MemoryCursors
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.runtime import EffectsWork, EnlisterWork, SystemClock
from tillport.domain.handlers import Handler

EVENTS = 40
HANDLER_SECONDS = 0.03
HANGS_AT = int(sys.argv[3]) if len(sys.argv) > 3 else None

begun = itertools.count(1)


def told(event_id: str) -> None:
    sys.stdout.write(f"{event_id}\n")
    sys.stdout.flush()


def seconds_for(event_id: str) -> float:
    """Tell that a handler has begun, and return how long it is to take."""
    told(event_id)
    if next(begun) != HANGS_AT:
        return HANDLER_SECONDS
    told("hangs")
    return 3600.0


@asynccontextmanager
async def sqlite(path: str):
    from tillport.adapters.sql.effects_stacks import DbapiEffectQueue

    def write(cursor, event) -> None:
        cursor.execute("INSERT INTO lines VALUES (?)", (event.id,))
        time.sleep(seconds_for(event.id))

    async with aclosing(DbapiEffectQueue(lambda: sqlite3.connect(path, timeout=10), threads=2)) as queue:
        yield queue, write


@asynccontextmanager
async def postgres(url: str):
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    from tillport.adapters.sql.effects import AsyncEffectQueue

    async def write(connection, event) -> None:
        await connection.execute(text("INSERT INTO lines VALUES (:line)"), {"line": event.id})
        await asyncio.sleep(seconds_for(event.id))

    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    try:
        yield AsyncEffectQueue(engine), write
    finally:
        await engine.dispose()


async def main(stack: str, url: str) -> None:
    clock, log = SystemClock(), MemoryEventLog()
    async with {"sqlite": sqlite, "postgres": postgres}[stack](url) as (queue, write):
        await queue.create_tables()
        handler = Handler(name="receipts", function=write, from_start=True)
        enlister = EnlisterWork(
            handler=handler,
            log=log,
            queue=queue,
            cursors=MemoryCursors(),
            clock=clock,
            bell=LocalDoorbell(clock),
            owner="one",
        )
        await log.record([event(number) for number in range(1, EVENTS + 1)])
        await enlister.step()
        worker = EffectsWork(handler=handler, log=log, queue=queue, clock=clock, lease_seconds=0.5)
        told("ready")
        sys.stdin.readline()  # whoever kills wants all of us at work at once
        while any(standing.due for standing in await queue.standings()):
            rest = await worker.step()
            await asyncio.sleep(min(rest.seconds, 0.05))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
