"""What the NATS adapter promises beyond the laws of a courier."""

import asyncio
import gc
import socket
import time
from typing import Any

import nats
import pytest
from nats.js.api import PersistMode, RetentionPolicy, StorageType, StreamConfig

from tillport.adapters.conformance.couriers import assert_in_order, message, persist
from tillport.adapters.conformance.proxy import TcpProxy
from tillport.adapters.nats import Access, NatsChannel, StreamSettings, StreamUnfit
from tillport.adapters.nats.channel import rounds
from tillport.adapters.nats.testing import NatsServer, free_port
from tillport.adapters.nats.wire import outgoing
from tillport.ports.channel import ChannelUnavailable, MessageRefused


def channel_to(server: NatsServer, **options: Any) -> NatsChannel:
    return NatsChannel(Access(servers=server.url, connect_seconds=5), answer_seconds=10, **options)


async def test_a_service_starts_without_a_broker_and_publishes_once_there_is_one(tmp_path: Any) -> None:
    server = NatsServer(tmp_path)
    async with channel_to(server) as channel:
        began = time.monotonic()
        with pytest.raises(ChannelUnavailable):
            await channel.publish([message(1)])
        assert time.monotonic() - began < 20
        with server:
            await channel.publish([message(1)])


async def test_connecting_to_a_host_that_never_answers_is_bounded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, nobody reads
        access = Access(servers=f"nats://127.0.0.1:{silent.getsockname()[1]}", connect_seconds=2)
        async with NatsChannel(access) as channel:
            began = time.monotonic()
            outcomes = await asyncio.gather(
                *(channel.publish([message(number)]) for number in range(20)), return_exceptions=True
            )
            assert all(isinstance(outcome, ChannelUnavailable) for outcome in outcomes)
            assert time.monotonic() - began < 20, (
                "all who wait share one attempt to connect"
            )  # one by one: 40 s


async def test_a_network_that_swallows_everything_is_noticed_and_its_late_bytes_disorder_nothing(
    nats_server: NatsServer, read_stream: Any
) -> None:
    sent = [message(number, key=f"pi_{number % 5}") for number in range(200)]
    async with TcpProxy(target_port=nats_server.port) as proxy:
        access = Access(servers=f"nats://127.0.0.1:{proxy.port}", connect_seconds=1)
        async with NatsChannel(access, answer_seconds=0.5) as channel:
            await persist(channel, sent[:20], seconds=30)  # half a second may be short on a busy machine
            proxy.black_hole()
            for _ in range(3):
                with pytest.raises(ChannelUnavailable):
                    await channel.publish(sent[20:120])
            await proxy.heal()
            await persist(channel, sent[20:120], seconds=30)
            await persist(channel, sent[120:], seconds=30)
    assert_in_order(await read_stream(nats_server), sent)


async def test_a_server_that_freezes_costs_delay_alone(nats_server: NatsServer, read_stream: Any) -> None:
    sent = [message(number, key=f"pi_{number % 5}") for number in range(100)]
    async with NatsChannel(Access(servers=nats_server.url, connect_seconds=1), answer_seconds=0.5) as channel:
        await persist(channel, sent[:50], seconds=30)
        nats_server.freeze()
        with pytest.raises(ChannelUnavailable):
            await channel.publish(sent)
        nats_server.thaw()
        await persist(channel, sent, seconds=30)
    assert_in_order(await read_stream(nats_server), sent)


@pytest.mark.parametrize("cut_at", [1, 500, 5_000, 20_000, 40_000])
async def test_a_connection_that_breaks_in_mid_message_loses_nothing(
    nats_server: NatsServer, read_stream: Any, cut_at: int
) -> None:
    sent = [message(number, key=f"pi_{number % 9}", body=b"x" * 700) for number in range(100)]
    async with TcpProxy(target_port=nats_server.port) as proxy:
        access = Access(servers=f"nats://127.0.0.1:{proxy.port}")
        async with NatsChannel(access) as channel:
            await channel.publish(sent[:1])
            proxy.reset_after_bytes = cut_at
            with pytest.raises(ChannelUnavailable):
                await channel.publish(sent)
            await channel.publish(sent)
    assert_in_order(await read_stream(nats_server), sent)


async def test_a_slow_network_is_no_failure(nats_server: NatsServer, read_stream: Any) -> None:
    sent = [message(number, key=f"pi_{number}") for number in range(300)]
    async with TcpProxy(target_port=nats_server.port) as proxy:
        proxy.delay_seconds = 0.1
        async with NatsChannel(Access(servers=f"nats://127.0.0.1:{proxy.port}")) as channel:
            await channel.publish(sent[:1])
            began = time.monotonic()
            await channel.publish(sent)
            assert time.monotonic() - began < 20, (
                "messages of different payments travel together"
            )  # one by one: 60 s
    assert_in_order(await read_stream(nats_server), sent)


async def test_a_message_whose_headers_make_it_too_large_is_refused_and_the_connection_lives(
    make_courier: Any,
) -> None:
    async with make_courier(max_payload_bytes=10_000) as courier:
        fits = message(1, body=b"x" * 9_000)
        await courier.channel.publish([fits])
        with pytest.raises(MessageRefused, match="10000"):
            await courier.channel.publish([message(2), message(3, body=b"x" * 9_950)])
        await courier.channel.publish([message(2)])
        assert courier.proxy.connections == 1
        assert [one.id for one in await courier.received()] == ["evt_1", "evt_2"]


async def test_the_largest_message_is_measured_as_the_server_measures_it(make_courier: Any) -> None:
    async with make_courier(max_payload_bytes=10_000) as courier:
        headers = {"note": "schön"}
        bare = outgoing(message(1, body=b"", headers=headers), prefix="stripe", stream="STRIPE").size
        await courier.channel.publish([message(1, body=b"x" * (10_000 - bare), headers=headers)])
        with pytest.raises(MessageRefused):
            await courier.channel.publish([message(2, body=b"x" * (10_001 - bare), headers=headers)])


async def test_a_limit_of_the_streams_own_refuses_too(nats_server: NatsServer) -> None:
    await _make_stream(nats_server, max_msg_size=500)
    async with channel_to(nats_server) as channel:
        with pytest.raises(MessageRefused) as refusal:
            await channel.publish([message(1), message(2, body=b"x" * 600)])
        assert refusal.value.message_id == "evt_2"
        await channel.publish([message(1)])


async def test_the_stream_is_made_durable_and_bounded(nats_server: NatsServer) -> None:
    async with channel_to(nats_server) as channel:
        await channel.publish([message(1)])
    client = await nats.connect(nats_server.url)
    try:
        config = (await client.jetstream().stream_info("STRIPE")).config
    finally:
        await client.close()
    assert config.storage == StorageType.FILE
    assert config.subjects == ["stripe.*"]
    assert config.max_age == 7 * 86400
    assert config.duplicate_window == 600
    assert config.retention == RetentionPolicy.LIMITS


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"storage": StorageType.MEMORY}, "memory"),
        ({"retention": RetentionPolicy.INTEREST}, "interest"),
        ({"subjects": ["other.*"]}, "subjects"),
        ({"no_ack": True}, "acknowledges nothing"),
        ({"max_msgs_per_subject": 1}, "all but the last 1"),
        ({"persist_mode": PersistMode.ASYNC}, "before they are written"),
    ],
)
async def test_a_stream_that_would_lose_messages_is_refused_by_name(
    nats_server: NatsServer, wrong: dict[str, Any], told: str
) -> None:
    await _make_stream(nats_server, **wrong)
    async with channel_to(nats_server) as channel:
        with pytest.raises(StreamUnfit, match=told):
            await channel.publish([message(1)])


async def test_a_stream_that_somebody_else_made_and_that_is_fit_is_left_as_it_is(
    nats_server: NatsServer,
) -> None:
    await _make_stream(nats_server, subjects=["stripe.>"], max_msgs=77)
    async with channel_to(nats_server) as channel:
        await channel.publish([message(1)])
    client = await nats.connect(nats_server.url)
    try:
        assert (await client.jetstream().stream_info("STRIPE")).config.max_msgs == 77
    finally:
        await client.close()


async def test_a_stream_that_is_deleted_meanwhile_is_made_again(
    nats_server: NatsServer, read_stream: Any
) -> None:
    async with channel_to(nats_server) as channel:
        await channel.publish([message(1)])
        client = await nats.connect(nats_server.url)
        try:
            await client.jetstream().delete_stream("STRIPE")
        finally:
            await client.close()
        with pytest.raises(ChannelUnavailable):
            await channel.publish([message(2)])
        await channel.publish([message(2)])
    assert [one.id for one in await read_stream(nats_server)] == ["evt_2"]


async def test_an_acknowledgement_by_any_other_stream_does_not_count(nats_server: NatsServer) -> None:
    async with channel_to(nats_server) as channel:
        await channel.publish([message(1)])
        client = await nats.connect(nats_server.url)
        try:
            await client.jetstream().delete_stream("STRIPE")
            await client.jetstream().add_stream(StreamConfig(name="OTHER", subjects=["stripe.>"]))
        finally:
            await client.close()
        with pytest.raises(ChannelUnavailable):
            await channel.publish([message(2)])


async def test_a_store_that_is_full_stops_a_payment_where_it_stands(
    nats_server: NatsServer, read_stream: Any
) -> None:
    # What is too much for the store is followed by something that would fit: it must wait for its turn.
    await _make_stream(nats_server, max_bytes=4_000, discard="new")
    large, small = message(1, body=b"x" * 5_000), message(2, body=b"x")
    async with channel_to(nats_server) as channel:
        with pytest.raises(ChannelUnavailable):
            await channel.publish([large, small])
    assert await read_stream(nats_server) == []


async def test_a_closed_channel_refuses_and_leaves_nothing_behind(nats_server: NatsServer) -> None:
    before = asyncio.all_tasks()
    channel = channel_to(nats_server)
    try:
        await channel.publish([message(1)])
    finally:
        await channel.close()
    await channel.close()
    with pytest.raises(ChannelUnavailable):
        await channel.publish([message(2)])
    await asyncio.sleep(0)
    gc.collect()
    assert asyncio.all_tasks() == before


async def test_closing_fails_what_is_in_flight(nats_server: NatsServer) -> None:
    channel = NatsChannel(Access(servers=nats_server.url), answer_seconds=30)
    try:
        await channel.publish([message(1)])
        nats_server.freeze()
        pending = asyncio.ensure_future(channel.publish([message(2)]))
        await asyncio.sleep(0.1)
    finally:
        await channel.close()
    with pytest.raises(ChannelUnavailable):
        await asyncio.wait_for(pending, 15)  # and not when its answer is given up, after 30 s


async def test_secrets_of_the_connection_are_never_shown() -> None:
    url = f"nats://till:hunter2@127.0.0.1:{free_port()}"
    access = Access(servers=url, token="s3cret", connect_seconds=0.5)
    assert "hunter2" not in repr(access)
    assert "s3cret" not in repr(access)
    async with NatsChannel(access) as channel:
        with pytest.raises(ChannelUnavailable) as failure:
            await channel.publish([message(1)])
    assert "hunter2" not in str(failure.value)


def test_rounds_hold_each_key_once_and_keep_its_order() -> None:
    ready = [
        outgoing(message(number, key=key), prefix="s", stream="S") for number, key in enumerate("aabacbbcaa")
    ]
    cut = list(rounds(ready, most=2))
    assert [[one.key for one in together] for together in cut] == [
        ["a", "b"],
        ["c"],
        ["a", "b"],
        ["c"],
        ["a", "b"],
        ["a"],
        ["a"],
    ]
    flat = [one for together in cut for one in together]
    for key in "abc":
        assert [o.id for o in flat if o.key == key] == [o.id for o in ready if o.key == key]


async def _make_stream(server: NatsServer, **settings: Any) -> None:
    client = await nats.connect(server.url)
    try:
        config = StreamSettings().config().evolve(**settings)
        if config.retention != RetentionPolicy.LIMITS:
            config = config.evolve(discard="old")
        await client.jetstream().add_stream(config)
    finally:
        await client.close()
