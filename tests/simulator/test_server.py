"""The port itself, byte by byte: HEAD, OPTIONS, pipelining, huge headers, slow and broken clients."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tillport.simulator import Simulator
from tillport.simulator.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(Simulator(seed=1)) as running:
        yield running


@pytest.fixture
def wire(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        yield connection


def head(server: Server, line: str, *more: str) -> bytes:
    lines = [
        f"{line} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {server.simulator.secret_key}",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def read(connection: socket.socket, answers: int = 1, *, bodies: bool = True) -> list[tuple[int, Any]]:
    """Read so many answers off a connection; (0, None) for one that never came."""
    got: list[tuple[int, Any]] = []
    raw = b""
    while len(got) < answers:
        top, found, rest = raw.partition(b"\r\n\r\n")
        if found:
            fields = dict(line.lower().split(b": ", 1) for line in top.split(b"\r\n")[1:])
            size = int(fields.get(b"content-length", b"0")) if bodies else 0
            if len(rest) >= size:
                body = rest[:size]
                got.append((int(top.split()[1]), json.loads(body) if body[:1] == b"{" else body))
                raw = rest[size:]
                continue
        piece = connection.recv(65536)
        if not piece:
            return [*got, (0, None)]
        raw += piece
    return got


def test_head_has_no_body_and_the_connection_goes_on(server: Server, wire: socket.socket) -> None:
    wire.sendall(head(server, "HEAD /v1/charges"))
    ((status, _),) = read(wire, bodies=False)
    assert status in (200, 404)
    wire.sendall(head(server, "GET /v1/charges"))
    assert read(wire)[0][0] == 200


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "TRACE", "DELETE"])
def test_a_method_that_stripe_does_not_know_is_an_unknown_url(
    server: Server, wire: socket.socket, method: str
) -> None:
    wire.sendall(head(server, f"{method} /v1/charges"))
    ((status, body),) = read(wire)
    assert status == 404
    assert "Unrecognized request URL" in body["error"]["message"]


def test_pipelined_requests_are_answered_in_order(server: Server, wire: socket.socket) -> None:
    urls = ["/v1/charges?limit=1", "/v1/nonsense", "/v1/events?limit=2", "/v1/customers/cus_x"]
    wire.sendall(b"".join(head(server, f"GET {url}") for url in urls))
    assert [status for status, _ in read(wire, 4)] == [200, 404, 200, 404]


def test_a_request_that_drips_in_is_understood(server: Server, wire: socket.socket) -> None:
    form = b"amount=2000&currency=usd&payment_method=pm_card_visa&confirm=true"
    raw = head(server, "POST /v1/payment_intents", f"Content-Length: {len(form)}") + form
    for i in range(0, len(raw), 7):
        wire.sendall(raw[i : i + 7])
        time.sleep(0.002)
    ((status, body),) = read(wire)
    assert (status, body["status"]) == (200, "succeeded")


def test_a_client_that_goes_away_in_the_middle_costs_nothing(server: Server) -> None:
    before = len(server.simulator.account.payment_intents)
    for raw in (
        b"",
        b"POST",
        head(server, "POST /v1/payment_intents", "Content-Length: 500") + b"amount=2000",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(raw)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head(server, "GET /v1/charges?limit=1"))
        assert read(connection)[0][0] == 200
    assert len(server.simulator.account.payment_intents) == before


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/charges HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /v1/charges HTTP/1.1\r\nContent-Length: nine\r\n\r\n",
        b"POST /v1/charges HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x00" * 4000,
    ],
)
def test_what_is_no_http_is_refused(server: Server, wire: socket.socket, raw: bytes) -> None:
    wire.sendall(raw)
    wire.shutdown(socket.SHUT_WR)
    assert read(wire)[0][0] in (0, 400)


def test_huge_headers_are_refused_and_the_server_goes_on(server: Server) -> None:
    for size in (1_000, 60_000, 3_000_000):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            try:
                connection.sendall(head(server, "GET /v1/charges?limit=1", "X-Big: " + "x" * size))
                ((status, _),) = read(connection)
            except ConnectionError:
                status = 0
            assert status == 200 if size == 1_000 else status in (0, 200, 400, 413, 431), size
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head(server, "GET /v1/charges?limit=1"))
        assert read(connection)[0][0] == 200


def test_a_long_url_and_a_deep_body_are_refused_in_the_envelope(server: Server, wire: socket.socket) -> None:
    form = b"metadata" + b"[a]" * 5_000 + b"=1"
    wire.sendall(
        head(server, "GET /v1/charges?x=" + "y" * 40_000)
        + head(server, "POST /v1/customers", f"Content-Length: {len(form)}")
        + form
    )
    (first, long), (second, deep) = read(wire, 2)
    assert (first, second) == (413, 400)
    assert long["error"]["type"] == deep["error"]["type"] == "invalid_request_error"


def test_many_parameters_are_refused(server: Server, wire: socket.socket) -> None:
    form = b"&".join(b"metadata[k%d]=v" % i for i in range(3_000))
    wire.sendall(head(server, "POST /v1/customers", f"Content-Length: {len(form)}") + form)
    ((status, body),) = read(wire)
    assert status == 400
    assert "Too many parameters" in body["error"]["message"]


def test_http_1_0_and_connection_close_end_the_connection(server: Server, wire: socket.socket) -> None:
    wire.sendall(head(server, "GET /v1/charges?limit=1", "Connection: close"))
    assert [status for status, _ in read(wire, 2)] == [200, 0]


def test_expect_100_continue_is_answered(server: Server, wire: socket.socket) -> None:
    wire.sendall(head(server, "POST /v1/customers", "Content-Length: 8", "Expect: 100-continue"))
    assert wire.recv(25).startswith(b"HTTP/1.1 100")
    wire.sendall(b"name=Ada")
    assert read(wire)[0][1]["name"] == "Ada"
