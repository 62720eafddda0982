"""The machine's clock, and what a step of it does to those who wait."""

import asyncio
import time

import pytest

from tillport.adapters.runtime import SystemClock


async def test_it_returns_when_the_moment_has_come() -> None:
    clock = SystemClock()
    moment = clock.now() + 0.02
    await clock.sleep_until(moment)
    assert clock.now() >= moment


async def test_a_moment_that_is_past_costs_nothing() -> None:
    clock = SystemClock()
    began = time.monotonic()
    await clock.sleep_until(clock.now() - 3600)
    assert time.monotonic() - began < 60


async def test_a_clock_that_is_set_back_does_not_prolong_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, real, step = SystemClock(), time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: real() + step)
    waiting = asyncio.create_task(clock.sleep_until(clock.now() + 0.1))
    await asyncio.sleep(0.01)
    step = -3600.0
    await asyncio.wait_for(waiting, 60)


async def test_a_clock_that_is_set_forward_ends_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, real, step = SystemClock(look_again_seconds=0.02), time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: real() + step)
    waiting = asyncio.create_task(clock.sleep_until(clock.now() + 3600))
    await asyncio.sleep(0.01)
    step = 3600.0
    await asyncio.wait_for(waiting, 60)
