"""Hear the signal to stop before the server acts on it.

A server that is told to stop waits for open requests first and only then lets the application know. An idle stream
would hold it up for as long as the server's patience lasts. So for the time that the application runs, the
server's own handler is called by ours.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` in the running event loop when the process is asked to end, then whoever handled that before.

    Does nothing outside the main thread (signals can't be handled there) and for a signal that nobody handles.
    """
    loop = asyncio.get_running_loop()
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, stack: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)
        before[signal.Signals(number)](number, stack)

    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            present = signal.getsignal(number)
            if callable(present):
                before[number] = present
                signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
