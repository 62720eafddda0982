"""The ASGI face: any Stripe SDK, curl or a browser on a loopback port.

The app turns a scope into a `Request` and plays what the `Response` says about the connection. A server that offers
`scope["extensions"]["tillport.abort"]` (ours does, see `server`) lets it reset connections; elsewhere a lost answer is
a connection closed in the middle of one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from tillport.simulator.control import PREFIX, control
from tillport.simulator.deliverer import Deliverer
from tillport.simulator.pages import page, preflight
from tillport.simulator.simulator import Simulator
from tillport.simulator.stripecli import SESSIONS, SUBSCRIBE, Listeners
from tillport.simulator.wire import MAX_BODY, Request, Response

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

# Above this many waiting deliveries a write waits for the endpoints to catch up: memory stays bounded.
MAX_BACKLOG = 10_000
HANG_SECONDS = 600.0


class SimulatorApp:
    """Serve a simulator over ASGI; its webhooks are POSTed in the background while the app lives.

    `deliver=False` leaves deliveries to you (`simulator.deliver(sink)`).
    """

    def __init__(self, simulator: Simulator, *, deliver: bool = True, concurrency: int = 16) -> None:
        self.simulator = simulator
        self.listeners = Listeners(simulator)
        self.deliverer = (
            Deliverer(simulator, concurrency=concurrency, listeners=self.listeners) if deliver else None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif SUBSCRIBE in scope["path"]:
            await self.listeners.websocket(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if self.deliverer is not None:
                    self.deliverer.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                if self.deliverer is not None:
                    await self.deliverer.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await _request(scope, receive)
        if request is None:
            return
        if self.deliverer is not None:
            # A server without lifespan events still delivers, from its first request on.
            self.deliverer.start()
            if request.method != "GET":
                await self.deliverer.room(MAX_BACKLOG)
        if request.method != "POST" and (shown := page(request) or preflight(request)) is not None:
            response = shown
        elif request.path.startswith(PREFIX):
            response = control(self.simulator, request)
        elif request.method == "POST" and request.path.partition("?")[0].endswith(SESSIONS):
            response = self.listeners.open_session(request)
        else:
            response = self.simulator.handle(request)
            if "origin" in request.headers and not self.simulator.resolve(request)[1].path.startswith(PREFIX):
                # Stripe.js, and its stand-in, call from the shop's own pages. The control routes say no such thing.
                response.headers["Access-Control-Allow-Origin"] = "*"
                response.headers["Access-Control-Expose-Headers"] = "Request-Id, Idempotent-Replayed"
        if response.deliver_first and self.deliverer is not None:
            await self.deliverer.settled()
        if response.connection == "ok":
            if response.delay_seconds:
                await asyncio.sleep(response.delay_seconds)
            await _answer(send, response, response.body)
        else:
            await _misbehave(scope, receive, send, response)


async def _request(scope: Scope, receive: Receive) -> Request | None:
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    body: bytes = message.get("body", b"")
    more = message.get("more_body", False)
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        # Beyond the bound the wire answers 413: no need to keep the rest.
        if len(body) <= MAX_BODY:
            body += message.get("body", b"")
        more = message.get("more_body", False)
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw.decode("latin-1").partition("?")[0]
    query = scope.get("query_string", b"")
    if query:
        path = f"{path}?{query.decode('latin-1')}"
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(scope["method"], path, headers, body)


@lru_cache(maxsize=64)  # the names that answers carry are few
def _wire_name(name: str) -> bytes:
    return name.lower().encode()


async def _answer(
    send: Send, response: Response, body: bytes, *, length: int | None = None, more: bool = False
) -> None:
    headers = [(_wire_name(name), value.encode("latin-1")) for name, value in response.headers.items()]
    headers.append((b"content-length", b"%d" % (len(response.body) if length is None else length)))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _misbehave(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    abort = (scope.get("extensions") or {}).get("tillport.abort")
    body = response.body
    if response.connection == "drip":
        pieces = [body[i : i + max(1, len(body) // 20)] for i in range(0, len(body), max(1, len(body) // 20))]
        await _answer(send, response, b"", more=True)
        for piece in pieces:
            await asyncio.sleep(response.delay_seconds / len(pieces))
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return
    if response.connection == "timeout":
        await _client_gone(receive, response.delay_seconds or HANG_SECONDS)
    elif response.connection == "truncated":
        await _answer(send, response, body[: len(body) // 2], more=True)
        await asyncio.sleep(0.02)
    if abort is not None:
        abort()
        await _client_gone(receive, 5.0)
    elif response.connection != "truncated":
        lost = Response(500, {"Content-Type": "application/json"}, b"")
        await _answer(send, lost, b"", length=1, more=True)


async def _client_gone(receive: Receive, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass
