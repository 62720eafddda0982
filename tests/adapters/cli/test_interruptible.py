"""Ctrl-C: the command ends in order, whatever the loop was doing at that moment."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from tillport.adapters.cli.interruptible import run_interruptible


@pytest.fixture(autouse=True)
def as_a_command_has_it() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_it_returns_what_the_work_returns_and_leaves_signals_as_they_were() -> None:
    assert run_interruptible(asyncio.sleep(0, 7)) == 7
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_in_the_middle_of_a_callback_lets_it_end() -> None:
    """As of a connection that is just made: what it is to say, it must still find somebody to say it to."""
    complaints = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        connected = loop.create_future()

        def connect() -> None:
            assert not connected.done()
            signal.raise_signal(signal.SIGINT)
            time.sleep(0)
            connected.set_result(None)

        loop.call_soon(connect)
        await connected
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        run_interruptible(work())
    assert complaints == []


def test_what_is_interrupted_may_clean_up_and_a_second_time_it_may_not() -> None:
    steps = []

    async def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")
            signal.raise_signal(signal.SIGINT)
            steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        run_interruptible(work())
    assert steps == ["cleaned up"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_is_cancelled_by_another_is_not_said_to_be_interrupted() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run_interruptible(work())


def test_it_runs_in_other_threads_which_get_no_signals() -> None:
    done = []
    thread = threading.Thread(target=lambda: done.append(run_interruptible(asyncio.sleep(0, 7))))
    thread.start()
    thread.join(10)
    assert done == [7]


def test_where_interrupts_are_ignored_they_still_are() -> None:
    """As of what a script puts into the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def work() -> int:
        signal.raise_signal(signal.SIGINT)
        return 7

    assert run_interruptible(work()) == 7
