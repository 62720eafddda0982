"""Wait for an answer so long and no longer.

`asyncio.timeout` waits for what it cancels, and a driver that is cancelled may wait for its server: as long again, where the server
is what does not answer. Whoever supervises the process would have given up meanwhile.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return the work's result, or raise `TimeoutError` when the time is over; then the work is cancelled, and not waited for."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    finally:
        if not task.done():
            task.add_done_callback(_taken)
            task.cancel()
    if not done:
        raise TimeoutError
    return task.result()


def _taken(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()  # nobody waits for it any more, and asyncio would complain
