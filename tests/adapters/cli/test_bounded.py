"""What one connection may make the service keep and believe, and that nobody honest notices."""

import asyncio

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tillport.adapters.cli.bounded import PIPELINED_MAX, UNFINISHED_BYTES_MAX, BoundedProtocol

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LINES = b"a: b\r\n" * 1000
REFUSED = b"HTTP/1.1 400 "


class Recorder(asyncio.Transport):
    """A transport that remembers what was written, and whether it was closed."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.closing = False

    def write(self, data):
        self.written += data

    def close(self):
        self.closing = True

    def is_closing(self):
        return self.closing

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


async def echo(scope, receive, send):
    """Answer with the size of the body, however long."""
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    told = b"%d" % size
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(told))]}
    )
    await send({"type": "http.response.body", "body": told})


def answered(pieces, *, protocol=BoundedProtocol, at_once=False):
    """Return what is written in answer to these reads, until the connection is closed."""

    async def story():
        config = uvicorn.Config(echo, http="httptools", lifespan="off", log_config=None, access_log=False)
        config.load()
        connection, transport = protocol(config, ServerState(), {}, asyncio.get_running_loop()), Recorder()
        connection.connection_made(transport)
        for piece in pieces:
            if transport.closing:
                break
            connection.data_received(piece)
            for _ in range(0 if at_once else 5):
                await asyncio.sleep(0)
        for _ in range(10 * PIPELINED_MAX):
            await asyncio.sleep(0)
        found = transport.written, transport.closing
        connection.connection_lost(None)
        await asyncio.sleep(0)
        return found

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"", b"\r\n" * 500),
        (b"GET /", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", LINES),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"a" * 1000),
        (CHUNKED + b"1;", b"a" * 1000),
        (CHUNKED + b"1\r\n{\r\n0\r\n", LINES),
    ],
    ids=["blank lines", "path", "fields", "value", "name", "extension", "trailers"],
)
def test_what_comes_to_no_end_is_refused_and_cut_off(start, more):
    endless = [start, *[more] * (2 * UNFINISHED_BYTES_MAX // len(more))]
    told, closed = answered(endless)
    assert (told[: len(REFUSED)], closed) == (REFUSED, True)
    assert b"Send less than 65536 bytes of headers." in told
    within = [start, *[more] * (UNFINISHED_BYTES_MAX // len(more) - 1)]
    assert answered(within) == (b"", False)


def test_more_requests_than_may_wait_are_refused():
    told, closed = answered([GET * (PIPELINED_MAX + 2)])
    assert (told.count(REFUSED), told.count(b"Wait for answers"), closed) == (1, 1, True)
    told, closed = answered([GET] * (PIPELINED_MAX + 2), at_once=True)
    assert (told.count(REFUSED), closed) == (1, True)


UPGRADES = {
    "HTTP/2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "anything": b"Upgrade: x\r\nConnection: keep-alive, upgrade\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
}
BODIES = {"length": b"Content-Length: %d\r\n" % len(GET), "chunked": b"Transfer-Encoding: chunked\r\n"}


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("length", BODIES.values(), ids=BODIES)
def test_no_request_hides_in_the_body_of_one_that_offers_another_protocol(upgrade, length):
    head = b"POST / HTTP/1.1\r\nHost: a\r\n" + upgrade + length + b"\r\n"
    for pieces in ([head, GET], [head + GET], [head + GET, GET]):
        told, closed = answered(pieces)
        assert (told.count(b"content-length"), told[: len(REFUSED)], closed) == (1, REFUSED, True)
        assert b"Send a body without an Upgrade header" in told


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\n Content-Length: %d\r\n\r\n" % len(GET),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r" % (len(GET) - 1),
    ],
    ids=["a length after a blank", "an end of CR alone"],
)
def test_no_request_hides_behind_a_head_that_others_read_otherwise(head):
    """The oldest httptools that `pyproject.toml` allows is the first that refuses both."""
    told, closed = answered([head + GET])
    assert (told.count(b"content-length"), told[: len(REFUSED)], closed) == (1, REFUSED, True)


HONEST = {
    "as many as may wait": [GET * (PIPELINED_MAX + 1)],
    "very many, one after another": [GET] * (3 * UNFINISHED_BYTES_MAX // len(GET)),
    "a large body": [b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", *[b"x" * 1000] * 1000],
    "a large body in small chunks": [CHUNKED, *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 10_000, b"0\r\n\r\n"],
    "a large head": [b"GET / HTTP/1.1\r\n", LINES * 10, b"\r\n"],
    "a very large head in one read": [b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n"],
    "a head byte by byte": [GET[at : at + 1] for at in range(len(GET))],
    "trailers": [CHUNKED, b"1\r\nx\r\n0\r\n", LINES, b"\r\n", GET],
    "an offer of HTTP/2": [GET[:-2] + UPGRADES["HTTP/2"] + b"\r\n", GET],
    "an offer and no body": [GET[:-2] + UPGRADES["HTTP/2"] + b"Content-Length: 0\r\n\r\n", GET],
    "garbage": [b"garbage\r\n\r\n"],
}


@pytest.mark.parametrize("pieces", HONEST.values(), ids=HONEST)
def test_everything_else_is_answered_as_by_uvicorn(pieces):
    assert answered(pieces) == answered(pieces, protocol=HttpToolsProtocol)
