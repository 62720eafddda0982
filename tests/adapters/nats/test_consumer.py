"""Durable consumers over NATS, beyond the laws."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from tillport.adapters.conformance.couriers import hear, message
from tillport.adapters.conformance.proxy import TcpProxy
from tillport.adapters.memory.channel import MemoryChannel
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.nats import Access, NatsChannel, NatsConsumer, StreamSettings
from tillport.adapters.nats.consumer import ConsumerUnfit
from tillport.adapters.nats.testing import NatsServer
from tillport.ports.selector import Compare


async def publish(server: NatsServer, *numbers: int) -> None:
    async with NatsChannel(Access(servers=server.url)) as channel:
        await channel.publish([message(number, key=f"pi_{number % 3}") for number in numbers])


def consumer_of(server: NatsServer, name: str = "a", **options: Any) -> NatsConsumer:
    return NatsConsumer(
        Access(servers=server.url, connect_seconds=2), name=name, retry_seconds=0.05, **options
    )


def test_text_where_something_else_is_wanted_is_refused_and_hears_nothing_in_silence() -> None:
    access = Access(servers="nats://127.0.0.1:4222")
    selector: Any = "id = 'ch_1'"
    with pytest.raises(TypeError, match="parse_selector"):
        NatsConsumer(access, name="a", selector=selector)
    with pytest.raises(TypeError, match="parse_selector"):
        MemoryChannel(ManualClock()).consumer("a", selector=selector)
    with pytest.raises(TypeError, match="as a list"):
        NatsConsumer(access, name="a", keys="pi_1")


async def test_a_lone_event_is_heard_at_once(nats_server: NatsServer) -> None:
    await publish(nats_server, 0)
    async with consumer_of(nats_server) as consumer, NatsChannel(Access(servers=nats_server.url)) as channel:
        await hear(consumer, 1)
        waiting = asyncio.ensure_future(consumer.next(seconds=60))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await channel.publish([message(1)])
        assert await waiting is not None
        assert time.monotonic() - began < 15, "it came when it was sent, not when the pull expired after 30 s"


async def test_a_consumer_may_come_before_the_stream_and_before_the_server(tmp_path: Any) -> None:
    server = NatsServer(tmp_path)
    async with consumer_of(server) as consumer:
        waiting = asyncio.ensure_future(anext(consumer))
        await asyncio.sleep(0.2)
        with server:
            await asyncio.sleep(0.2)
            await publish(server, 1)
            async with asyncio.timeout(60):
                assert (await waiting).message.id == "evt_1"


async def test_what_is_on_its_way_when_a_consumer_closes_is_given_back_too(nats_server: NatsServer) -> None:
    await publish(nats_server, 1)
    async with TcpProxy(target_port=nats_server.port) as proxy:
        slow = NatsConsumer(Access(servers=f"nats://127.0.0.1:{proxy.port}"), name="a", ack_wait_seconds=60)
        await hear(slow, 1)
        proxy.delay_seconds = 0.5
        await publish(nats_server, 2)
        await asyncio.sleep(0.2)  # the server has sent it, and it is not here yet
        await slow.close()
    async with consumer_of(nats_server, ack_wait_seconds=60) as next_one:
        assert [one.id for one in await hear(next_one, 1)] == ["evt_2"]


async def test_what_a_restarted_process_gives_back_comes_again_in_order(nats_server: NatsServer) -> None:
    await publish(nats_server, *range(0, 18, 3))
    heard = []
    for _ in range(3):
        async with consumer_of(nats_server) as consumer:
            heard += await hear(consumer, 1)
    async with consumer_of(nats_server) as consumer:
        held = await consumer.next(seconds=10)
        assert held is not None  # in hand, and behind it more waits
    async with consumer_of(nats_server) as consumer:
        heard += await hear(consumer, 3)
    assert [one.id for one in heard] == [f"evt_{number}" for number in range(0, 18, 3)]


async def test_a_killed_server_is_outlived(nats_server: NatsServer) -> None:
    await publish(nats_server, *range(10))
    async with consumer_of(nats_server) as consumer:
        heard = {one.id for one in await hear(consumer, 10)}
        for number in range(10, 13):
            nats_server.kill()
            nats_server.start()
            await publish(nats_server, number)
            while f"evt_{number}" not in heard:
                heard |= {one.id for one in await hear(consumer, 1)}


@pytest.fixture
def quick_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats and the patience with them, each in about the same proportion, so that no test waits for six seconds."""
    monkeypatch.setattr("tillport.adapters.nats.consumer._HEARTBEAT_SECONDS", 0.5)
    monkeypatch.setattr("tillport.adapters.nats.consumer._SILENT_SECONDS_MAX", 1)


@pytest.mark.usefixtures("quick_heartbeats")
async def test_a_network_that_swallows_everything_is_noticed(nats_server: NatsServer) -> None:
    await publish(nats_server, 1)
    async with TcpProxy(target_port=nats_server.port) as proxy:
        access = Access(servers=f"nats://127.0.0.1:{proxy.port}", connect_seconds=1)
        async with NatsConsumer(access, name="a", retry_seconds=0.05) as consumer:
            await hear(consumer, 1)
            proxy.black_hole()
            waiting = asyncio.ensure_future(consumer.next(seconds=90))
            # After a few heartbeats the connection is given up, and not when its pings have run out (30 s).
            async with asyncio.timeout(20):
                while proxy.connections == 1:  # noqa: ASYNC110 - the proxy tells nobody
                    await asyncio.sleep(0.05)
            await proxy.heal()
            await publish(nats_server, 2)
            found = await waiting
            assert found is not None
            assert found.message.id == "evt_2"


@pytest.mark.usefixtures("quick_heartbeats")
@pytest.mark.parametrize("seconds", [0.5, 60])
async def test_a_server_that_forgot_the_request_is_asked_again_however_short_each_look_is(
    nats_server: NatsServer, seconds: float
) -> None:
    """In a cluster the stream's server may be restarted behind the one that we are connected to, which stays."""
    await publish(nats_server, 1)
    async with consumer_of(nats_server) as consumer:
        await hear(consumer, 1)
        assert await consumer.next(seconds=0.2) is None
        pull = consumer._pull
        assert pull is not None
        assert pull.subscription is not None
        await pull.link.client._send_unsubscribe(pull.subscription._id)  # with which it forgets us
        await pull.link.client.flush()
        await publish(nats_server, 2)
        async with asyncio.timeout(30):
            while (found := await consumer.next(seconds=seconds)) is None:
                pass
        assert found.message.id == "evt_2"
        assert consumer._pull is not pull


async def test_what_this_process_acknowledged_is_not_handed_out_again(nats_server: NatsServer) -> None:
    stream = StreamSettings(duplicate_window_seconds=0.2)
    async with NatsChannel(Access(servers=nats_server.url), stream=stream) as channel:
        await channel.publish([message(1)])
        client = await nats.connect(nats_server.url)
        try:
            while (await client.jetstream().stream_info("STRIPE")).state.messages < 2:
                await asyncio.sleep(0.05)
                await channel.publish([message(1)])  # until the server has forgotten that it has it
        finally:
            await client.close()
        await channel.publish([message(2)])
    async with consumer_of(nats_server) as consumer:
        assert [one.id for one in await hear(consumer, 2)] == ["evt_1", "evt_2"]


async def test_messages_without_an_id_are_not_taken_for_repetitions_of_one_another(
    nats_server: NatsServer,
) -> None:
    await publish(nats_server, 1)  # makes the stream
    client = await nats.connect(nats_server.url)
    try:
        for number in range(3):
            await client.jetstream().publish("stripe.pi_9", b"by hand %d" % number)
    finally:
        await client.close()
    async with consumer_of(nats_server) as consumer:
        heard = await hear(consumer, 4)
    assert [one.id for one in heard] == ["evt_1", "", "", ""]
    assert [one.body for one in heard[1:]] == [b"by hand 0", b"by hand 1", b"by hand 2"]


SHARED = StreamSettings(name="SHARED", prefix="pay")


async def fill_shared_stream(server: NatsServer, *numbers: int) -> None:
    """Publish, to a stream that is not ours alone, somebody's order before each payment's event."""
    client = await nats.connect(server.url)
    try:
        await client.jetstream().add_stream(
            StreamConfig(name="SHARED", subjects=["orders.*", "pay.>"], duplicate_window=60)
        )
        async with NatsChannel(Access(servers=server.url), stream=SHARED) as channel:
            for number in numbers:
                await client.jetstream().publish(
                    "orders.42", b"{}", headers={"Nats-Msg-Id": f"order_{number}"}
                )
                await client.jetstream().publish("pay.deep.er", b"{}")
                await channel.publish([message(number)])
    finally:
        await client.close()


async def test_of_a_stream_that_others_publish_to_only_payments_are_heard(nats_server: NatsServer) -> None:
    await fill_shared_stream(nats_server, 1, 2)
    async with consumer_of(nats_server, stream=SHARED) as consumer:
        assert [one.id for one in await hear(consumer, 2)] == ["evt_1", "evt_2"]
        assert await consumer.next(seconds=0.3) is None


async def test_a_consumer_that_an_older_version_made_keeps_its_place_and_hears_only_payments(
    nats_server: NatsServer,
) -> None:
    await fill_shared_stream(nats_server, 1, 2)
    client = await nats.connect(nats_server.url)
    try:
        jetstream = client.jetstream()
        before = ConsumerConfig(
            durable_name="a", ack_policy=AckPolicy.EXPLICIT, ack_wait=1, max_ack_pending=1000, max_deliver=-1
        )
        await jetstream.add_consumer("SHARED", before)  # no filter
        heard = await (await jetstream.pull_subscribe_bind("a", "SHARED")).fetch(4)
        for one in heard[:3]:
            await one.ack()
        assert [one.subject for one in heard[2:]] == ["pay.pi_1", "orders.42"], "the last one is left open"
        await client.flush()
        async with consumer_of(nats_server, stream=SHARED, ack_wait_seconds=1) as consumer:
            assert [one.id for one in await hear(consumer, 1)] == ["evt_2"]
            told = await jetstream.consumer_info("SHARED", "a")
            async with asyncio.timeout(30):
                while (
                    told.num_ack_pending
                ):  # what is not ours and was left open comes again, once, and not to us
                    assert await consumer.next(seconds=0.2) is None
                    told = await jetstream.consumer_info("SHARED", "a")
        assert told.config.filter_subjects == ["pay.*"]
        assert told.num_pending == 0
    finally:
        await client.close()


async def test_keys_narrow_what_the_server_sends(nats_server: NatsServer) -> None:
    await publish(nats_server, *range(9))
    async with consumer_of(nats_server, keys=["pi_1", "pi_2"]) as consumer:
        assert [one.id for one in await hear(consumer, 6)] == [f"evt_{n}" for n in (1, 2, 4, 5, 7, 8)]
        assert await consumer.next(seconds=0.3) is None


async def test_one_at_a_time_keeps_the_order_even_of_what_comes_again(nats_server: NatsServer) -> None:
    await publish(nats_server, 0, 3, 6)
    heard = []
    async with consumer_of(nats_server, most_unacknowledged=1) as consumer:
        while len(heard) < 3:
            found = await consumer.next(seconds=10)
            assert found is not None
            if found.attempt == 1:
                await found.nak()
                continue
            heard.append(found.message.id)
            await found.ack()
    assert heard == ["evt_0", "evt_3", "evt_6"]


async def test_what_is_not_selected_stands_in_nobodys_way(nats_server: NatsServer) -> None:
    """The server sends no more than so many that are not acknowledged: what is passed over must be."""
    await publish(nats_server, 0, 1, 2)
    only = Compare("id", "=", message(2, key="pi_2").headers["id"])
    async with consumer_of(nats_server, selector=only, most_unacknowledged=1) as consumer:
        found = await consumer.next(seconds=10)
        assert found is not None
        assert found.message.id == "evt_2"


async def test_two_processes_of_one_name_keep_the_order_one_at_a_time(nats_server: NatsServer) -> None:
    wanted = [f"evt_{number}" for number in range(0, 60, 3)]
    done: list[str] = []
    finished = asyncio.Event()

    async def work(consumer: NatsConsumer, work_seconds: float) -> None:
        async for found in consumer:
            await asyncio.sleep(work_seconds)
            done.append(found.message.id)
            await found.ack()
            if len(done) == len(wanted):
                finished.set()

    options = {"most_unacknowledged": 1, "batch": 4}
    async with consumer_of(nats_server, **options) as quick, consumer_of(nats_server, **options) as slow:
        working = asyncio.gather(work(quick, 0.001), work(slow, 0.03))
        await publish(nats_server, *range(0, 60, 3))
        async with asyncio.timeout(60):
            await finished.wait()
    await working
    assert done == wanted


async def test_two_processes_of_one_name_may_work_on_one_payment_at_once(nats_server: NatsServer) -> None:
    """What the test above is worth: unless one at a time is asked for, nobody waits for the older of two."""
    await publish(nats_server, *range(0, 60, 3))
    async with consumer_of(nats_server, batch=4) as one, consumer_of(nats_server, batch=4) as other:
        older = await one.next(seconds=30)
        younger = await other.next(seconds=30)
        assert older is not None
        assert younger is not None
        assert (older.message.id, younger.message.id) == ("evt_0", "evt_12")


async def test_what_waits_its_turn_is_not_sent_again_while_a_slow_handler_works(
    nats_server: NatsServer,
) -> None:
    await publish(nats_server, *range(40))
    attempts = []
    async with consumer_of(nats_server, ack_wait_seconds=3) as consumer:
        while len(attempts) < 40:  # which takes longer than that, and none of them nearly as long
            found = await consumer.next(seconds=30)
            assert found is not None
            attempts.append(found.attempt)
            await asyncio.sleep(0.1)
            await found.ack()
    assert attempts == [1] * 40
    assert await deliveries(nats_server) == 40


async def deliveries(server: NatsServer, name: str = "a") -> int:
    """How often the server has sent anything to the consumer of that name."""
    client = await nats.connect(server.url)
    try:
        delivered = (await client.jetstream().consumer_info("STRIPE", name)).delivered
        assert delivered is not None
        return delivered.consumer_seq
    finally:
        await client.close()


async def hear_slowly(
    server: NatsServer, consumer: NatsConsumer, work: Callable[[], Awaitable[None]]
) -> tuple[list[str], list[int]]:
    """Work on each of five messages of one payment, the last of which is published meanwhile."""
    heard: dict[str, None] = {}
    attempts = []
    await publish(server, 0, 3, 6, 9)
    while len(heard) < 5:
        found = await consumer.next(seconds=30)
        assert found is not None
        heard.setdefault(found.message.id)
        attempts.append(found.attempt)
        await work()
        await found.ack()
        if len(heard) == 1:
            await publish(server, 12)
    return list(heard), attempts


IN_ORDER = ["evt_0", "evt_3", "evt_6", "evt_9", "evt_12"]


async def test_a_handler_that_needs_almost_all_its_time_loses_no_order_and_raises_no_attempt(
    nats_server: NatsServer,
) -> None:
    # The second waits for less than a third of the time, after which all that waits is kept, and then needs almost all.
    works = iter([1.5, 5.0, 0.0, 0.0, 0.0])

    async def work() -> None:
        await asyncio.sleep(next(works))

    async with consumer_of(nats_server, ack_wait_seconds=6) as consumer:
        heard, attempts = await hear_slowly(nats_server, consumer, work)
    assert heard == IN_ORDER
    assert attempts == [1] * 5
    assert await deliveries(nats_server) == 5


async def test_what_waits_behind_a_slow_handler_is_not_sent_to_others(nats_server: NatsServer) -> None:
    await publish(nats_server, *range(4))
    async with (
        consumer_of(nats_server, ack_wait_seconds=4) as slow,
        consumer_of(nats_server, ack_wait_seconds=4) as other,
    ):
        found = await slow.next(seconds=30)
        idle = asyncio.ensure_future(other.next(seconds=5))
        for number, work_seconds in enumerate([1.2, 3.2, 0.0, 0.0]):  # two together are longer than ack_wait
            found = found or await slow.next(seconds=30)
            assert found is not None
            assert (found.message.id, found.attempt) == (f"evt_{number}", 1)
            await asyncio.sleep(work_seconds)
            await found.ack()
            found = None
        assert await idle is None
    assert await deliveries(nats_server) == 4


@pytest.mark.parametrize("seconds", [0.475, 0.8])
async def test_a_handler_that_blocks_the_loop_loses_no_order_and_nothing_that_waits(
    nats_server: NatsServer, seconds: float
) -> None:
    async def work() -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - the timer can't run meanwhile

    async with consumer_of(nats_server, ack_wait_seconds=0.5) as consumer:
        heard, attempts = await hear_slowly(nats_server, consumer, work)
    assert heard == IN_ORDER
    assert attempts == [1] * 5, "what ran out meanwhile and comes again is dropped: it was heard in its turn"


async def test_handlers_that_never_suspend_let_their_acknowledgements_leave(nats_server: NatsServer) -> None:
    await publish(nats_server, *range(40))
    heard = []
    async with consumer_of(nats_server, ack_wait_seconds=3) as consumer:
        while len(heard) < 40:  # which takes longer than that
            found = await consumer.next(seconds=30)
            assert found is not None
            heard.append((found.message.id, found.attempt))
            time.sleep(0.1)  # noqa: ASYNC251 - on purpose
            await found.ack()
        assert heard == [(f"evt_{number}", 1) for number in range(40)]
        assert await deliveries(nats_server) == 40


async def test_a_handler_that_hangs_holds_nothing_that_others_could_hear(nats_server: NatsServer) -> None:
    await publish(nats_server, 0, 3, 6)
    async with consumer_of(nats_server, ack_wait_seconds=0.5) as hanging:
        assert await hanging.next(seconds=10) is not None  # and it never comes for the next one
        async with consumer_of(nats_server, ack_wait_seconds=0.5) as other:
            assert sorted(one.id for one in await hear(other, 3)) == ["evt_0", "evt_3", "evt_6"]
            await publish(nats_server, 9, 12)
            assert [one.id for one in await hear(other, 2)] == ["evt_9", "evt_12"]


async def test_no_more_than_a_batch_waits_however_long_a_handler_works(nats_server: NatsServer) -> None:
    await publish(nats_server, *range(50))
    async with consumer_of(nats_server, ack_wait_seconds=0.6, batch=10) as consumer:
        first = await consumer.next(seconds=30)
        assert first is not None
        assert consumer._pull is not None
        while len(consumer._pull.waiting) < 9:  # noqa: ASYNC110 - they are on their way
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        await first.ack()
        assert len(consumer._pull.waiting) == 9
        assert len(await hear(consumer, 49)) == 49


async def test_closing_ends_the_waiting_of_others_at_once(nats_server: NatsServer) -> None:
    await publish(nats_server, 1)
    consumer = consumer_of(nats_server)
    await hear(consumer, 1)
    waiting = asyncio.ensure_future(anext(consumer, None))
    await asyncio.sleep(0.1)
    await consumer.close()
    async with asyncio.timeout(20):  # and not until the request runs out, after 30 s
        assert await waiting is None


@pytest.mark.parametrize(("delay_seconds", "seconds"), [(0.0, 0.0), (0.2, 0.3)])
async def test_who_waits_for_less_than_connecting_takes_hears_all_the_same(
    nats_server: NatsServer, delay_seconds: float, seconds: float
) -> None:
    await publish(nats_server, 1)
    async with TcpProxy(target_port=nats_server.port) as proxy:
        proxy.delay_seconds = delay_seconds
        access = Access(servers=f"nats://127.0.0.1:{proxy.port}", connect_seconds=10)
        async with NatsConsumer(access, name="a") as consumer, asyncio.timeout(20):
            while (found := await consumer.next(seconds=seconds)) is None:  # noqa: ASYNC110 - on purpose
                await asyncio.sleep(0.01)
        assert found.message.id == "evt_1"
        assert proxy.connections == 1


async def test_closing_while_it_connects_hands_out_nothing_and_leaves_no_connection(
    nats_server: NatsServer,
) -> None:
    await publish(nats_server, 1)
    async with TcpProxy(target_port=nats_server.port) as proxy:
        proxy.delay_seconds = 0.2
        consumer = NatsConsumer(Access(servers=f"nats://127.0.0.1:{proxy.port}"), name="a")
        waiting = asyncio.ensure_future(anext(consumer, None))
        while not proxy.connections:  # noqa: ASYNC110 - the proxy tells nobody
            await asyncio.sleep(0.01)
        await consumer.close()
        async with asyncio.timeout(30):
            assert await waiting is None
            while proxy._pairs:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)


async def test_a_name_that_is_taken_by_another_kind_of_consumer_is_told(nats_server: NatsServer) -> None:
    await publish(nats_server, 1)
    client = await nats.connect(nats_server.url)
    try:
        await client.jetstream().add_consumer("STRIPE", durable_name="a", deliver_subject="elsewhere")
    finally:
        await client.close()
    async with consumer_of(nats_server) as consumer:
        with pytest.raises(ConsumerUnfit):
            await consumer.next(seconds=5)


async def test_a_deleted_consumer_is_made_again(nats_server: NatsServer) -> None:
    await publish(nats_server, 1)
    async with consumer_of(nats_server) as consumer:
        await hear(consumer, 1)
        waiting = asyncio.ensure_future(consumer.next(seconds=60))
        await asyncio.sleep(0.1)
        client = await nats.connect(nats_server.url)
        try:
            await client.jetstream().delete_consumer("STRIPE", "a")
        finally:
            await client.close()
        await publish(nats_server, 2)
        found = await waiting
        assert found is not None
        assert found.message.id == "evt_2", "what this process has acknowledged it drops by itself"


async def test_closing_leaves_nothing_behind(nats_server: NatsServer) -> None:
    await publish(nats_server, 1)
    before = asyncio.all_tasks()
    consumer = consumer_of(nats_server)
    try:
        await hear(consumer, 1)
    finally:
        await consumer.close()
    await consumer.close()
    assert await consumer.next(seconds=1) is None
    await asyncio.sleep(0)
    gc.collect()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("name", ["", "two words", "a.b", "a*", "ä"])
def test_a_name_that_nats_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        NatsConsumer(Access(servers="nats://127.0.0.1:4222"), name=name)
