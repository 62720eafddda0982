"""kill -9 of the broker in the middle of publishing: what was acknowledged is there, and everything is in order."""

import asyncio
import random
from typing import Any

import pytest

from tillport.adapters.conformance.couriers import assert_in_order, message
from tillport.adapters.nats import Access, NatsChannel
from tillport.adapters.nats.testing import NatsServer
from tillport.ports.channel import ChannelUnavailable, Message


async def crash_story(
    server: NatsServer, *, seconds: float, seed: int, kills_min: int = 0, acknowledged_min: int = 0
) -> tuple[list[Message], list[Message], int]:
    """Let four publishers work while the server is killed again and again, for so long and until so much happened.

    Returns what was acknowledged (by the first publish that returned), everything that was published in the end,
    and the number of kills.
    """
    chance = random.Random(seed)
    acknowledged: list[Message] = []
    published: list[Message] = []
    stopped = asyncio.Event()

    async def publish(number: int, channel: NatsChannel) -> None:
        count = number * 1_000_000
        while not stopped.is_set():
            size = chance.choice([1, 3, 40])
            batch = [
                message(
                    count + n, key=f"pi_{number}_{chance.randrange(4)}", body=b"x" * chance.randrange(4000)
                )
                for n in range(size)
            ]
            count += size
            published.extend(batch)
            while True:
                try:
                    await channel.publish(batch)
                except ChannelUnavailable:
                    await asyncio.sleep(0.01)
                else:
                    break
            acknowledged.extend(batch)

    kills = 0
    async with (
        NatsChannel(Access(servers=server.url), answer_seconds=3) as one,
        NatsChannel(Access(servers=server.url), answer_seconds=3) as two,
    ):
        publishing = [asyncio.ensure_future(publish(n, (one, two)[n % 2])) for n in range(4)]
        until = asyncio.get_running_loop().time() + seconds
        while (
            asyncio.get_running_loop().time() < until
            or kills < kills_min
            or len(acknowledged) < acknowledged_min
        ):
            await asyncio.sleep(chance.uniform(0.02, 0.3))
            await asyncio.to_thread(server.kill)
            kills += 1
            await asyncio.sleep(chance.uniform(0, 0.05))
            await asyncio.to_thread(server.start)
        stopped.set()
        async with asyncio.timeout(60):
            await asyncio.gather(*publishing)
    return acknowledged, published, kills


async def test_a_killed_broker_keeps_every_acknowledged_message_in_order(
    nats_server: NatsServer, read_stream: Any
) -> None:
    acknowledged, published, _ = await crash_story(
        nats_server, seconds=4, seed=20261123, kills_min=5, acknowledged_min=100
    )
    held = await read_stream(nats_server)
    assert len(acknowledged) == len(published)
    assert {one.id for one in acknowledged} <= {one.id for one in held}
    assert_in_order(held, published)
    assert len(held) == len({one.id for one in held}), "within its window the broker itself drops repetitions"


@pytest.mark.campaign(seconds=300)
async def test_campaign_of_broker_kills(
    nats_server: NatsServer, read_stream: Any, campaign_seconds: float
) -> None:
    acknowledged, published, kills = await crash_story(nats_server, seconds=campaign_seconds, seed=7)
    held = await read_stream(nats_server)
    print(f"{kills} kills, {len(published)} messages")
    assert {one.id for one in acknowledged} <= {one.id for one in held}
    assert_in_order(held, published)
