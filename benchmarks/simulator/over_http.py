"""Payments a second over HTTP, webhooks delivered and counted, beside a server that does nothing in the same run.

python benchmarks/simulator/over_http.py 4000

Three programs: the server (one process, one core), and this one, which sends from eight connections with keep-alive
and receives the webhooks. In turn: an ASGI app that answers a fixed body (what the machine, uvicorn and this client
allow), then payments with one delivery each, then payments with all their events. A line each: payments/s till the last
is answered and till the last delivery has arrived, the server's processor time a payment and the rate that this allows
one core (the figure that counts on a machine that others use), the longest queue; then the ratio to doing nothing.
`charge.updated` follows at once, not after the usual two seconds: waiting is no work.
"""

import asyncio
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

CONNECTIONS = 8
FORM = b"amount=2000&currency=usd&payment_method=pm_card_visa&confirm=true"


class Client(asyncio.Protocol):
    """One keep-alive connection that sends the next request as soon as the last is answered."""

    def __init__(self, run: "Load") -> None:
        self._run = run
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        if (raw := self._run.next_request()) is not None:
            self._transport.write(raw)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self._buffer.find(b"content-length: ") + 16
        size = int(self._buffer[at : self._buffer.find(b"\r", at)])
        if len(self._buffer) < end + 4 + size:
            return
        self._run.answered(self._buffer)
        self._buffer = b""
        self._next()


class Load:
    """So many requests over all connections; `finished` when each is answered."""

    def __init__(self, host: str, port: int, total: int, key: str) -> None:
        self._head = (
            f"POST /v1/payment_intents HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
        )
        self._left, self._open, self._number = total, total, 0
        self.finished = asyncio.get_running_loop().create_future()

    def next_request(self) -> bytes | None:
        if self._left == 0:
            return None
        self._left -= 1
        self._number += 1
        # As every SDK does: a key on each write.
        own = f"Idempotency-Key: bench-{self._number}-{time.time_ns()}\r\nContent-Length: {len(FORM)}\r\n\r\n"
        return (self._head + own).encode() + FORM

    def answered(self, raw: bytes) -> None:
        assert raw.startswith(b"HTTP/1.1 200"), raw[:600]
        self._open -= 1
        if self._open == 0:
            self.finished.set_result(time.perf_counter())


class Sink(asyncio.Protocol):
    """Receive webhooks: check each signature by hand, count the events."""

    secret = b""
    events: ClassVar[set[str]] = set()
    bad = 0
    last = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length: ") + 16
            size = int(head[at:].split(b"\r", 1)[0])
            if len(self._buffer) < end + 4 + size:
                return
            body = self._buffer[end + 4 : end + 4 + size]
            self._buffer = self._buffer[end + 4 + size :]
            at = head.find(b"stripe-signature: ") + 18
            moment, digest = head[at:].split(b"\r", 1)[0].split(b",")[:2]
            wanted = hmac.new(Sink.secret, moment[2:] + b"." + body, hashlib.sha256).hexdigest().encode()
            if wanted == digest[3:]:
                # The first id in an event is its own.
                Sink.events.add(body[body.find(b'"evt_') : body.find(b'"evt_') + 40].decode())
            else:
                Sink.bad += 1
            Sink.last = time.perf_counter()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


SERVER = """
import sys
if sys.argv[1] == "nothing":
    import socket, uvicorn
    body = b"{" + b" " * 3000 + b"}"
    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})
    sock = socket.create_server(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, date_header=False)
    uvicorn.Server(config).run([sock])
else:
    from tillport.simulator import Simulator
    from tillport.simulator.server import serve
    serve(Simulator(seed=1, settle_seconds=0.0), on_ready=lambda server: print(server.port, flush=True))
"""


async def _http(port: int, method: str, path: str, key: str = "", body: bytes = b"") -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
    )
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    raw = await reader.read()
    writer.close()
    return json.loads(raw.partition(b"\r\n\r\n")[2])


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(what: str, total: int, events: tuple[str, ...], per_payment: int) -> float:
    """Run one load; print its line; return payments a second of the server's processor time, deliveries included."""
    server = subprocess.Popen(  # noqa: ASYNC220 - once, before anything runs
        [sys.executable, "-c", SERVER, what], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    loop = asyncio.get_running_loop()
    sink = await loop.create_server(Sink, "127.0.0.1", 0)
    backlog = 0

    async def watch() -> None:
        nonlocal backlog
        while True:
            await asyncio.sleep(0.2)
            backlog = max(backlog, (await _http(port, "GET", "/_sim/"))["backlog"])

    try:
        assert server.stdout is not None
        port = int(await asyncio.to_thread(server.stdout.readline))
        key = "sk_test_tillportsimulator"
        Sink.events, Sink.bad = set(), 0
        watching = None
        if events:
            form = "&".join([f"url=http://127.0.0.1:{sink.sockets[0].getsockname()[1]}/"])
            form += "".join(f"&enabled_events[]={name}" for name in events)
            endpoint = await _http(port, "POST", "/v1/webhook_endpoints", key, form.encode())
            Sink.secret = endpoint["secret"].encode()
            watching = asyncio.create_task(watch())
        for count in (total // 10, total):
            await asyncio.sleep(0.2)
            cpu, began, seen = _cpu(server.pid), time.perf_counter(), len(Sink.events)
            load = Load("127.0.0.1", port, count, key)
            pairs = [
                await loop.create_connection(partial(Client, load), "127.0.0.1", port)
                for _ in range(CONNECTIONS)
            ]
            sent = await load.finished
            wanted, patience = seen + per_payment * count, time.perf_counter() + 60
            while len(Sink.events) < wanted and time.perf_counter() < patience:  # noqa: ASYNC110 - the sink counts
                await asyncio.sleep(0.01)
            assert (len(Sink.events), Sink.bad) == (wanted, 0), (
                f"wanted {wanted} deliveries and none badly signed"
            )
            cpu = _cpu(server.pid) - cpu
            for transport, _ in pairs:
                transport.close()
        whole = (Sink.last if events else sent) - began
        if watching is not None:
            watching.cancel()
        print(
            f"{what + ' ' + ','.join(events):<45} {count / (sent - began):7.0f} answered/s  {count / whole:7.0f}/s "
            f"with {per_payment} deliveries each  {cpu / count * 1e6:5.0f} µs of CPU ({count / cpu:6.0f}/s)  "
            f"longest queue {backlog}"
        )
        return count / cpu
    finally:
        server.terminate()
        server.wait(10)
        sink.close()


async def main(total: int) -> None:
    nothing = await measure("nothing", total, (), 0)
    one = await measure("payments", total, ("payment_intent.succeeded",), 1)
    every = await measure("payments", total, ("*",), 4)
    print(
        f"in processor time, of doing nothing: {one / nothing:.2f} with one delivery, {every / nothing:.2f} with all events"
    )


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4_000))
    else:
        uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4_000))
