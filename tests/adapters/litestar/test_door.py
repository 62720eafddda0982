"""The pieces behind the routes: work that outlives its request, stopping, and living in somebody else's application."""

import asyncio
import logging

import anyio
import httpx
import pytest
from litestar import Litestar, get

from tillport.adapters.litestar import Door, HttpSettings, seed_router, till_router
from tillport.adapters.litestar.streams import Streams
from tillport.adapters.litestar.unfinished import Unfinished
from tillport.adapters.memory.clock import ManualClock
from tillport.ports.access import Caller, CallerKind
from tillport.ports.money import Money, UnknownCurrency
from tillport.ports.payments import ChargeOrder


async def test_work_whose_caller_is_cancelled_goes_on_to_its_end():
    work = Unfinished(ManualClock())
    go, done = asyncio.Event(), []

    async def charge():
        await go.wait()
        done.append("charged")

    caller = asyncio.create_task(work.finish(charge()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert not done
    draining = asyncio.create_task(work.drained(seconds=60))
    await asyncio.sleep(0)
    go.set()
    assert await draining is True
    assert done == ["charged"]


async def test_work_that_fails_after_its_caller_left_makes_no_noise(caplog):
    work = Unfinished(ManualClock())
    go = asyncio.Event()

    async def charge():
        await go.wait()
        raise RuntimeError("late")

    caller = asyncio.create_task(work.finish(charge()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    go.set()
    assert await work.drained(seconds=60)
    assert not caplog.records


async def test_draining_gives_up_when_its_time_is_over():
    clock = ManualClock()
    work = Unfinished(clock)
    caller = asyncio.create_task(work.finish(asyncio.sleep(3600)))
    await asyncio.sleep(0)
    draining = asyncio.create_task(work.drained(seconds=25))
    await asyncio.sleep(0.01)
    clock.advance(25)
    assert await draining is False
    for task in [caller, *work._tasks]:
        task.cancel()
    await asyncio.gather(caller, return_exceptions=True)


async def test_a_caller_whom_the_stop_cuts_off_is_told_that_the_charge_is_under_way(world):
    world.gateway.slow_seconds = 60
    door = Door(world.till, world.keys)
    app = Litestar([till_router(door)], logging_config=None, openapi_config=None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://till.test") as client:
        order = {"token": "tok_visa", "amount_minor": 1250}
        request = asyncio.create_task(client.post("/charges", json=order, headers=world.as_app))
        await anyio.wait_all_tasks_blocked()
        door.stop()
        request.cancel()  # as servers do whose patience has ended
        answer = await request
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "charge_in_progress")
    assert "Do not pay again" in answer.json()["error"]["remedy"]
    world.clock.advance(60)
    assert await door.unfinished.drained(seconds=1)
    assert len(world.gateway.held) == 1


async def test_what_the_server_waited_for_charges_is_not_waited_for_once_more(world):
    world.gateway.slow_seconds = 60
    door, told = Door(world.till, world.keys, settings=HttpSettings(drain_seconds=25)), asyncio.Event()

    async def served():
        async with door.lifespan(world.app):
            await told.wait()

    serving = asyncio.create_task(served())
    order = ChargeOrder("tok_visa", Money(1250, "usd"))
    caller = Caller("shop", CallerKind.SERVER)
    charging = asyncio.create_task(door.unfinished.finish(world.till.charge(order, caller=caller)))
    await anyio.wait_all_tasks_blocked()
    door.stop()
    world.clock.advance(20)
    told.set()
    await anyio.wait_all_tasks_blocked()
    assert not serving.done(), "five seconds are left"
    world.clock.advance(5)
    await asyncio.wait([serving], timeout=10)
    assert serving.done()
    world.clock.advance(35)
    assert (await charging).charged


async def test_a_stopped_door_is_not_ready_and_admits_no_stream(world):
    door = Door(world.till, world.keys)
    app = Litestar([till_router(door)], logging_config=None, openapi_config=None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://till.test") as client:
        assert (await client.get("/ready")).status_code == 200
        door.stop()
        door.stop()
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/transactions/ch_1/events", headers=world.as_app)).status_code == 503
        assert (await client.get("/health")).status_code == 200


async def test_an_application_that_is_started_again_is_ready_again(world):
    door = Door(world.till, world.keys)
    app = Litestar([till_router(door)], lifespan=[door.lifespan], logging_config=None, openapi_config=None)
    for _ in range(2):
        async with (
            app.lifespan(),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://till.test") as client,
        ):
            assert (await client.get("/ready")).status_code == 200


async def test_a_stream_that_is_admitted_just_before_the_stop_ends_as_others_do(world, monkeypatch):
    admit = Streams.admit

    def admit_and_stop(streams):
        admit(streams)
        streams.stop()

    monkeypatch.setattr(Streams, "admit", admit_and_stop)
    async with world.client() as client:
        answer = await client.get("/transactions/ch_1/events", headers=world.as_app)
    assert answer.status_code == 200, "a browser gives up for good on anything else"
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_the_routers_live_in_somebody_elses_application(world, make_event):
    @get("/")
    async def home() -> str:
        return "the shop"

    @get("/broken")
    async def broken() -> str:
        raise RuntimeError

    door = Door(world.till, world.keys)
    app = Litestar(
        [home, broken, till_router(door, path="/pay"), seed_router(door)],
        lifespan=[door.lifespan],
        logging_config=None,
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://till.test"
    ) as client:
        assert (await client.get("/")).text == "the shop"
        order = {"token": "tok_visa", "amount_minor": 1250}
        assert (await client.post("/pay/charges", json=order, headers=world.as_app)).status_code == 200
        assert "error" in (await client.post("/pay/charges", json=order)).json()
        body = make_event()
        answer = await client.post(
            "/pay/webhooks/stripe", content=body, headers={"Stripe-Signature": world.sign(body)}
        )
        assert answer.json() == {"received": True}
        assert "error" not in (await client.get("/broken")).json(), "the host's own errors stay its own"


def test_building_the_application_leaves_logging_alone(make_world):
    before = logging.getLogger().handlers[:], logging.getLogger().level
    make_world()
    assert (logging.getLogger().handlers, logging.getLogger().level) == before


async def test_the_hosts_lifespan_is_left_after_the_charges_have_ended(world):
    from contextlib import asynccontextmanager

    from tillport.adapters.litestar import create_app

    story = []

    @asynccontextmanager
    async def stores(_app):
        story.append("open")
        yield
        story.append(f"close with {len(world.ledger._attempts)} attempt")

    world.gateway.slow_seconds = 5
    app = create_app(world.till, world.keys, lifespan=[stores], settings=HttpSettings(stop_on_signals=False))
    async with app.lifespan():
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://till.test")
        request = asyncio.create_task(
            client.post("/charges", json={"token": "tok_visa", "amount_minor": 1250}, headers=world.as_app)
        )
        await anyio.wait_all_tasks_blocked()
        assert world.gateway.calls
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        asyncio.get_running_loop().call_later(0.01, world.clock.advance, 6)
    (attempt,) = world.ledger._attempts.values()
    assert attempt.state.value == "succeeded"
    assert story == ["open", "close with 1 attempt"]
    await client.aclose()


def test_a_currency_that_stripe_does_not_take_is_refused_at_start():
    with pytest.raises(UnknownCurrency):
        HttpSettings(currency="xyz")


def test_the_default_key_is_not_shown():
    assert "app-key" not in repr(HttpSettings(default_app_key="app-key-0123456789abcdef"))


@pytest.mark.parametrize("path", ["/charges", "/webhooks/stripe", "/api/services/Stripe/charge"])
async def test_a_preflight_of_a_configured_origin_is_answered(make_world, path):
    world = make_world(cors_origins=("https://shop.example",))
    headers = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, idempotency-key, content-type",
    }
    async with world.client() as client:
        answer = await client.options(path, headers=headers)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        refused = await client.options(path, headers={**headers, "Origin": "https://evil.example"})
        assert refused.status_code == 400
