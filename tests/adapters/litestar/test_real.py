"""What only a real server shows: clients that leave, floods, signals."""

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ORDER = b'{"token":"tok_visa","amount_minor":1250}'


def request(path, body, headers, *, length=None):
    head = [f"POST {path} HTTP/1.1", "Host: till.test", *(f"{k}: {v}" for k, v in headers.items())]
    head.append(
        "Transfer-Encoding: chunked" if length == "chunked" else f"Content-Length: {length or len(body)}"
    )
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


def test_a_client_that_leaves_does_not_stop_its_charge(make_real_world, serving):
    world = make_real_world()
    world.gateway.slow_seconds = 0.5
    headers = {**world.as_app, "Idempotency-Key": "order-1"}
    with serving(world.app) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(request("/charges", ORDER, headers))
            deadline = time.monotonic() + 60
            while not world.gateway.calls:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        attempt = world.gateway.held[0].key
        deadline = time.monotonic() + 60
        while True:
            status = httpx.get(f"http://127.0.0.1:{port}/charges/{attempt}", headers=world.as_app).json()
            if status["state"] == "succeeded":
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        again = httpx.post(f"http://127.0.0.1:{port}/charges", content=ORDER, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert len(world.gateway.held) == 1


def test_a_service_that_stops_waits_for_the_charge_under_way(make_real_world, serving):
    world = make_real_world()
    world.gateway.slow_seconds = 0.5
    with serving(world.app) as port:
        client = socket.create_connection(("127.0.0.1", port))
        try:
            client.sendall(request("/charges", ORDER, world.as_app))
            while not world.gateway.calls:
                time.sleep(0.01)
        finally:
            client.close()
    (attempt,) = world.ledger._attempts.values()
    assert attempt.state.value == "succeeded"


@pytest.mark.parametrize("path", ["/charges", "/webhooks/stripe", "/a/b/services/Stripe/webhooks/handler"])
@pytest.mark.parametrize("length", ["chunked", 10_000_000])
def test_a_flood_is_answered_413_long_before_its_end(make_real_world, serving, path, length):
    world = make_real_world()
    with serving(world.app) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request(path, b"", world.as_app, length=length))
        chunk = b"x" * 65_536
        piece = b"10000\r\n" + chunk + b"\r\n" if length == "chunked" else chunk
        sent = 0
        client.settimeout(0.02)
        said = b""
        while b"\r\n\r\n" not in said and sent < 5_000_000:
            client.settimeout(10)
            try:
                client.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
            sent += len(chunk)
            client.settimeout(0.02)
            try:
                said += client.recv(65_536)
            except TimeoutError:
                continue
        assert b" 413 " in said
        assert sent < 5_000_000


def test_ten_megabytes_sent_in_one_go_still_get_their_413(make_real_world, serving):
    world = make_real_world()
    with serving(world.app) as port:
        for path in ("/charges", "/webhooks/stripe"):
            answer = httpx.post(
                f"http://127.0.0.1:{port}{path}", content=b"x" * 10_000_000, headers=world.as_app, timeout=20
            )
            assert answer.status_code == 413


SERVICE = """
import sys, importlib.util, uvicorn
spec = importlib.util.spec_from_file_location("parts", sys.argv[1])
parts = importlib.util.module_from_spec(spec); sys.modules["parts"] = parts; spec.loader.exec_module(parts)
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
world = parts.World(parts.WallClock(), parts.HttpSettings(stop_on_signals=sys.argv[2] == "hear"))
config = uvicorn.Config(world.app, access_log=False, log_level="error", timeout_graceful_shutdown=60)
uvicorn.Server(config).run(sockets=[listener])
"""


@contextmanager
def an_idle_stream(*, hearing):
    """Start a service in a process of its own with one idle stream; yield the process and the stream's chunks."""
    parts = Path(__file__).with_name("conftest.py")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE, str(parts), "hear" if hearing else "deaf"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        port = int(process.stdout.readline())
        headers = {"Authorization": "Bearer app-key-0123456789abcdef"}
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
            client.stream("GET", "/transactions/ch_1/events", headers=headers) as stream,
        ):
            chunks = stream.iter_text()
            assert "retry" in next(chunks)
            yield process, chunks
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_stream_ends_in_order_when_the_service_is_told_to_stop(number):
    with an_idle_stream(hearing=True) as (process, chunks):
        began = time.monotonic()
        process.send_signal(number)
        assert list(chunks) == []
        process.wait(50)
        assert time.monotonic() - began < 30  # uvicorn would have waited for 60
        assert "tillport" not in process.stderr.read()  # at SIGINT uvicorn itself ends by KeyboardInterrupt


def test_a_service_that_does_not_hear_signals_would_be_held_up():
    with an_idle_stream(hearing=False) as (process, _):
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)


def test_a_connection_serves_one_webhook_after_another(make_real_world, serving, make_event):
    world = make_real_world()
    with serving(world.app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for number in range(1, 20):
            body = make_event(number)
            answer = client.post(
                "/webhooks/stripe", content=body, headers={"Stripe-Signature": world.sign(body)}
            )
            assert answer.json() == {"received": True}
        rows = client.get("/events", headers=world.as_server).json()["events"]
    assert [row["event_id"] for row in rows] == [f"evt_{number}" for number in range(1, 20)]
    assert json.loads(body)["id"] == "evt_19"
