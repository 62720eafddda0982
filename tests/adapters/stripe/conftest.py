"""A server on loopback that answers like Stripe on its worst days, from a script, byte by byte."""

import asyncio
import json
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest

from tillport.adapters.stripe import Patience, StripeConnection, StripeGateway

SECRET = "sk_test_51VerySecretKey"


class SwiftClock:
    """Real time, except that nobody ever waits: a sleep moves the clock."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return time.time() + self.ahead

    async def sleep_until(self, moment: float) -> None:
        self.slept.append(moment - self.now())
        self.ahead += max(0.0, moment - self.now())


@attrs.frozen
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, str]


Script = Mapping[str, Any]
"""What the server does with one request, as data; keys:

`status`, `body` (JSON, or bytes as they are), `headers`: the answer. `raw`: the answer, byte for byte.
`cut`: end the connection that many bytes before the answer's end. `drip`: write it byte by byte, slowly.
`reset`: reset the connection instead of answering, `"unread"` without reading. `hang`: read, and say nothing.
A function of the request may stand in for a script.
"""


def _bytes(script: Script) -> bytes:
    if "raw" in script:
        return bytes(script["raw"])
    if "status" not in script:
        return b""
    body = script.get("body", {})
    raw = body if isinstance(body, bytes) else json.dumps(body, indent=2).encode()
    headers = {"Content-Type": "application/json", "Request-Id": "req_T3st", **script.get("headers", {})}
    lines = [f"HTTP/1.1 {script['status']} X", *(f"{name}: {value}" for name, value in headers.items())]
    answer = "\r\n".join([*lines, f"Content-Length: {len(raw)}", "", ""]).encode() + raw
    return answer[: -script["cut"]] if "cut" in script else answer


class Server:
    """Answers each request by the next script, the last one for ever; remembers what it saw."""

    def __init__(self) -> None:
        self.scripts: deque[Script | Callable[[Seen], Script]] = deque()
        self.seen: list[Seen] = []
        self.url = ""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    def will(self, *scripts: Script | Callable[[Seen], Script]) -> None:
        self.scripts = deque(scripts)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.hang_up()
        await self._server.wait_closed()

    def hang_up(self) -> None:
        """End every connection that is open."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            if self.scripts and not callable(self.scripts[0]) and self.scripts[0].get("reset") == "unread":
                self._next()
                return _reset(writer)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
            method, target, _ = first.split(" ")
            parts = urlsplit(target)
            form = {k: v[0] for k, v in parse_qs(body or parts.query, keep_blank_values=True).items()}
            seen = Seen(method, parts.path, headers, form)
            self.seen.append(seen)
            script = self._next()
            script = script(seen) if callable(script) else script
            answer = _bytes(script)
            if script.get("reset"):
                return _reset(writer)
            if script.get("drip"):
                for byte in answer:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.05)
            else:
                writer.write(answer)
            if script.get("hang"):
                await asyncio.sleep(60)
            if "status" not in script or "cut" in script:
                return None  # the connection ends here

    def _next(self) -> Script | Callable[[Seen], Script]:
        return self.scripts.popleft() if len(self.scripts) > 1 else self.scripts[0]


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def clock() -> SwiftClock:
    return SwiftClock()


@pytest.fixture
async def gateway(server: Server, clock: SwiftClock) -> AsyncIterator[StripeGateway]:
    patience = Patience(connect_seconds=30, timeout_seconds=30)  # nobody here lets it come to that
    async with StripeConnection(
        SECRET, clock=clock, base_address=server.url, patience=patience
    ) as connection:
        yield StripeGateway(connection)
