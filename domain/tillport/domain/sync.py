"""The sync face: drive the core's coroutines from code that knows no event loop (Flask, Django, a script).

Nothing in the core suspends by itself; only an adapter can. With adapters that never do (a blocking database, the
in-memory ones) a coroutine runs to its end in one step, and no loop, thread or twin method is needed. An adapter that
does suspend can't be served here, and says so instead of hanging.
"""

from collections.abc import Coroutine
from typing import Any, TypeVar

from tillport.ports.errors import TillportError

T = TypeVar("T")


class Suspended(TillportError):
    """Ours: an adapter waited for an event loop, and there is none."""

    code = "suspended"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends and return its result, or raise what it raises.

    Raises `Suspended` if it does suspend. What it did until then has happened.

    >>> async def answer() -> int:
    ...     return 42
    >>> run(answer())
    42
    """
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    except RuntimeError as error:
        if str(error) != "no running event loop":  # asyncio has no type for that
            raise
        raise _suspended() from error
    coroutine.close()
    raise _suspended()


def _suspended() -> Suspended:
    return Suspended(
        "An adapter waited for an event loop in a synchronous call.",
        remedy="Hand in adapters that block (the sync SQL adapters, the in-memory ones), or await the till.",
    )
