"""A thread that does one thing after another, for whoever calls it thousands of times a second.

A `ThreadPoolExecutor` makes a future and a work item for each call and takes four locks on its way, two more when the
call is done, and to bring its answer to an event loop takes a second future: half of what a short commit costs the
interpreter. Here a call is one entry in a queue, and whoever is called answers as it likes.
"""

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

import attrs

_Calls: TypeAlias = "SimpleQueue[Callable[[], None] | None]"


@attrs.define(eq=False)
class Hand:
    """Run what it is called for in a thread of its own, in the order of the calls. The thread begins at the first.

    As with an executor nothing that was called for is lost when the interpreter ends, and a hand that nobody holds
    any more ends by itself.

    >>> hand, done = Hand("example"), []
    >>> hand.call(lambda: done.append(1))
    >>> hand.close()
    >>> done
    [1]
    """

    name: str
    _calls: _Calls = attrs.field(init=False, factory=SimpleQueue)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)
    _end: "weakref.finalize[[_Calls, threading.Thread], Hand] | None" = attrs.field(init=False, default=None)
    _closed: bool = attrs.field(init=False, default=False)

    def call(self, work: Callable[[], None]) -> None:
        """Have `work` done, from any thread. It must not raise. Raises `RuntimeError` once this is closed."""
        with self._lock:  # else a call could come after the end, and nobody would ever do it
            if self._closed:
                raise RuntimeError("It is closed.")
            self._calls.put(work)
            if self._end is None:
                # A daemon, because the interpreter waits for others before it calls what is registered for its end.
                thread = threading.Thread(target=_work, args=(self._calls,), name=self.name, daemon=True)
                thread.start()
                self._end = weakref.finalize(self, _finish, self._calls, thread)

    def close(self) -> None:
        """Return when everything that was called for is done. Closing twice is a no-op."""
        with self._lock:
            self._closed = True
        if self._end is not None:
            self._end()


def _work(calls: _Calls) -> None:
    while (work := calls.get()) is not None:
        work()
        del work  # it may hold the last reference to whoever called


def _finish(calls: _Calls, thread: threading.Thread) -> None:
    calls.put(None)
    if thread is not threading.current_thread():  # else it dropped the last reference itself, and ends now
        thread.join()
