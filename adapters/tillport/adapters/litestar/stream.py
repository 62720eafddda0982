"""Server-sent events: the log first, then its tail, for as long as the client listens.

Written against the WHATWG standard (https://html.spec.whatwg.org/multipage/server-sent-events.html): an `id:` is the
log's position, so a browser that reconnects says by itself, in `Last-Event-ID`, where it left off. An idle stream
sends a comment, with the position that it has looked through to: a client that waits for one rare event then doesn't
make the log look through everything again.

A log that can't be read for a while ends no stream, since a browser gives up for good on anything but 200: the stream
says so in a comment and goes on from its last position.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from tillport.adapters.litestar.access import caller_of, header, plain_id, query
from tillport.adapters.litestar.door import Door
from tillport.adapters.litestar.errors import log_failure
from tillport.adapters.litestar.refusals import BadRequest
from tillport.adapters.litestar.replies import AnyRequest
from tillport.domain import Reset, may_hear, parse_selector, projection, sees_raw
from tillport.domain.notify import Heard
from tillport.ports.access import Caller
from tillport.ports.event_log import Event, LogUnavailable, RecordedEvent
from tillport.ports.selector import Compare, InvalidSelector, Selector

RECONNECT_MILLISECONDS = 1000
LOG_RETRY_SECONDS = 1.0
_POSITION_DIGITS_MAX = 18
_CHUNK_BYTES = 65_536  # from there on servers wait for a client that is slow to take it
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back until its buffer is full
]


def stream_handlers(door: Door) -> list[HTTPRouteHandler]:
    """Return the handlers of the event streams."""

    @get("/transactions/{transaction_id:str}/events", include_in_schema=False)
    async def transaction_events(request: AnyRequest) -> Response[bytes]:
        """Stream what happens to one transaction: `ch_…`, `pi_…`, whatever names it."""
        caller = caller_of(request.scope, door.keys, in_query=True)
        return await _stream(
            door, request.scope, caller, Compare("id", "=", plain_id(request.path_params["transaction_id"]))
        )

    @get("/events/stream", include_in_schema=False)
    async def events_stream(request: AnyRequest) -> Response[bytes]:
        """Stream what a selector takes; without one, everything."""
        caller = caller_of(request.scope, door.keys, in_query=True)
        return await _stream(door, request.scope, caller, selector_of(request.scope))

    return [transaction_events, events_stream]


def selector_of(scope: HTTPScope) -> Selector | None:
    """Return the query's selector, None if it has none. Raises `InvalidSelector`."""
    text = query(scope).get("selector")
    if text is None:
        return None
    if not text.isprintable():  # PostgreSQL, for one, has no place for NUL
        raise InvalidSelector("The selector holds control characters.", remedy="Write it as id = 'ch_…'.")
    return parse_selector(text)


def position_of(text: str | None, *, name: str) -> int:
    """Return a position that a client sent; 0, the log's start, if it sent none. Raises `BadRequest`."""
    if text is None or not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) <= _POSITION_DIGITS_MAX):
        raise BadRequest(
            f"{name} is no position.", remedy="Send back the id of the last event you saw.", param=name
        )
    return int(text)


class _Endless(Response[bytes]):
    """An answer that goes on by itself."""

    def __init__(self, feed: "_Feed", where: Selector | None, after: int) -> None:
        super().__init__(b"", media_type="text/event-stream")
        self._feed, self._where, self._after = feed, where, after

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIApp:  # type: ignore[override] # Litestar calls any ASGI app
        """Return the application that Litestar calls in place of an ordinary answer."""
        return self._serve

    async def _serve(self, _scope: Scope, receive: Receive, send: Send) -> None:
        # Not in the task: the service may stop before that begins, and what is ended must have begun.
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS.copy()})
        feed = asyncio.create_task(self._feed.run(send, self._where, self._after))
        self._feed.door.streams.add(feed)
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({feed, gone}, return_when=asyncio.FIRST_COMPLETED)
            left = gone.done()
        finally:
            feed.cancel()
            gone.cancel()
            await asyncio.gather(feed, gone, return_exceptions=True)
        if not left:  # we end it: say so, and the client reconnects to whoever serves then
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _stream(door: Door, scope: HTTPScope, caller: Caller, where: Selector | None) -> Response[bytes]:
    may_hear(caller, where, open_channel=door.till.open_channel)
    after = await _start(door, scope)
    door.streams.admit()
    return _Endless(_Feed(door, scope, caller), where, after)


async def _start(door: Door, scope: HTTPScope) -> int:
    last = header(scope, b"last-event-id")
    if last is not None:
        return position_of(last, name="Last-Event-ID")
    after = query(scope).get("after")
    if after == "latest":
        return await door.till.log.head()
    return position_of(after, name="after")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Feed:
    """Feed one stream until it is cancelled."""

    def __init__(self, door: Door, scope: HTTPScope, caller: Caller) -> None:
        self.door = door
        self._scope, self._caller = scope, caller
        self._show = without_client_secret_of if sees_raw(caller) else projection

    async def run(self, send: Send, where: Selector | None, after: int) -> None:
        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        # With the position: who asked for what comes from now on, and reconnects before anything came, goes on from here.
        await write(b"retry: %d\n: listening\nid: %d\n\n" % (RECONNECT_MILLISECONDS, after))
        clock = self.door.till.charging.clock
        position: int | None = None
        while True:
            try:
                if position is None:
                    # A position beyond the log's end is of another log: all of this one is new.
                    elsewhere = after > 0 and after > await self.door.till.log.head()
                    position = 0 if elsewhere else after
                    if elsewhere:
                        await write(_reset(0))
                async with aclosing(self._heard(where, position)) as pages:
                    async for page in pages:
                        for chunk, position in self._chunks(page):  # noqa: B007 - how far we came, should the log fail
                            await write(chunk)
            except LogUnavailable:
                await write(b": the log can't be read at the moment\n\n")
                await clock.sleep_until(clock.now() + LOG_RETRY_SECONDS)
            except OSError:
                return  # the client is gone, and this server says so by raising
            except Exception as error:  # noqa: BLE001 - the answer has begun: all that is left is to end it
                log_failure(error, self._scope)
                return

    def _heard(self, where: Selector | None, position: int) -> AsyncGenerator[Sequence[Heard], None]:
        ping_seconds = self.door.settings.ping_seconds
        return self.door.till.subscribe_pages(
            where, caller=self._caller, after=position, idle_seconds=ping_seconds
        )

    def _chunks(self, page: Sequence[Heard]) -> Iterator[tuple[bytes, int]]:
        """Cut what was heard at once into pieces that are worth a write each, with the position after each."""
        frames: list[bytes] = []
        size = 0
        for heard in page:
            one = self._frame(heard)
            frames.append(one)
            size += len(one)
            if size >= _CHUNK_BYTES:
                yield b"".join(frames), heard.position
                frames.clear()
                size = 0
        if frames:
            yield b"".join(frames), page[-1].position

    def _frame(self, heard: Heard) -> bytes:
        if isinstance(heard, RecordedEvent):
            event = heard.event
            return frame(heard.position, event.type, shown(event, self._show))
        if isinstance(heard, Reset):
            return _reset(heard.position)
        return b": ping\nid: %d\n\n" % heard.position


def without_client_secret_of(event: Event) -> bytes:
    """Return the event as Stripe sent it, but for every client_secret."""
    return event.body_without_secret


def shown(event: Event, show: Callable[[Event], bytes]) -> bytes:
    """Return what is shown of an event: at least that it happened, should its body defy showing.

    What is recorded need not decode as a whole (a number of a thousand digits is legal JSON): such an event must
    not end the stream of everyone who listens.
    """
    try:
        return show(event)
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError, AttributeError, ValueError):
        pass  # what follows can always be told
    return msgspec.json.encode(
        {
            "id": event.id,
            "type": event.type,
            "created": event.created,
            "livemode": event.livemode,
            "data": None,
        }
    )


def frame(position: int, name: str, data: bytes) -> bytes:
    r"""Return one event as the standard writes it. Line ends in `data` begin further `data:` lines.

    >>> frame(7, "charge.succeeded", b'{"a":\n1}')
    b'id: 7\nevent: charge.succeeded\ndata: {"a":\ndata: 1}\n\n'
    """
    label = _label(name)
    if b"\r" in data or data.endswith(b"\n"):
        lines = b"\ndata: ".join(data.splitlines() or [b""])
    else:
        lines = data.replace(b"\n", b"\ndata: ")  # the same, three times as fast
    # Joined, because the formatting of bytes copies a body of several KB twice.
    return b"".join((b"id: %d\nevent: %s\ndata: " % (position, label), lines, b"\n\n"))


@lru_cache(maxsize=1024)  # Stripe has some 250 types of events
def _label(name: str) -> bytes:
    return "".join(name.splitlines()).encode()


def _reset(position: int) -> bytes:
    # Without an id: who reconnects right now goes on from where it was, and is told again.
    told = {
        "code": "reset",
        "message": "Events after the position you asked for are gone: what follows is not everything.",
        "remedy": "Read the state of what you follow afresh.",
        "position": position,
    }
    return b"event: reset\ndata: %s\n\n" % msgspec.json.encode(told)
