"""A durable consumer of NATS in a process of its own, as another service would have it.

It does with each event what costs least and can be counted: it drops what it had already, writes the id of a new one
to a file, and acknowledges. So the figure is that of the way here, not of somebody's database.
"""

import asyncio
import sys
from pathlib import Path
from typing import IO

import uvloop
from ingesting._progress import Progress

from tillport.adapters.nats import Access, NatsConsumer


async def consume(url: str, heard: set[str], file: IO[str]) -> None:
    """Hear for ever, and keep each id once."""
    async with NatsConsumer(Access(servers=url), name="benchmark") as consumer:
        async for delivery in consumer:
            event_id = delivery.message.id
            if event_id not in heard:
                heard.add(event_id)
                file.write(f"{event_id}\n")
            await delivery.ack()


async def main(url: str, file: IO[str]) -> None:
    """Consume until nobody asks any more."""
    heard: set[str] = set()
    consuming = asyncio.ensure_future(consume(url, heard, file))
    await asyncio.to_thread(Progress(lambda: len(heard)).answer)
    consuming.cancel()
    await asyncio.wait([consuming])


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w", encoding="utf-8", buffering=1) as ids:
        uvloop.run(main(sys.argv[1], ids))
