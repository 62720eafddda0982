"""Waiting for an answer so long and no longer, whatever the driver does about its cancellation."""

import asyncio

import httpx
import pytest
from litestar import Litestar

from tillport.adapters.litestar.metrics import metrics_handler
from tillport.adapters.litestar.within import within
from tillport.adapters.memory.access import StaticKeyRing

SERVER_KEY = "server-key-0123456789abcdef"


class Driver:
    """A driver whose server is frozen: cancelled, it asks the server to stop, and waits for that answer too."""

    def __init__(self) -> None:
        self.cancelled = False
        self.over = asyncio.Event()

    async def ask(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            await self.over.wait()
            raise OSError("the connection broke") from None


async def test_what_comes_in_time_is_returned_or_raised() -> None:
    async def answer() -> int:
        return 5

    async def fail() -> int:
        raise KeyError("x")

    assert await within(60.0, answer()) == 5
    with pytest.raises(KeyError):
        await within(60.0, fail())


async def test_the_end_of_a_cancelled_driver_is_not_waited_for() -> None:
    driver = Driver()
    async with asyncio.timeout(60):
        with pytest.raises(TimeoutError):
            await within(0.01, driver.ask())
    await asyncio.sleep(0)
    assert driver.cancelled
    driver.over.set()  # and what it raises then, nobody is bothered with
    await asyncio.sleep(0.01)


async def test_who_goes_away_takes_the_work_along() -> None:
    driver = Driver()
    waiting = asyncio.ensure_future(within(60.0, driver.ask()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert driver.cancelled
    driver.over.set()
    await asyncio.sleep(0.01)


async def test_metrics_tell_of_a_frozen_database_before_prometheus_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tillport.adapters.litestar.metrics.STATUS_SECONDS", 0.05)
    driver = Driver()
    keys = StaticKeyRing(app_keys=[], server_keys=[SERVER_KEY])
    app = Litestar([metrics_handler(keys, driver.ask, lambda: ())])  # type: ignore[arg-type] # it never answers
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type] # Litestar's scope is a narrower one
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://till.test") as client,
        asyncio.timeout(60),
    ):
        answer = await client.get("/metrics", headers={"Authorization": f"Bearer {SERVER_KEY}"})
    assert "tillport_store_up 0" in answer.text
    driver.over.set()
    await asyncio.sleep(0.01)
