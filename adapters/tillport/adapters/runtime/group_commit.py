"""Group commit: many requests share one commit, because the disk is what they all wait for.

While a commit is in flight, whatever arrives waits; when it is done, what waits forms the next batch. So a lone request
commits at once, and under load the batches grow by themselves until the disk keeps up. Every caller is answered after the
commit that holds its own events, and only then.

A batch takes half of what is about at most: of what waits, and of what was just answered, whose senders are about to
come again. For the disk and this process work in turns, and neither waits for the other only if both have as much to do.
Left alone, two groups of senders would form that stay as unequal as chance made them: 9 and 23, say, with the disk idle
while one is answered and the process idle while the other is written.

What can go wrong stays with whom it concerns:

* a commit that fails fails the requests in it, and no others;
* an event that the store refuses fails alone: its batch is split and tried again until it stands by itself;
* an event that somebody else's open transaction holds fails alone too: the others of its batch are recorded without it;
* a caller that goes away takes nothing with it: its events are left out if their commit has not begun;
* more waiting than the bound is refused at once, with the time to come back, so that memory stays bounded.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import attrs
import msgspec

from tillport.ports.doorbell import Doorbell
from tillport.ports.event_log import (
    Event,
    EventContended,
    EventLog,
    EventRefused,
    LogOverloaded,
    LogUnavailable,
    Page,
    RecordedEvent,
    refuse_unrecordable,
)
from tillport.ports.selector import Selector

BATCH_EVENTS_MAX: Final = 256
"""A larger batch gains nothing more and makes its first request wait for its last."""

_NEVER_HALVED: Final = 8
"""So few take less time in one commit than in two, however idle the process is meanwhile."""

WAITING_EVENTS_MAX: Final = 4096
"""Half a second of work at the rates that `benchmarks/` measures; Stripe waits longer than that."""

WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Whatever the size of the events: this is what waiting ones may hold of our memory."""

RETRY_AFTER_SECONDS: Final = 2

_APART_AT_ONCE: Final = 4
"""Of a batch that met a lock, so many requests are tried at once: fewer than a store has connections."""

_CONTENDED_MAX: Final = 8
"""When so many of a batch were held by others, it is no longer about single events (a table may be locked), and the
rest of the batch is not made to wait for each of them in turn."""


class _Request(msgspec.Struct):  # not of attrs: one is made for every webhook
    events: tuple[Event, ...]
    answer: "asyncio.Future[Sequence[bool]]"
    size: int


@attrs.define(eq=False)
class GroupCommit:
    """An event log that records through another one, in batches. Reading goes straight through.

    `doorbell` is rung after each commit that held something new. Belongs to one event loop. Raises `LogOverloaded`
    when too much waits already, and `LogUnavailable` once it is closed.
    """

    _log: EventLog
    _doorbell: Doorbell | None = attrs.field(default=None, kw_only=True, alias="doorbell")
    _batch_events_max: int = attrs.field(default=BATCH_EVENTS_MAX, kw_only=True, alias="batch_events_max")
    _waiting_events_max: int = attrs.field(
        default=WAITING_EVENTS_MAX, kw_only=True, alias="waiting_events_max"
    )
    _waiting_bytes_max: int = attrs.field(default=WAITING_BYTES_MAX, kw_only=True, alias="waiting_bytes_max")
    _retry_after_seconds: int = attrs.field(
        default=RETRY_AFTER_SECONDS, kw_only=True, alias="retry_after_seconds"
    )
    _queue: deque[_Request] = attrs.field(init=False, factory=deque)
    _waiting_events: int = attrs.field(init=False, default=0)
    _answered_events: int = attrs.field(init=False, default=0)
    """How many the last commit recorded, until the next batch is taken."""
    _waiting_bytes: int = attrs.field(init=False, default=0)
    _committing: asyncio.Task[None] | None = attrs.field(init=False, default=None)
    _closed: bool = attrs.field(init=False, default=False)

    @property
    def waiting(self) -> int:
        """How many events wait for a commit to begin."""
        return self._waiting_events

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        """See `EventLog.record`. The events of one call stay together in one commit."""
        return await self.submit(events)

    def submit(self, events: Sequence[Event]) -> "asyncio.Future[Sequence[bool]]":
        """Do what `record` does, for who can wait without a task of its own. To cancel the answer is to go away.

        Raises at once what is known at once: `EventRefused`, `LogOverloaded`, and `LogUnavailable` of a closed log.
        """
        size = 0
        for event in events:
            refuse_unrecordable(event)
            size += len(event.body)
        if self._closed:
            raise LogUnavailable(
                "This process is shutting down.", remedy="Try again: another one will answer."
            )
        answer: asyncio.Future[Sequence[bool]] = asyncio.get_running_loop().create_future()
        if events:
            self._admit(_Request(tuple(events), answer, size))
        else:
            answer.set_result([])
        return answer

    async def read(self, *, after: int, where: Selector | None = None, limit: int = 100) -> Page:
        """See `EventLog.read`."""
        return await self._log.read(after=after, where=where, limit=limit)

    async def find(self, event_id: str) -> RecordedEvent | None:
        """See `EventLog.find`."""
        return await self._log.find(event_id)

    async def head(self) -> int:
        """See `EventLog.head`."""
        return await self._log.head()

    async def aclose(self) -> None:
        """Take nothing more, and return once everything that waits is committed and answered."""
        self._closed = True
        while self._committing is not None:
            await asyncio.wait((self._committing,))

    def _admit(self, request: _Request) -> None:
        # A call of any size is taken when nothing waits: it could never be taken otherwise.
        waiting_events = self._waiting_events + len(request.events)
        waiting_bytes = self._waiting_bytes + request.size
        if self._queue and (
            waiting_events > self._waiting_events_max or waiting_bytes > self._waiting_bytes_max
        ):
            raise LogOverloaded(
                "More events wait to be recorded than this process accepts.",
                retry_after_seconds=self._retry_after_seconds,
                remedy=f"Send it again in {self._retry_after_seconds} s.",
            )
        self._queue.append(request)
        self._waiting_events, self._waiting_bytes = waiting_events, waiting_bytes
        if self._committing is None:
            self._committing = asyncio.get_running_loop().create_task(self._commit_all())
            self._committing.add_done_callback(self._ended)

    async def _commit_all(self) -> None:
        batch: list[_Request] = []
        try:
            while batch := self._next_batch():
                await self._commit(batch)
        except asyncio.CancelledError:
            _stop(batch)
            raise
        finally:
            # In the same step that found the queue empty: whoever comes next must not count on this task.
            self._committing = None

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if self._committing is task:  # it was cancelled before it began
            self._committing = None
        if task.cancelled():  # the loop is ending: nobody may be left waiting for an answer that never comes
            _stop(self._queue)
            self._queue.clear()
            self._waiting_events = self._waiting_bytes = 0

    def _next_batch(self) -> list[_Request]:
        batch: list[_Request] = []
        count = size = gone = 0
        queue = self._queue
        events_max = self._batch_events_max
        answered, self._answered_events = self._answered_events, 0
        if answered:  # none are at a beginning and after a failed commit: then nobody is about to come again
            half = (self._waiting_events + answered + 1) // 2
            events_max = min(max(half, _NEVER_HALVED), events_max)
        while queue:
            request = queue[0]
            events = len(request.events)
            if count + events > events_max and batch:
                break
            queue.popleft()
            size += request.size
            if request.answer.done():  # its caller went away
                gone += events
            else:
                batch.append(request)
                count += events
        self._waiting_events -= count + gone
        self._waiting_bytes -= size
        return batch

    async def _commit(self, batch: list[_Request]) -> None:
        events: list[Event] = []
        for request in batch:
            events += request.events
        try:
            new = await self._log.record(events)
        except EventRefused as refused:
            if len(batch) == 1:
                _fail(batch[0], refused)
                return
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])
            return
        except EventContended as contended:
            await self._commit_apart(batch, contended)
            return
        except LogUnavailable as error:
            for request in batch:
                _fail(request, _same(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever it was: these requests failed, the next ones may not
            for request in batch:
                unavailable = LogUnavailable("The commit failed.", remedy="Send it again.")
                unavailable.__cause__ = error
                _fail(request, unavailable)
            return
        self._answered_events = len(events)
        if self._doorbell is not None and any(new):
            self._doorbell.ring()
        first = 0
        for request in batch:
            after = first + len(request.events)
            if not request.answer.done():
                request.answer.set_result(new[first:after])
            first = after

    async def _commit_apart(self, batch: list[_Request], contended: EventContended) -> None:
        """Record each request by itself, some at a time, so that only those fail whose events are held."""
        if len(batch) == 1:
            _fail(batch[0], _same(contended))
            return
        waiting, failed = deque(batch), 0

        async def some() -> None:
            nonlocal failed
            while waiting and failed < _CONTENDED_MAX:
                request = waiting.popleft()
                if not request.answer.done():  # else its caller went away
                    await self._commit([request])
                    failed += _is_contended(request)

        await asyncio.gather(*(some() for _ in range(_APART_AT_ONCE)))
        for request in waiting:
            _fail(request, _same(contended))


def _stop(requests: Iterable[_Request]) -> None:
    for request in requests:
        _fail(request, LogUnavailable("This process was stopped.", remedy="Send it again."))


def _is_contended(request: _Request) -> bool:
    answer = request.answer
    return answer.done() and not answer.cancelled() and isinstance(answer.exception(), EventContended)


def _fail(request: _Request, error: Exception) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)


def _same(error: LogUnavailable) -> LogUnavailable:
    """Return the error for one caller: an exception that many tasks raise would gather all their tracebacks."""
    copy: LogUnavailable
    if isinstance(error, LogOverloaded):
        copy = LogOverloaded(
            error.message, retry_after_seconds=error.retry_after_seconds, remedy=error.remedy
        )
    else:
        kind = EventContended if isinstance(error, EventContended) else LogUnavailable
        copy = kind(error.message, remedy=error.remedy)
    copy.__cause__ = error
    return copy
