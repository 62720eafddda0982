"""Run a command on an event loop until it is done, or until somebody presses Ctrl-C."""

import asyncio
import signal
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


def run_interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` and return what it returns; the first SIGINT cancels it, a second one ends it where it stands.

    As `asyncio.run`, whose own handler cancels the task in the middle of whatever the loop does just then: a connection
    that was being made at that moment fails with a traceback (https://docs.python.org/3/library/asyncio-runner.html,
    "Handling Keyboard Interruption"). This one cancels it at the loop's next turn. Raises `KeyboardInterrupt`.
    """
    if not _gets_interrupts():
        return asyncio.run(work)
    interrupts = 0

    async def guarded() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def interrupt(_signal: int, _frame: FrameType | None) -> None:
            nonlocal interrupts
            interrupts += 1
            if interrupts > 1:
                raise KeyboardInterrupt
            loop.call_soon_threadsafe(task.cancel)

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            return await work
        finally:
            signal.signal(signal.SIGINT, before)

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if interrupts:
            raise KeyboardInterrupt from None
        raise


def _gets_interrupts() -> bool:
    """Tell whether Ctrl-C is ours to hear: no other thread gets signals, and who ignores them goes on doing so."""
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
