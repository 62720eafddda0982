"""The edge that sends webhooks: whatever becomes of an attempt, the others are sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tillport.simulator import Attempt, ManualClock, Request, Simulator
from tillport.simulator.control import control
from tillport.simulator.deliverer import Deliverer
from tillport.simulator.stripecli import SCHEME, SESSIONS, SUBSCRIBE, Listeners

URL = "http://127.0.0.1:9/in"
PATIENCE_SECONDS = 5.0
UNFORESEEN = RuntimeError("nobody foresaw this")


class Broken:
    """Listeners that fail."""

    async def deliver(self, attempt: Attempt) -> int | None:
        raise UNFORESEEN


def paid(url: str) -> Simulator:
    """Return a simulator with three deliveries to make, wherever the endpoint says that it is."""
    sim = Simulator(clock=ManualClock(), seed=1)
    endpoint = sim.webhook_endpoints.create(url=URL, enabled_events=["*"])
    # None of these is taken by the API; a journal of an earlier version may hold one.
    sim.account.deliveries._endpoints[endpoint.id].url = url
    sim.payment_intents.create(amount=2000, currency="usd", confirm=True, payment_method="pm_card_visa")
    return sim


async def settled(sim: Simulator, **options: Any) -> tuple[list[int | None], list[Exception]]:
    """Deliver what is due, one at a time; return the statuses, and the errors that the loop was told of."""
    told: list[Exception] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    deliverer = Deliverer(sim, concurrency=1, **options)
    deliverer.start()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await deliverer.settled()
    finally:
        await deliverer.stop()
    return [entry.status for entry in sim.account.deliveries.log], told


@pytest.mark.parametrize("url", ["http://a..b/x", f"http://{'a' * 70}.test/x"])
async def test_a_host_that_is_no_name_gives_no_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(_: Any, host: str, *__: Any, **___: Any) -> Any:
        host.encode("idna")  # as the resolver does, which tests may not ask

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", resolve)
    # Nobody else is told: it is the endpoint's fault, and the log of deliveries says so.
    assert await settled(paid(url)) == ([0, 0, 0], [])


async def test_an_error_that_nobody_foresaw_keeps_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise UNFORESEEN

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", fail)
    assert await settled(paid(URL)) == ([0, 0, 0], [UNFORESEEN] * 3)


async def test_a_listener_that_fails_keeps_no_slot() -> None:
    assert await settled(paid(SCHEME + "cliws_1"), listeners=Broken()) == ([0, 0, 0], [UNFORESEEN] * 3)


async def test_an_attempt_that_can_not_be_begun_does_not_stop_the_others() -> None:
    statuses, told = await settled(paid("http://127.0.0.1:port/"))
    assert statuses == [0, 0, 0]
    assert [type(error) for error in told] == [ValueError] * 3


async def test_who_is_being_connected_to_at_the_end_has_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = asyncio.Event()

    async def hang(*_: Any, **__: Any) -> Any:
        connecting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", hang)
    sim = paid(URL)
    deliverer = Deliverer(sim, concurrency=1)
    deliverer.start()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await connecting.wait()
    await deliverer.stop()
    assert [entry.status for entry in sim.account.deliveries.log] == [0]


@pytest.mark.parametrize(("answers", "statuses", "requests"), [(True, [200] * 3, 3), (False, [0] * 3, 3)])
async def test_a_connection_that_is_closed_after_its_answer_costs_no_delivery(
    answers: bool, statuses: list[int], requests: int
) -> None:
    heard = 0

    async def answer_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        try:
            if not await reader.read(1):
                return
            heard += 1
            if answers:
                # As if it would stay open.
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        finally:
            writer.close()

    async with await asyncio.start_server(answer_and_close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await settled(paid(f"http://127.0.0.1:{port}/in")) == (statuses, [])
    # Who was told nothing on a new connection has had his chance: it counts, and is tried again later.
    assert heard == requests


def test_a_loop_takes_over_from_one_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = paid(URL)
    deliverer = Deliverer(sim, concurrency=1)

    async def begin() -> None:
        asked = asyncio.Event()

        class Deaf(asyncio.Transport):
            """A connection on which nobody answers, and which ends with its loop."""

            def write(self, data: Any) -> None:
                asked.set()

        async def connect(make: Any, *_: Any, **__: Any) -> Any:
            connection = make()
            connection.connection_made(Deaf())
            return None, connection

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", connect)
        deliverer.start()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asked.wait()

    asyncio.run(begin())
    # Nobody delivers now, and a call is no worse for it.
    sim.customers.create()
    asyncio.run(begin())
    assert [entry.status for entry in sim.account.deliveries.log] == [0, None]
    assert sim.backlog == 4


@asynccontextmanager
async def listening(sim: Simulator) -> AsyncIterator[None]:
    """Listen to a simulator as the Stripe CLI does, until the end of the block."""
    listeners, auth = Listeners(sim), {"authorization": f"Bearer {sim.secret_key}"}
    session = msgspec.json.decode(listeners.open_session(Request("POST", SESSIONS, auth)).body)
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    accepted = asyncio.Event()

    async def send(_: Any) -> None:
        accepted.set()

    told.put_nowait({"type": "websocket.connect"})
    scope = {"type": "websocket", "path": SUBSCRIBE + session["websocket_id"]}
    open_ = asyncio.create_task(listeners.websocket(scope, told.get, send))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await accepted.wait()
        await asyncio.sleep(0)
        yield
        told.put_nowait({"type": "websocket.disconnect"})
        await open_


def heard(sim: Simulator) -> list[str]:
    """Take what is due; return the kinds of addresses that it is for."""
    attempts = sim.due_deliveries()
    for attempt in attempts:
        sim.delivery_result(attempt, 200)
    return [attempt.url.partition(":")[0] for attempt in attempts]


async def test_who_listens_hears_through_a_reset_and_is_in_no_copy() -> None:
    sim = Simulator(clock=ManualClock(), seed=1)
    prepared = sim.freeze()
    async with listening(sim):
        sim.customers.create()
        fork = sim.freeze().fork()
        assert heard(sim) == ["stripecli"]
        fork.customers.create()
        assert heard(fork) == []
        for back_to in (None, prepared):
            sim.reset(back_to)
            sim.customers.create()
            assert heard(sim) == ["stripecli"]
    sim.customers.create()
    assert heard(sim) == []


@pytest.mark.parametrize("by", ["the API", "the control route"])
async def test_a_resend_to_all_goes_to_all_who_listen_for_it_and_to_nobody_else(by: str) -> None:
    sim = Simulator(clock=ManualClock(), seed=1)
    thin: Any = {"type": "webhook_endpoint", "event_payload": "thin", "webhook_endpoint": {"url": URL}}
    sim.event_destinations.create(name="x", enabled_events=["v1.customer.created"], **thin)
    sim.webhook_endpoints.create(url="https://other.test/", enabled_events=["charge.succeeded"])
    async with listening(sim):
        sim.customers.create()
        assert sorted(heard(sim)) == ["http", "stripecli"]
        (event,) = sim.events.list().data
        if by == "the API":
            sim.events.retry(event.id)
        else:
            order = msgspec.json.encode({"event": event.id})
            json = {"content-type": "application/json"}
            answer = control(sim, Request("POST", "/_sim/redeliver", json, order))
            assert msgspec.json.decode(answer.body) == {"queued": 2}
        assert sorted(heard(sim)) == ["http", "stripecli"]
