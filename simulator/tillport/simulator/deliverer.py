"""The edge that really POSTs webhooks: a small HTTP/1.1 client on asyncio, keep-alive, one write per request.

It takes due attempts from the simulator as connections are free, so what waits stays in the simulator's queue. Only
asyncio is needed; the target is the tester's own endpoint. Redirects are not followed (a 3xx is a failure to Stripe).
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from functools import lru_cache
from threading import get_ident
from typing import Any, cast
from urllib.parse import urlsplit

from tillport.simulator.deliveries import Attempt
from tillport.simulator.simulator import Simulator
from tillport.simulator.stripecli import SCHEME, Listeners

_Done = Callable[[int | None], None]
_MAX_ANSWER = 1_000_000


@lru_cache(maxsize=64)  # an endpoint says the same again and again
def _head_of(head: bytes) -> tuple[int, bool, int | None] | None:
    """Return an answer's status, whether its connection may be used again, and its length; None for what is no answer."""
    line, *fields = head.split(b"\r\n")
    parts = line.split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        return None
    status, reusable = int(parts[1]), parts[0] == b"HTTP/1.1"
    if 100 <= status < 200:
        return status, reusable, None
    length: int | None = None
    for field in fields:
        name, _, value = field.partition(b":")
        name, value = name.strip().lower(), value.strip().lower()
        if name == b"content-length":
            if not value.isdigit():
                return None
            length = int(value)
        elif name == b"connection":
            reusable = value != b"close"
        elif name == b"transfer-encoding":
            # The status is all that counts: a chunked answer ends with its connection.
            length, reusable = 0, False
    return status, reusable, 0 if status in (204, 304) else length


class _Connection(asyncio.Protocol):
    """One connection: a request out, an answer in, then the next."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._need: int | None = None
        self._status = 0
        self._reusable = True
        self._until_close = False
        self._done: _Done | None = None
        self.transport: asyncio.Transport | None = None
        self.started = 0.0
        self.open = False
        self._requests = 0
        self._heard = False
        self._given_up = False
        # Whether a kept connection was found closed by its other end: then nobody has read the request.
        self.unread = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's: only a cast fits both.
        self.transport = cast("asyncio.Transport", transport)
        self.open = True

    def send(self, raw: bytes, done: _Done, now: float) -> None:
        assert self.transport is not None
        self._buffer.clear()
        self._need = None
        self._until_close = False
        self._heard = False
        self._requests += 1
        self._done = done
        self.started = now
        self.transport.write(raw)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._buffer += data
        if len(self._buffer) > _MAX_ANSWER:
            self._finish(None, keep=False)
            return
        while self._need is None and not self._until_close:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._read_head(bytes(self._buffer[:end]), end + 4):
                self._finish(None, keep=False)
                return
        if self._need is not None and len(self._buffer) >= self._need:
            self._finish(self._status, keep=self._reusable)

    def _read_head(self, head: bytes, size: int) -> bool:
        read = _head_of(head)
        if read is None:
            return False
        self._status, self._reusable, length = read
        if 100 <= self._status < 200:
            del self._buffer[:size]
        elif length is None:
            self._until_close = True
        else:
            self._need = size + length
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._done is not None:
            self.unread = self._requests > 1 and not self._heard and not self._given_up
            self._finish(self._status if self._until_close and exc is None else None, keep=False)

    def _finish(self, status: int | None, *, keep: bool) -> None:
        done, self._done = self._done, None
        if not keep:
            self.abort()
        if done is not None:
            done(status)

    def abort(self) -> None:
        self.open = False
        self._given_up = True
        if self.transport is not None:
            self.transport.abort()

    @property
    def busy(self) -> bool:
        return self._done is not None


class _Target:
    """Where an endpoint lives, and its free connections."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "localhost"
        self.tls = parts.scheme == "https"
        self.port = parts.port or (443 if self.tls else 80)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.head = f"POST {path} HTTP/1.1\r\nHost: {host}:{self.port}\r\n"
        self.idle: list[_Connection] = []


class Deliverer:
    """Deliver a simulator's webhooks while an event loop runs.

    `concurrency` bounds the requests in flight, `timeout_seconds` how long one may take (Stripe states no figure;
    thirty seconds is what its CLI waits).
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        concurrency: int = 16,
        timeout_seconds: float = 30.0,
        listeners: Listeners | None = None,
    ) -> None:
        self._simulator = simulator
        self._listeners = listeners
        self._concurrency = concurrency
        self._timeout_seconds = timeout_seconds
        self._targets: dict[str, _Target] = {}
        # By account and attempt: each account numbers its own.
        self._active: dict[tuple[str, int], tuple[Attempt, _Connection | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Who waits for all to be delivered, and what was in flight before.
        self._waiters: list[tuple[asyncio.Future[None], frozenset[tuple[str, int]]]] = []
        self._blocked: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._running = False
        self._loop: asyncio.AbstractEventLoop
        self._thread = 0

    def start(self) -> None:
        """Begin to deliver on the running loop; does nothing if already begun.

        Where a loop ended without `stop`, as each test's does under some runners, the next one takes over.
        """
        if self._running:
            if not self._loop.is_closed():
                return
            self._take_over()
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._running = True
        self._simulator.on_change = self.wake
        self._sweep = self._loop.call_later(1.0, self._sweep_slow)
        self.wake()

    def _take_over(self) -> None:
        """Forget the loop that has ended; what was in flight there is unanswered."""
        left = [attempt for attempt, _ in self._active.values()]
        self._active.clear()
        self._targets.clear()
        self._tasks.clear()
        self._waiters, self._blocked = [], []
        self._timer = None
        self._scheduled = False
        for attempt in left:
            self._simulator.delivery_result(attempt, None)

    async def stop(self) -> None:
        """Stop; what was in flight counts as unanswered."""
        self._running = False
        self._simulator.on_change = None
        for timer in (self._timer, self._sweep):
            if timer is not None:
                timer.cancel()
        self._timer = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _, connection in list(self._active.values()):
            if connection is not None:
                connection.abort()
        for target in self._targets.values():
            for connection in target.idle:
                connection.abort()
        _resolved([waiter for waiter, _ in self._waiters])
        self._waiters = []
        self._blocked = _resolved(self._blocked)
        await asyncio.sleep(0)

    def wake(self) -> None:
        """Look for due deliveries soon; may be called from any thread."""
        if not self._running or self._scheduled or self._loop.is_closed():
            return
        self._scheduled = True
        if get_ident() == self._thread:
            self._loop.call_soon(self._pump)
        else:
            self._loop.call_soon_threadsafe(self._pump)

    async def settled(self) -> None:
        """Wait until nothing is due, and nothing in flight but what was before: its endpoint may wait for the caller."""
        if not self._running:
            return
        waiter = self._loop.create_future()
        self._waiters.append((waiter, frozenset(self._active)))
        self.wake()
        await waiter

    async def room(self, backlog: int) -> None:
        """Wait until at most so many deliveries wait; a failing endpoint's future retries do not count."""
        while self._simulator.backlog > backlog and self._active:
            waiter = self._loop.create_future()
            self._blocked.append(waiter)
            await waiter

    def _pump(self) -> None:
        self._scheduled = False
        if not self._running:
            return
        free = self._concurrency - len(self._active)
        if free > 0:
            for attempt in self._simulator.due_deliveries(limit=free):
                try:
                    self._send(attempt)
                except Exception as error:  # noqa: BLE001 - one attempt must not take the others with it
                    self._failed(attempt, error)
        due, now = self._simulator.next_due(), self._simulator.clock.now()
        if due is not None and len(self._active) < self._concurrency:
            if due <= now:
                self.wake()
            else:
                # An hour at most: the clock may be moved, or stand still.
                self._wake_in(min(due - now, 3600.0))
        if self._waiters and (due is None or due > now or len(self._active) >= self._concurrency):
            self._release()

    def _wake_in(self, seconds: float) -> None:
        """Look again after a while; a timer that rings before is as good, since whoever wakes too early looks and waits."""
        at = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.wake()

    def _release(self) -> None:
        """Let those go on for whom all is delivered; with every slot taken by what was before, nothing more can be."""
        ready = [waiter for waiter, before in self._waiters if before.issuperset(self._active)]
        self._waiters = [(waiter, before) for waiter, before in self._waiters if waiter not in ready]
        _resolved(ready)

    def _send(self, attempt: Attempt) -> None:
        if attempt.url.startswith(SCHEME):
            self._active[attempt.account, attempt.id] = attempt, None
            self._spawn(attempt, self._stream(attempt))
            return
        target = self._targets.get(attempt.url)
        if target is None:
            target = self._targets[attempt.url] = _Target(attempt.url)
        self._active[attempt.account, attempt.id] = attempt, None
        while target.idle:
            connection = target.idle.pop()
            if connection.open:
                self._write(attempt, target, connection)
                return
        self._spawn(attempt, self._connect(attempt, target))

    def _spawn(self, attempt: Attempt, work: Coroutine[Any, Any, None]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                self._settle(attempt, None)
            elif (error := task.exception()) is not None:
                self._failed(attempt, error)

        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)

    def _failed(self, attempt: Attempt, error: BaseException) -> None:
        """Settle an attempt that something unforeseen ended, and say what: unsettled, it would keep its slot for ever."""
        self._loop.call_exception_handler({"message": "A webhook could not be sent.", "exception": error})
        self._settle(attempt, None)

    async def _stream(self, attempt: Attempt) -> None:
        """Hand an attempt to the CLI that listens for it."""
        status = None if self._listeners is None else await self._listeners.deliver(attempt)
        self._settle(attempt, status)

    async def _connect(self, attempt: Attempt, target: _Target) -> None:
        context = ssl.create_default_context() if target.tls else None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                _, connection = await self._loop.create_connection(
                    _Connection, target.host, target.port, ssl=context
                )
        except (OSError, TimeoutError, UnicodeError):  # the last for a host that is no name
            self._settle(attempt, None)
            return
        self._write(attempt, target, connection)

    def _write(self, attempt: Attempt, target: _Target, connection: _Connection) -> None:
        def done(status: int | None) -> None:
            if connection.open:
                target.idle.append(connection)
            if connection.unread and self._running:
                # An endpoint may close a connection after any answer, and need not say so before.
                self._active[attempt.account, attempt.id] = attempt, None
                self._spawn(attempt, self._connect(attempt, target))
                return
            self._settle(attempt, status)

        self._active[attempt.account, attempt.id] = attempt, connection
        lines = "".join([f"{name}: {value}\r\n" for name, value in attempt.headers.items()])
        head = f"{target.head}{lines}Content-Length: {len(attempt.body)}\r\n\r\n".encode()
        connection.send(head + attempt.body, done, self._loop.time())

    def _settle(self, attempt: Attempt, status: int | None) -> None:
        self._active.pop((attempt.account, attempt.id), None)
        self._simulator.delivery_result(attempt, status)
        if self._blocked:
            self._blocked = _resolved(self._blocked)
        self.wake()

    def _sweep_slow(self) -> None:
        """Give up on endpoints that do not answer in time."""
        if not self._running:
            return
        late = self._loop.time() - self._timeout_seconds
        for _, connection in list(self._active.values()):
            if connection is not None and connection.busy and connection.started < late:
                connection.abort()
        self._sweep = self._loop.call_later(1.0, self._sweep_slow)


def _resolved(waiters: list[asyncio.Future[None]]) -> list[asyncio.Future[None]]:
    """Let all waiters go on; return the empty list that takes their place."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    return []
