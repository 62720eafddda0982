"""How fast Tillport publishes to NATS, acknowledged, beside bare nats-py, in one run against one server.

    python benchmarks/courier.py [--events 20000] [--payments-of 4] [--rounds 3]

Four ways, each on a stream of its own, taking turns: nats-py awaiting each acknowledgement, nats-py's `publish_async`
with 512 in flight (which keeps no order through failures), Tillport's channel in batches of 500, and the same from
publisher to durable consumer in one process. The server fsyncs as NATS does by default, every two minutes.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import nats

from tillport.adapters.nats import Access, NatsChannel, NatsConsumer, StreamSettings
from tillport.adapters.nats.testing import NatsServer
from tillport.ports.channel import Message

BATCH = 500
IN_FLIGHT = 512


def events(count: int, payments_of: int) -> list[Message]:
    body = b'{"id": "evt", "data": "' + b"x" * 3500 + b'"}'
    return [
        Message(
            id=f"evt_{number}",
            key=f"pi_{number // payments_of}",
            headers={"id": f"ch_{number // payments_of}", "type": "charge.succeeded"},
            body=body,
        )
        for number in range(count)
    ]


def as_sent(message: Message, stream: str) -> tuple[str, bytes, dict[str, str]]:
    headers = {**message.headers, "Nats-Msg-Id": message.id}
    return f"{stream.lower()}.{message.key}", message.body, headers


async def bare_one_by_one(url: str, stream: str, messages: list[Message]) -> None:
    async with await nats.connect(url) as client:
        jetstream = client.jetstream()
        await jetstream.add_stream(StreamSettings(name=stream, prefix=stream.lower()).config())
        for message in messages:
            subject, body, headers = as_sent(message, stream)
            await jetstream.publish(subject, body, stream=stream, headers=headers)


async def bare_in_flight(url: str, stream: str, messages: list[Message]) -> None:
    async with await nats.connect(url) as client:
        jetstream = client.jetstream(publish_async_max_pending=IN_FLIGHT)
        await jetstream.add_stream(StreamSettings(name=stream, prefix=stream.lower()).config())
        acknowledgements = []
        for message in messages:
            subject, body, headers = as_sent(message, stream)
            acknowledgements.append(
                await jetstream.publish_async(subject, body, stream=stream, headers=headers)
            )
        await asyncio.gather(*acknowledgements)


async def tillport(url: str, stream: str, messages: list[Message]) -> None:
    settings = StreamSettings(name=stream, prefix=stream.lower())
    async with NatsChannel(Access(servers=url), stream=settings) as channel:
        for start in range(0, len(messages), BATCH):
            await channel.publish(messages[start : start + BATCH])


async def tillport_to_consumer(url: str, stream: str, messages: list[Message]) -> None:
    settings = StreamSettings(name=stream, prefix=stream.lower())
    publishing = asyncio.ensure_future(tillport(url, stream, messages))
    heard: set[str] = set()
    async with NatsConsumer(Access(servers=url), name="bench", stream=settings) as consumer:
        async for delivery in consumer:
            heard.add(delivery.message.id)
            await delivery.ack()
            if len(heard) == len(messages):
                break
    await publishing


WAYS = {
    "nats-py, one by one": (bare_one_by_one, 0.2),
    "nats-py, 512 in flight": (bare_in_flight, 1.0),
    "Tillport's channel": (tillport, 1.0),
    "Tillport, to a consumer": (tillport_to_consumer, 1.0),
}


async def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--events", type=int, default=20_000)
    arguments.add_argument("--payments-of", type=int, default=4, help="events of each payment, side by side")
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    messages = events(given.events, given.payments_of)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, NatsServer(Path(folder)) as server:
        for turn in range(given.rounds):
            for place, (way, (run, share)) in enumerate(WAYS.items()):
                some = messages[: int(len(messages) * share)]
                began = time.perf_counter()
                await run(server.url, f"BENCH{turn}{place}", some)
                rates[way].append(len(some) / (time.perf_counter() - began))
    base = statistics.median(rates["nats-py, 512 in flight"])
    print(f"{given.events} events of 3.5 KB, {given.payments_of} of each payment; median of {given.rounds}")
    for way, measured in rates.items():
        median = statistics.median(measured)
        print(f"{way:26} {median:9,.0f}/s   {median / base:5.2f} of nats-py in flight")


if __name__ == "__main__":
    asyncio.run(main())
