"""What the webhook door itself costs, beside two handlers of the same framework that do nothing.

    python benchmarks/webhook_door.py [--count 8000] [--connections 32] [--rounds 3]

Five servers (uvicorn, uvloop, httptools; one process each, one after another, in turns) take the same signed events
of about 3 KB over keep-alive connections:

    post     an ordinary Litestar `@post` handler that reads the body and returns a dict
    mounted  a mounted ASGI handler that reads the body and answers
    door     Tillport's door at /webhooks/stripe: verified, decoded, recorded in a log in memory
    seed     the same at the seed's URL, /<APP-ID>/<API-KEY>/services/Stripe/webhooks/handler
    lane     the same as `door` by the lane that `tillport serve` has in front of uvicorn's protocol

The log is in memory, so that what is seen is the door and not a disk. Client and server share the machine: only
ratios mean anything, and the server's own processor time per request means most.
"""

import argparse
import asyncio
import collections
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tillport.adapters.litestar import HttpFace, WebhookLane

SECRET = "whsec_benchmark"
PATHS = {
    "post": "/post",
    "mounted": "/mounted",
    "door": "/webhooks/stripe",
    "seed": "/APP-ID/API-KEY/services/Stripe/webhooks/handler",
    "lane": "/webhooks/stripe",
}


def serve(name: str) -> None:
    """Serve one of the five until the parent ends us."""
    import uvicorn
    from litestar import Litestar, Request, asgi, post
    from litestar.types import Receive, Scope, Send

    @post("/post", status_code=200)
    async def ordinary(request: Request) -> dict[str, bool]:  # type: ignore[type-arg] # a benchmark's no-op
        await request.body()
        return {"received": True}

    @asgi("/mounted", is_mount=True, copy_scope=False)
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - Litestar asks for it by name
        while (await receive()).get("more_body"):
            pass
        body = b'{"received":true}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    http: Any = "httptools"
    if name in ("post", "mounted"):
        app = Litestar([ordinary, mounted], openapi_config=None, logging_config=None)
    else:
        face = till_face()
        app = face.app
        if name == "lane":
            http = by_lane(face.lane)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, access_log=False, log_level="error", loop="uvloop", http=http)
    uvicorn.Server(config).run(sockets=[listener])


def by_lane(lane: "WebhookLane") -> Callable[..., asyncio.Protocol]:
    """Return what uvicorn makes its connections with."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    def connection(config, server_state, app_state, _loop=None):  # type: ignore[no-untyped-def] # uvicorn's own
        others = partial(HttpToolsProtocol, config, server_state, app_state, _loop)
        return lane.connection(server_state, others=others, keep_alive_seconds=config.timeout_keep_alive)

    return connection


def till_face() -> "HttpFace":
    """Build the service with everything in memory."""
    from tillport.adapters.litestar import create_face
    from tillport.adapters.memory.access import StaticKeyRing
    from tillport.adapters.memory.doorbell import LocalDoorbell
    from tillport.adapters.memory.event_log import MemoryEventLog
    from tillport.adapters.memory.ledger import MemoryLedger
    from tillport.adapters.memory.payments import MemoryGateway
    from tillport.adapters.memory.policy import MaximumAmount
    from tillport.domain import Charging, Till, Verifier

    class WallClock:
        def now(self) -> float:
            return time.time()

        async def sleep_until(self, moment: float) -> None:
            await asyncio.sleep(max(0.0, moment - time.time()))

    clock = WallClock()
    charging = Charging(
        gateway=MemoryGateway(clock),
        ledger=MemoryLedger(),
        policy=MaximumAmount({"usd": 100_000}),
        clock=clock,
    )
    till = Till(
        charging=charging,
        verifier=Verifier([SECRET]),
        log=MemoryEventLog(),
        doorbell=LocalDoorbell(clock),
        nonces=lambda: secrets.token_hex(8),
    )
    return create_face(till, StaticKeyRing())


def requests(path: str, count: int) -> list[bytes]:
    """Build signed requests of realistic size before the clock starts."""
    built = []
    now = int(time.time())
    run = secrets.token_hex(4)
    filler = {f"field_{number}": f"value of field number {number}" for number in range(48)}
    for number in range(count):
        charge = {
            "id": f"ch_3{run}{number}",
            "object": "charge",
            "amount": 1250,
            "currency": "usd",
            "payment_intent": f"pi_3{run}{number}",
            "payment_method_details": {"type": "card", "card": filler},
            "status": "succeeded",
        }
        event = {
            "id": f"evt_3{run}{number}",
            "object": "event",
            "api_version": "2026-05-27.dahlia",
            "created": now,
            "data": {"object": charge},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": f"req_{number}", "idempotency_key": f"key-{number}"},
            "type": "charge.succeeded",
        }
        body = json.dumps(event, indent=2).encode()
        signature = hmac.new(SECRET.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Stripe/1.0\r\nAccept: */*\r\n"
            f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
            f"Stripe-Signature: t={now},v1={signature}\r\n\r\n"
        )
        built.append(head.encode() + body)
    return built


def drive(port: int, wanted: list[bytes], connections: int) -> tuple[float, list[float]]:
    """Send every request, one in flight per connection; return the seconds taken and each one's latency."""
    poller, open_sockets, started = select.epoll(), {}, {}
    latencies: list[float] = []
    answers = collections.defaultdict[int, bytes](bytes)
    remaining = iter(wanted)
    began = time.perf_counter()
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        open_sockets[client.fileno()] = client
        poller.register(client.fileno(), select.EPOLLIN)
        started[client.fileno()] = time.perf_counter()
        client.sendall(next(remaining))
    while open_sockets:
        for number, _ in poller.poll(30):
            client = open_sockets[number]
            answers[number] += client.recv(65_536)
            if not answers[number].endswith(b'{"received":true}'):  # head and body may come apart
                if not answers[number].startswith(b"HTTP/1.1 200"):
                    sys.exit(f"unexpected answer: {answers[number][:200]!r}")
                continue
            answers[number] = b""
            latencies.append(time.perf_counter() - started[number])
            following = next(remaining, None)
            if following is None:
                poller.unregister(number)
                open_sockets.pop(number).close()
                continue
            started[number] = time.perf_counter()
            client.sendall(following)
    return time.perf_counter() - began, sorted(latencies)


def cpu_seconds(process_id: int) -> float:
    """Return the processor time that a process has used (Linux)."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def server(name: str) -> Iterator[tuple[int, int]]:
    """Run one of the five in a process of its own; yield its port and process id."""
    process = subprocess.Popen([sys.executable, __file__, "--serve", name], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.terminate()
        process.wait(10)


def main() -> None:
    """Measure, and print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=8_000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=PATHS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        return serve(chosen.serve)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in PATHS}
    for _ in range(chosen.rounds):
        for name, path in PATHS.items():
            with server(name) as (port, process_id):
                drive(port, requests(path, 500), chosen.connections)
                wanted, before = requests(path, chosen.count), cpu_seconds(process_id)
                seconds, latencies = drive(port, wanted, chosen.connections)
                cpu = (cpu_seconds(process_id) - before) / chosen.count
                p99 = latencies[int(len(latencies) * 0.99)]
                found[name].append((chosen.count / seconds, p99 * 1e3, cpu * 1e6))
    middle = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in found.items()
    }
    print(f"{'':8} {'per second':>10} {'of post':>8} {'of mounted':>10} {'p99 ms':>7} {'server CPU µs':>14}")
    for name, (rate, p99, cpu) in middle.items():
        of_post, of_mounted = rate / middle["post"][0], rate / middle["mounted"][0]
        print(f"{name:8} {rate:10.0f} {of_post:8.2f} {of_mounted:10.2f} {p99:7.1f} {cpu:14.0f}")
    return None


if __name__ == "__main__":
    main()
