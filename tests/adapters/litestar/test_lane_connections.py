"""The life of a connection: the same laws hold with the lane and without it, and the lane's memory is bounded."""

import asyncio
import logging
import uuid
from functools import partial

import pytest
import uvloop
from wire import Side

from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.runtime.group_commit import GroupCommit
from tillport.ports.event_log import LogUnavailable

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
OK = b"HTTP/1.1 200 OK\r\n"
CLOSE = b"\r\nconnection: close\r\n"


@pytest.fixture(params=LOOPS)
def run(request):
    def run(main):
        complaints = []
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
            result = runner.run(main)
        assert not complaints
        return result

    return run


@pytest.fixture(params=["lane", "lane to any other log", "server"])
def make_side(request, make_world):
    def make(**options):
        grouped = request.param != "lane to any other log"
        return Side(make_world(), with_lane=request.param != "server", grouped=grouped, **options)

    return make


@pytest.fixture
def webhook(make_event):
    def webhook(side):
        body = make_event(id=f"evt_{uuid.uuid4().hex}")
        head = f"POST /webhooks/stripe HTTP/1.1\r\nHost: a\r\nStripe-Signature: {side.world.sign(body)}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    return webhook


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(make_side, webhook, run):
    side = make_side(keep_alive_seconds=0.3)

    async def story():
        side.log.gate = asyncio.Event()
        async with side.connected() as wire:
            await wire.send(webhook(side))
            await asyncio.sleep(0.7)
            await wire.settle()
            assert (wire.answers, wire.closed) == (b"", False)
            side.log.gate.set()
            await wire.closes()
            assert wire.answers.count(OK) == 1
            assert CLOSE not in wire.answers

    run(story())


def test_half_a_body_is_waited_for(make_side, webhook, run):
    side = make_side(keep_alive_seconds=0.3)

    async def story():
        async with side.connected() as wire:
            whole = webhook(side)
            await wire.send(webhook(side) + whole[:-5])
            await asyncio.sleep(0.7)
            await wire.settle()
            assert (wire.answers.count(OK), wire.closed) == (1, False)
            await wire.send(whole[-5:])
            await wire.settle()
            assert wire.answers.count(OK) == 2

    run(story())


@pytest.mark.parametrize("began", [False, True])
def test_a_shutdown_closes_idle_connections_at_once(make_side, webhook, run, began):
    side = make_side()

    async def story():
        async with side.connected() as wire:
            if began:
                await wire.send(webhook(side))
                await wire.settle()
            for connection in list(side.state.connections):
                connection.shutdown()
            await wire.until(lambda: not side.state.connections)
            assert (wire.answers.count(OK), wire.closed) == (int(began), True)

    run(story())


@pytest.mark.parametrize("missing", [0, 7])
def test_a_shutdown_lets_the_request_that_has_begun_be_answered_and_no_other(
    make_side, webhook, run, missing
):
    side = make_side()

    async def story():
        side.log.gate = asyncio.Event()
        async with side.connected() as wire:
            whole = webhook(side)
            await wire.send(whole[: len(whole) - missing])
            for connection in list(side.state.connections):
                connection.shutdown()
            await wire.send(whole[len(whole) - missing :] + webhook(side))
            await wire.settle()
            assert (wire.answers, wire.closed) == (b"", False)
            side.log.gate.set()
            await wire.until(lambda: not side.state.connections)
            assert (wire.answers.count(b"HTTP/1.1 "), wire.answers.count(OK)) == (1, 1)
            assert CLOSE in wire.answers or not side.with_lane  # uvicorn says so from 0.53 on
            assert wire.closed
            assert len(await side.recorded()) == 1

    run(story())


def test_an_error_told_at_the_end_closes_too(make_side, webhook, run):
    side = make_side()

    async def story():
        side.log.gate, side.log.error = asyncio.Event(), RuntimeError("no")
        async with side.connected() as wire:
            await wire.send(webhook(side))
            for connection in list(side.state.connections):
                connection.shutdown()
            side.log.gate.set()
            await wire.until(lambda: not side.state.connections)
            status = b"503" if side.grouped else b"500"  # a group commit answers for its log
            assert wire.answers.startswith(b"HTTP/1.1 %s " % status)
            assert CLOSE in wire.answers or not side.with_lane  # uvicorn says so from 0.53 on

    run(story())


def test_a_client_that_leaves_in_the_middle_of_its_body_is_forgotten(make_side, webhook, run, caplog):
    caplog.set_level(logging.INFO)
    side = make_side()

    async def story():
        async with side.connected() as wire:
            await wire.send(webhook(side)[:-1])
            await wire.settle()
        assert not side.state.connections
        assert not side.state.tasks
        assert await side.recorded() == []

    run(story())
    assert not [record for record in caplog.records if record.name.startswith(("tillport", "uvicorn"))]


@pytest.mark.parametrize("error", [None, RuntimeError("no")])
def test_a_client_that_leaves_after_its_body_harms_nobody(make_side, webhook, run, error):
    side = make_side()

    async def story():
        side.log.gate, side.log.error = asyncio.Event(), error
        async with side.connected() as wire:
            await wire.send(webhook(side))
            await wire.until(lambda: side.log.entered)
            wire.client.close()
            await wire.until(lambda: not side.state.connections)
            assert side.state.tasks
        assert len(await side.recorded()) == (0 if error else 1)

    run(story())


def test_a_server_out_of_patience_leaves_no_connection(make_side, webhook, run):
    side = make_side()

    async def story():
        side.log.gate = asyncio.Event()
        async with side.connected() as wire:
            await wire.send(webhook(side))
            await wire.until(lambda: side.log.entered)
            for connection in list(side.state.connections):
                connection.shutdown()
            for task in list(side.state.tasks):
                task.cancel()
            await wire.until(lambda: not side.state.connections and not side.state.tasks)
            assert OK not in wire.answers
            assert wire.closed
        assert await side.recorded() == []

    run(story())


def test_every_answer_is_counted(make_side, webhook, run):
    side = make_side()

    async def story():
        async with side.connected() as wire:
            await wire.send(webhook(side) * 3)
            await wire.settle()
            assert wire.answers.count(OK) == 3
        assert side.state.total_requests == 3

    run(story())


def test_as_many_refusals_as_a_read_can_hold_are_told_one_after_another(make_side, run):
    side = make_side()
    knock = b"POST /webhooks/stripe HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"

    async def story():
        async with side.connected() as wire:
            await wire.send(
                knock * 600
            )  # 40 KB: less than what is read at once, more than Python nests calls
            for _ in range(600):  # the socket holds some of the answers until the client reads them
                await wire.settle()
                if wire.answers.count(b"HTTP/1.1 400 ") == 600:
                    break
            else:
                raise AssertionError("some were not answered")

    run(story())


def test_a_log_that_says_no_at_once_is_answered_for(make_side, webhook, run):
    side = make_side()

    async def story():
        if not side.grouped:
            side.log.error = LogUnavailable("It is closed.")
        else:
            await side.till.log.aclose()
        async with side.connected() as wire:
            await wire.send(webhook(side) * 2)
            await wire.settle()
            assert wire.answers.count(b"HTTP/1.1 503 ") == 2
            assert not wire.closed
        assert await side.recorded() == []

    run(story())


def test_a_log_that_wraps_another_is_not_passed_by(make_world, webhook, run):
    world = make_world()
    world.log = GroupCommit(world.log)
    side = Side(world, with_lane=True, grouped=False)  # its log passes on whatever it does not know

    async def story():
        async with side.connected() as wire:
            await wire.send(webhook(side))
            await wire.settle()
            assert wire.answers.startswith(OK)
        assert side.log.entered == 1
        assert len(await side.recorded()) == 1

    run(story())


class BrokenBell(LocalDoorbell):
    def ring(self):
        raise RuntimeError("no rope")


def test_a_doorbell_that_fails_loses_nothing_and_is_answered_for(make_side, webhook, run):
    """The event is recorded: Stripe sends it again, and is told then that it was."""
    side = make_side(doorbell=BrokenBell(ManualClock()))
    knock = webhook(side)

    async def story():
        async with side.connected() as wire:
            for status in (b"500", b"200"):
                wire.answers = b""
                await wire.send(knock)
                await wire.settle()
                assert wire.answers.startswith(b"HTTP/1.1 " + status)
        assert len(await side.recorded()) == 1

    run(story())


class FullTransport(asyncio.Transport):
    """A transport that a test fills and empties."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.reading = True
        self.closing = self.aborted = False
        self.unsent = 0
        self.protocol = None

    def get_write_buffer_size(self):
        return self.unsent

    def abort(self):
        self.closing = self.aborted = True

    def write(self, data):
        self.written += data

    def pause_reading(self):
        assert self.reading
        self.reading = False

    def resume_reading(self):
        assert not self.reading
        self.reading = True

    def is_closing(self):
        return self.closing

    def close(self):
        self.closing = True

    def set_protocol(self, protocol):
        self.protocol = protocol


class Timers:
    """The running loop with timers that a test lets pass; the lane asks nothing else of a loop."""

    def __init__(self):
        self.now, self.due = 0.0, {}
        self.call_soon = asyncio.get_running_loop().call_soon

    def time(self):
        return self.now

    def call_later(self, seconds, callback, *args):
        timer = type("Timer", (), {"cancel": lambda timer: self.due.pop(timer, None)})()
        self.due[timer] = (self.now + seconds, partial(callback, *args))
        return timer

    def pass_by(self, seconds):
        self.now += seconds
        for timer, (moment, callback) in list(self.due.items()):
            if moment <= self.now:
                del self.due[timer]
                callback()


@pytest.fixture
def lane_alone(make_world):
    return Side(make_world(), with_lane=True)


async def turns(count=30):
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_comes_while_a_request_is_in_flight_is_not_read_on_and_on(lane_alone, webhook, run):
    side = lane_alone

    async def story():
        side.log.gate = asyncio.Event()
        transport, connection = FullTransport(), side.protocol()
        connection.connection_made(transport)
        connection.data_received(webhook(side) + webhook(side)[:-3])
        await turns()
        assert (transport.reading, transport.written) == (False, b"")
        side.log.gate.set()
        await turns()
        assert (transport.reading, transport.written.count(OK)) == (True, 1)
        connection.connection_lost(None)

    run(story())


@pytest.mark.parametrize("next_is_plain", [True, False])
def test_a_client_that_reads_no_answers_is_asked_for_no_more_requests(
    lane_alone, webhook, run, next_is_plain
):
    side = lane_alone

    async def story():
        transport, connection = FullTransport(), side.protocol()
        connection.connection_made(transport)
        connection.data_received(webhook(side))
        connection.pause_writing()
        await turns()
        assert transport.written.count(OK) == 1
        connection.data_received(webhook(side) if next_is_plain else b"GET /health HTTP/1.1\r\n")
        await turns()
        assert (transport.reading, transport.written.count(OK)) == (False, 1)
        connection.resume_writing()
        await turns()
        assert transport.reading
        if next_is_plain:
            assert transport.written.count(OK) == 2
            connection.connection_lost(None)
        else:
            assert (side.handed_over, transport.protocol is None) == (1, False)
            transport.protocol.connection_lost(None)
        assert not side.state.connections

    run(story())


def test_a_body_in_very_many_pieces_is_kept_in_its_own_size(lane_alone, webhook, run):
    side = lane_alone

    async def story():
        whole = webhook(side)
        head = whole.index(b"\r\n\r\n") + 4
        transport, connection = FullTransport(), side.protocol()
        connection.connection_made(transport)
        connection.data_received(whole[:head])
        for number in range(head, len(whole)):
            assert transport.written == b""
            connection.data_received(whole[number : number + 1])
        await turns()
        assert transport.written.count(OK) == 1
        assert [body for _, body in await side.recorded()] == [whole[head:]]
        connection.connection_lost(None)

    run(story())


def test_idle_time_is_counted_from_the_last_answer_by_one_timer(lane_alone, webhook, run):
    side = lane_alone

    async def story():
        timers, transport = Timers(), FullTransport()
        connection = side.lane.connection(side.state, others=None, keep_alive_seconds=5, loop=timers)
        connection.connection_made(transport)
        timers.pass_by(1000)
        for _ in range(4):
            connection.data_received(webhook(side))
            await turns()
            assert len(timers.due) == 1
            timers.pass_by(3)
            assert not transport.closing
        side.log.gate = asyncio.Event()
        connection.data_received(webhook(side))
        await turns()
        timers.pass_by(1000)
        assert (transport.closing, timers.due) == (False, {})
        side.log.gate.set()
        await turns()
        timers.pass_by(4.9)
        assert not transport.closing
        timers.pass_by(0.2)
        assert transport.closing
        connection.connection_lost(None)
        assert not timers.due

    run(story())


def test_a_connection_that_is_lost_or_handed_over_leaves_no_timer(lane_alone, webhook, run):
    side = lane_alone

    async def story():
        for lost in (True, False):
            timers, transport = Timers(), FullTransport()
            connection = side.lane.connection(
                side.state, others=asyncio.Protocol, keep_alive_seconds=5, loop=timers
            )
            connection.connection_made(transport)
            connection.data_received(webhook(side))
            await turns()
            assert timers.due
            if lost:
                connection.connection_lost(None)
            else:
                connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
                assert transport.protocol is not None
            assert not timers.due
            assert not side.state.connections

    run(story())


@pytest.mark.parametrize("reads", [True, False])
def test_a_shutdown_waits_for_who_reads_its_answers_and_for_nobody_else(lane_alone, run, reads):
    side = lane_alone

    async def story():
        timers, transport = Timers(), FullTransport()
        connection = side.lane.connection(side.state, others=None, keep_alive_seconds=5, loop=timers)
        connection.connection_made(transport)
        transport.unsent = 1000
        connection.shutdown()
        for unsent in (900, 800):
            assert (transport.closing, transport.aborted) == (True, False)
            transport.unsent = unsent if reads else 1000
            timers.pass_by(60)
            if not reads:
                break
        assert transport.aborted is not reads
        connection.connection_lost(None)
        timers.pass_by(60)
        assert not timers.due

    run(story())
