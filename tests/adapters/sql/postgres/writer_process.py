"""One service process, reduced to what matters here: records events until told to stop, and says which it was answered for.

    python writer_process.py URL NAME

Prints an event's id once its `record` has returned. Ends when its input is closed, or however it is killed.
"""

import asyncio
import os
import sys
from contextlib import aclosing

from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.postgres import PostgresEventLog
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.ports.event_log import LogUnavailable


async def write(log: PostgresEventLog, name: str, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        batch = [
            event(1, id=f"evt_{name}_{number + n}", payment_key=f"pi_{name}", aliases=(f"ch_{number}",))
            for n in range(5)
        ]
        number += 5
        try:
            await log.record(batch)
        except LogUnavailable:
            await asyncio.sleep(0.02)
            continue
        os.write(1, "".join(f"{one.id}\n" for one in batch).encode())
        await asyncio.sleep(0.003)


async def main(url: str, name: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, stop.set)
    async with aclosing(PostgresStore(url)) as store:
        log = PostgresEventLog(store)
        await asyncio.gather(*(write(log, f"{name}{task}", stop) for task in "ab"))
        await log.sequencer.idle()


asyncio.run(main(*sys.argv[1:]))
