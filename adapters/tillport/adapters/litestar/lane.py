"""The lane: take plain webhooks off the socket by ourselves, and leave every other request to the server.

Of what a webhook costs, the way through an HTTP server, its middlewares and a router is more than verifying and
recording. Nearly all webhooks are the same plain request on a connection that is kept (`plain` says what that is), and
such a one needs none of it. The lane stands in front of the server's own protocol, on each connection:

1. Between two requests it looks at what came. If that begins with a plain request, the lane takes it: it collects
   the announced bytes and no others, and has it verified and recorded by the code that the ASGI face has.
2. Anything else, a head that came only in part included, goes to a protocol of the server's own, with every byte that was not
   used up and with the connection, for good. So whatever the lane does not know is answered as without a lane.
3. One request at a time. What comes while one is in flight is kept, and no more is read. Answers therefore have the order
   of the requests, and the server's protocol gets the connection only when all before it is answered.

The answers are those of the ASGI face, byte for byte, and so is the rest of the behaviour: connections that are kept end when
they are idle; a client that leaves does not stop what is being recorded; a shutdown lets the answer in flight go out.

Nothing here imports a server. What is needed of uvicorn is said by `ServerState`.
"""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Protocol, cast, runtime_checkable

from litestar.types import HTTPScope

from tillport.adapters.litestar.asgi import Headers, json_headers, problem_answer
from tillport.adapters.litestar.door import Door
from tillport.adapters.litestar.plain import PlainReader, request_line
from tillport.adapters.litestar.webhook import RECEIVED, note_refusal
from tillport.ports.event_log import Event, EventLog

_RECEIVED_HEADERS = json_headers(RECEIVED, ())
_CLOSE: Headers = ((b"connection", b"close"),)


class ServerState(Protocol):
    """What uvicorn's protocols share, as far as a connection needs it.

    Each of `connections` has a `shutdown()`, which is called once when the server stops. The server then waits until they
    and `tasks` are gone. `default_headers` is a new list whenever it changes.
    """

    total_requests: int
    connections: set[Any]
    tasks: set[Any]
    default_headers: list[tuple[bytes, bytes]]


@runtime_checkable
class Submitting(Protocol):
    """A log that takes events at once and answers later, such as `tillport.adapters.runtime.GroupCommit`.

    It spares each webhook a task, and the coroutines in it. A class that overrides its `record` overrides this too, or the
    lane goes by the one that it inherits.
    """

    def submit(self, events: Sequence[Event]) -> "asyncio.Future[Sequence[bool]]":
        """Begin to record; the future has the answer of `EventLog.record`. May raise at once what that raises."""
        ...


class WebhookLane:
    """What the connections of one server share: the door, its address and the answer that nearly all of them give."""

    __slots__ = ("_default_headers", "_received", "_submit", "door", "read_head", "scope")

    def __init__(self, door: Door, path: str) -> None:
        self.door = door
        self._submit = _submit_to(door.till.log)
        self.read_head = PlainReader(request_line(path), body_bytes_max=door.settings.webhook_bytes_max).read
        # As much of a scope as errors are told and logged by.
        self.scope = cast("HTTPScope", {"method": "POST", "path": path, "path_template": path})
        self._default_headers: list[tuple[bytes, bytes]] | None = None
        self._received = b""

    def connection(
        self,
        state: ServerState,
        *,
        others: Callable[[], asyncio.Protocol],
        keep_alive_seconds: float,
        body_seconds: float = 2.0,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> "LaneConnection":
        """Return the protocol of a new connection; `others` makes the server's own, for what is not plain.

        It may be idle for `keep_alive_seconds`. A shutdown waits `body_seconds` for the rest of a body, and as long for a
        client that does not read its answers.
        """
        loop = loop or asyncio.get_running_loop()
        return LaneConnection(self, state, others, keep_alive_seconds, body_seconds, loop)

    def begin(self, body: bytes, signature: str | None) -> "asyncio.Future[Sequence[bool]]":
        """Verify a webhook and begin to record it. Raises what `Till.receive` raises, now or by the future."""
        return self._submit((self.door.till.accept(body, signature),))

    def received(self, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the whole answer to a webhook that is recorded."""
        if default_headers is not self._default_headers:  # the date changes once a second
            self._default_headers = default_headers
            self._received = _answer(200, default_headers, _RECEIVED_HEADERS, RECEIVED)
        return self._received


class LaneConnection(asyncio.Protocol):
    """One connection, for as long as its requests are plain."""

    __slots__ = (
        "_body",
        "_body_seconds",
        "_busy",
        "_idle_since",
        "_keep_alive_seconds",
        "_kept",
        "_lane",
        "_last",
        "_loop",
        "_missing",
        "_others",
        "_reading",
        "_signature",
        "_state",
        "_timer",
        "_transport",
        "_writable",
    )
    _transport: asyncio.Transport

    def __init__(
        self,
        lane: WebhookLane,
        state: ServerState,
        others: Callable[[], asyncio.Protocol],
        keep_alive_seconds: float,
        body_seconds: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._lane = lane
        self._state = state
        self._others = others
        self._keep_alive_seconds = keep_alive_seconds
        self._body_seconds = body_seconds
        self._loop = loop
        self._busy = False
        """Whether a request is being recorded and not answered yet."""
        self._body = bytearray()
        self._missing = 0
        """How many bytes of the body that is being collected are still to come."""
        self._signature: str | None = None
        self._kept = b""
        """What came after the request in flight."""
        self._reading = True
        self._writable = True
        self._last = False
        """Whether the connection ends with the answer in flight."""
        self._idle_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; there is no limit to how long a first request may take, as uvicorn has none."""
        self._transport = cast("asyncio.Transport", transport)
        self._state.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget what did not become a request. What is being recorded goes on, and its answer is dropped."""
        self._state.connections.discard(self)
        self._kept = b""
        self._body = bytearray()
        self._missing = 0
        self._stop_timer()

    def eof_received(self) -> None:
        """Let the transport close itself: a client that has nothing more to say is not listening either."""

    def pause_writing(self) -> None:
        """Begin no further request: this client does not read its answers."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        if self._kept and not self._busy and not self._transport.is_closing():
            self._next()

    def shutdown(self) -> None:
        """End the connection: at once if it is idle, else after the answer to the request that has begun."""
        if self._busy or self._missing:
            self._last = True
        else:
            self._transport.close()
        unsent = self._transport.get_write_buffer_size()
        if self._missing or unsent:
            self._loop.call_later(self._body_seconds, self._give_up, unsent)

    def _give_up(self, unsent: int) -> None:
        if self not in self._state.connections:
            return
        if self._missing:
            self._transport.close()
        left = self._transport.get_write_buffer_size()
        if 0 < unsent <= left:  # nothing of it was read, and to close would wait until it is
            self._transport.abort()
        elif left:
            self._loop.call_later(self._body_seconds, self._give_up, left)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if self._missing:
            self._collect(data)
        elif self._busy or not self._writable:
            self._keep(data)
        else:
            self._begin(data)

    def _begin(self, data: bytes) -> None:
        """Begin with what stands at the boundary of two requests."""
        head = self._lane.read_head(data)
        if head is None:
            self._hand_over(data)
            return
        body_at, signature = head.body_at, head.signature
        body_ends = body_at + head.body_bytes
        missing = body_ends - len(data)
        if missing > 0:
            self._body += memoryview(data)[body_at:]
            self._missing = missing
            self._signature = signature
            self._read()
            return
        if missing < 0:
            self._keep(data[missing:])
        self._record(data[body_at:body_ends], signature)

    def _collect(self, data: bytes) -> None:
        missing = self._missing - len(data)
        if missing < 0:
            self._keep(data[missing:])
            data = data[:missing]
        self._body += data
        if missing > 0:
            self._missing = missing
            return
        body, self._body, self._missing = bytes(self._body), bytearray(), 0
        self._record(body, self._signature)

    def _record(self, body: bytes, signature: str | None) -> None:
        assert not self._busy, "one request at a time"
        self._busy = True
        try:
            answer = self._lane.begin(body, signature)
        except Exception as error:  # noqa: BLE001 - whatever it is, Stripe gets an answer, and nothing leaks
            # Not here: of hundreds of requests in one read, each would be answered within the one before.
            self._loop.call_soon(self._fail, error)
            return
        self._state.tasks.add(answer)
        answer.add_done_callback(self._recorded)

    def _recorded(self, answer: "asyncio.Future[Sequence[bool]]") -> None:
        state = self._state
        state.tasks.discard(answer)
        if answer.cancelled():  # the server's patience has ended: Stripe comes again
            self._transport.close()
            return
        try:
            if answer.result()[0]:
                self._lane.door.till.doorbell.ring()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
        else:
            if self._last:
                self._finish(_answer(200, state.default_headers, _RECEIVED_HEADERS + _CLOSE, RECEIVED))
            else:
                self._finish(self._lane.received(state.default_headers))

    def _fail(self, error: Exception) -> None:
        note_refusal(error)
        status, headers, told = problem_answer(self._lane.scope, error)
        if self._last:
            headers += _CLOSE
        self._finish(_answer(status, self._state.default_headers, headers, told))

    def _finish(self, answer: bytes) -> None:
        self._busy = False
        transport = self._transport
        if transport.is_closing():
            return
        self._state.total_requests += 1
        transport.write(answer)
        if self._last:
            transport.close()
        elif not self._kept:
            self._idle()
        elif self._writable:
            self._next()

    def _next(self) -> None:
        kept, self._kept = self._kept, b""
        self._begin(kept)
        if not self._busy and not self._missing:
            return  # another protocol has it
        if not self._kept:
            self._read()

    def _keep(self, data: bytes) -> None:
        """Keep what belongs to a later request, and read no more until its turn: memory stays bounded."""
        self._kept += data
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def _read(self) -> None:
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def _hand_over(self, data: bytes) -> None:
        """Give the connection to the server's own protocol, with all that was not used up."""
        transport = self._transport
        self._state.connections.discard(self)
        self._stop_timer()
        if transport.is_closing():
            return
        other = self._others()
        other.connection_made(transport)
        transport.set_protocol(other)
        self._read()
        other.data_received(data)

    def _idle(self) -> None:
        """Note since when nothing is asked. One timer looks at the note, for one a request would cost more."""
        self._idle_since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._keep_alive_seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._busy or self._missing or self._kept or self._transport.is_closing():
            return  # the next answer sets the timer again
        left = self._idle_since + self._keep_alive_seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _answer(status: int, default_headers: list[tuple[bytes, bytes]], headers: Headers, body: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())]
    lines += [b"%s: %s\r\n" % header for header in (*default_headers, *headers)]
    return b"".join((*lines, b"\r\n", body))


def _submit_to(log: EventLog) -> "Callable[[Sequence[Event]], asyncio.Future[Sequence[bool]]]":
    # By its class: what wraps a log and passes on whatever it does not know must not be passed by.
    if issubclass(type(log), Submitting):
        return cast("Submitting", log).submit
    return lambda events: asyncio.ensure_future(log.record(events))
