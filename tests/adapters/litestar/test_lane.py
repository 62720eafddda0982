"""The lane's law: for any bytes, the answers and the records of the server without it."""

import asyncio
import itertools
import logging
import uuid
from functools import partial

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import Side

from tillport.adapters.litestar.plain import PlainHead, read_plain_head, request_line
from tillport.ports.event_log import EventRefused, LogOverloaded, LogUnavailable

PATH = b"/webhooks/stripe"
BYTES_MAX = 3_000
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(main, loop=uvloop.new_event_loop):
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)


@pytest.fixture(scope="module", params=[True, False], ids=["group commit", "any other log"])
def sides(make_world, request):
    """Return the two sides: with the lane and without it."""
    return [
        Side(make_world(webhook_bytes_max=BYTES_MAX), with_lane=lane, grouped=request.param)
        for lane in (True, False)
    ]


def request(body, signature, *, line=b"POST " + PATH + b" HTTP/1.1", fields=(), length=None, host=True):
    head = [line]
    if host:
        head.append(b"Host: till.test")
    head += fields
    if signature is not None:
        head.append(b"Stripe-Signature: " + signature)
    if length is not False:
        head.append(b"Content-Length: %d" % (len(body) if length is None else length))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


async def one_by_one(side, units):
    """Give each unit by itself and wait for its answer: what the stream means, without any race."""
    before = await side.world.log.head()
    async with side.connected() as wire:
        for unit, _ in units:
            await wire.send(unit)
            await wire.settle()
        return wire.answers, wire.closed, await side.recorded(before)


async def in_pieces(side, units, cuts, waits):
    """Give the same bytes in other pieces, some before the former are answered."""
    before = await side.world.log.head()
    stream, position, borders = b"".join(unit for unit, _ in units), 0, set()
    for unit, kind in units:
        if kind == "wrong":  # uvicorn answers it before, and instead of, what it has not answered yet
            borders.add(position)
        position += len(unit)
    places = sorted({*borders, *(cut % (len(stream) + 1) for cut in cuts), 0, len(stream)})
    async with side.connected() as wire:
        for number, (start, end) in enumerate(itertools.pairwise(places)):
            if start in borders or waits[number % len(waits)]:
                await wire.settle()
            await wire.send(stream[start:end])
        await wire.settle()
        return wire.answers, wire.closed, await side.recorded(before)


def check(sides, units, cuts=(), waits=(False,), turns=0, loop=uvloop.new_event_loop):
    with_lane, without = sides
    with_lane.log.turns = turns
    found = run(in_pieces(with_lane, units, cuts, waits), loop)
    expected = run(one_by_one(without, units), loop)
    assert found == expected
    return found


def plain(body, signature):
    return request(body, signature), "plain"


FIELDS = [
    b"User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)",
    b"accept: */*; q=0.5, application/json",
    b"X-Empty:",
    b"X-Blank: \t ",
    b"Cache-Control:no-cache",
    b"Connection: keep-alive",
    b"CONNECTION: Keep-Alive",
    b"X-Forwarded-For: 203.0.113.9, 10.0.0.1",
    b"X-Forwarded-Proto: https",
    b"X-Content-Length: 7",
    b"Contents-Length: 9",
    b"Accept-Encoding: gzip",
]
ODD_FIELDS = [
    b"Connection: close",
    b"Connection: keep-alive, close",
    b"Proxy-Connection: close",
    b"Keep-Alive: timeout=5",
    b"Origin: https://shop.example",
    b"TE: trailers",
    b"Trailer: Expires",
    b"Expect: 100-continue",
    b"expect: 100-Continue",
    b"Upgrade: h2c",
    b"Host: other.test",
    b"X-Latin: \xe9\xff",
    b"Stripe-Signature: t=1,v1=00",
    b"stripe-signature:",
    b"X-Long: " + b"a" * 17_000,
    b"x-" + b"b" * 17_000 + b": 1",
]
ODD_LINES = [
    b"POST " + PATH + b"?a=1 HTTP/1.1",
    b"POST " + PATH + b"/ HTTP/1.1",
    b"POST /webhooks/strip%65 HTTP/1.1",
    b"POST /webhooks/other HTTP/1.1",
    b"POST http://till.test" + PATH + b" HTTP/1.1",
    b"POST " + PATH + b" HTTP/1.0",
    b"PUT " + PATH + b" HTTP/1.1",
    b"OPTIONS " + PATH + b" HTTP/1.1",
    b"\r\nPOST " + PATH + b" HTTP/1.1",
]
GARBAGE = [
    b"GET\r\n\r\n",
    b"POST " + PATH + b" HTTP/9.9\r\n\r\n",
    b"post " + PATH + b" HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"\x00" * 40,
    b"POST " + PATH + b"\r\nHost: a\r\n\r\n",
    *(
        b"POST " + PATH + b" HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n{}"
        for field in (
            b"Content-Length : 2",
            b" Content-Length: 2",
            b"Content-Length: +2",
            b"Content-Length: 2, 2",
            b"Content-Length: 0x2",
            b"Content-Length: 2\r\nContent-Length: 2",
            b"Content-Length: 2\r\nContent-Length: 1",
            b"Content-Length: 2\r\nTransfer-Encoding: chunked",
            b"Content-Length: 99999999999999999999999999",
            b"Content-Length: 2\nX: 1",
            b"Content-Length: 2\r\nX\x00: 1",
            b"Content-Length: 2\r\nX: \x01",
            b"Content-Length: 2\r\n: 1",
            b"Content-Length: 2\r\nX",
            b"Content-Length:\r\n 2",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: xchunked",
        )
    ),
]
KINDS = ["plain"] * 4 + [
    "refused", "odd field", "odd line", "chunked", "large", "no length", "no host", "longer", "wrong",
]  # fmt: skip


@st.composite
def units(draw, sides, make_event):
    """A stream of requests: (bytes, what they are), the last one perhaps cut short."""
    run_id = uuid.uuid4().hex  # both sides' logs go on from one example to the next
    made = []
    kinds = st.sampled_from(KINDS)
    for kind in draw(st.lists(kinds, min_size=1, max_size=6)):
        body = make_event(
            id=f"evt_{run_id}_{draw(st.integers(1, 3))}", filler="x" * draw(st.integers(0, 900))
        )
        signature = sides[0].world.sign(body).encode()
        fields = draw(
            st.lists(st.sampled_from(FIELDS), max_size=3, unique_by=lambda f: f.partition(b":")[0].lower())
        )
        odd = "odd"
        match kind:
            case "plain":
                made.append((request(body, signature, fields=fields), "plain"))
            case "refused":
                signature = draw(
                    st.sampled_from([None, b"", b"t=1,v1=00", signature[:-1], signature + b" ", b"\t"])
                )
                body = draw(st.sampled_from([body, b"", b"{}", body[:-1]]))
                made.append((request(body, signature, fields=fields), odd))
            case "odd field":
                more = draw(st.lists(st.sampled_from(ODD_FIELDS), min_size=1, max_size=2))
                made.append((request(body, signature, fields=[*fields, *more]), odd))
            case "odd line":
                line = draw(st.sampled_from(ODD_LINES))
                made.append((request(body, signature, fields=fields, line=line), odd))
            case "chunked":
                chunked = b"%x\r\n%b\r\n%x;why\r\n%b\r\n0\r\n\r\n" % (7, body[:7], len(body) - 7, body[7:])
                field = draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked"]))
                made.append((request(b"", signature, fields=[*fields, field], length=False) + chunked, odd))
            case "large":
                made.append((request(body + b" " * BYTES_MAX, signature, fields=fields), odd))
            case "no length":
                made.append((request(b"", signature, fields=fields, length=False), odd))
            case "no host":
                made.append((request(body, signature, fields=fields, host=False), odd))
            case "longer":  # than announced: the rest is no request
                made.append((request(body[:-9], signature, fields=fields), "plain"))
                made.append((b"} no request\r\n\r\n", "wrong"))
            case "wrong":
                made.append((draw(st.sampled_from(GARBAGE)), "wrong"))
    if draw(st.integers(0, 4)) == 0:
        last, kind = made[-1]
        made[-1] = (last[: draw(st.integers(0, len(last)))], kind)
    return made


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_any_stream_is_answered_and_recorded_as_without_the_lane(sides, make_event, loop):
    @settings(max_examples=120)
    @given(
        units=units(sides, make_event),
        cuts=st.lists(st.integers(0, 30_000), max_size=12),
        waits=st.lists(st.booleans(), min_size=1, max_size=8),
        turns=st.integers(0, 8),
    )
    def law(units, cuts, waits, turns):
        check(sides, units, cuts, waits, turns, loop)

    law()


def test_a_stream_may_be_cut_at_every_place(sides, make_event):
    bodies = [make_event(id=f"evt_{uuid.uuid4().hex}") for _ in range(2)]
    stream = [plain(body, sides[0].world.sign(body).encode()) for body in bodies]
    length = sum(len(unit) for unit, _ in stream)
    for cut in range(0, length, 7):
        answers, closed, _ = check(sides, stream, [cut], turns=cut % 4)
        assert (answers.count(b"HTTP/1.1 200 OK\r\n"), closed) == (2, False)


def test_what_came_before_garbage_is_still_answered(sides, make_event):
    side, body = sides[0], make_event(id=f"evt_{uuid.uuid4().hex}")
    unit, _ = plain(body, side.world.sign(body).encode())

    async def at_once():
        async with side.connected() as wire:
            await wire.send(unit + unit + b"garbage\r\n\r\n")
            await wire.settle()
            return wire.answers, wire.closed

    expected = run(one_by_one(sides[1], [(unit, "plain"), (unit, "plain"), (b"garbage\r\n\r\n", "wrong")]))
    assert run(at_once()) == expected[:2]


def test_plain_webhooks_never_reach_the_server(sides, make_event):
    side, bodies = sides[0], [make_event(id=f"evt_{uuid.uuid4().hex}") for _ in range(5)]
    stream = [
        (request(body, side.world.sign(body).encode(), fields=[field]), "plain")
        for body, field in zip(bodies, FIELDS, strict=False)
    ]
    before, requests_before = side.handed_over, side.state.total_requests
    head = stream[0][0].index(b"\r\n\r\n") + 4
    for cuts in ([], [head], [head + 5, head + 50, head + 51]):
        check(sides, stream, cuts)
    assert side.handed_over == before
    assert side.state.total_requests - requests_before == 15


FAILURES = {
    "overloaded": lambda body: LogOverloaded(
        "Too many wait.", retry_after_seconds=7, remedy="Send it again."
    ),
    "unavailable": lambda body: LogUnavailable("The database is gone.", remedy="Look after it."),
    "refused": lambda body: EventRefused("The log does not take it.", remedy="Mend it."),
    "unexpected": lambda body: RuntimeError(f"choked on {body!r}"),
}


def knocks(world, make_event):
    """Return the name of every way that a knock may end, with body, signature and what the log says."""
    body = make_event(id=f"evt_{uuid.uuid4().hex}")
    good, now = world.sign(body), int(world.clock.now())
    signatures = {
        "recorded": good,
        "no header": None,
        "empty": "",
        "garbled": "garbled",
        "upper case": good.upper(),
        "another secret": world.sign(body, secret="whsec_other"),
        "stale": world.sign(body, at=now - 301),
        "from the future": world.sign(body, at=now + 301),
        "ends in a blank": good + " ",
    }
    yield from ((name, body, signature, None) for name, signature in signatures.items())
    for name, other in {
        "nothing": b"",
        "no event": b"{}",
        "not JSON": b"{",
        "not UTF-8": b"\xff",
        "thin": b'{"id":"evt_1","object":"v2.core.event","type":"v2.x"}',
    }.items():
        yield name, other, world.sign(other), None
    yield from ((name, body, good, make(body)) for name, make in FAILURES.items())


def test_every_end_is_told_and_logged_in_the_same_words(make_world, make_event, caplog):
    caplog.set_level(logging.INFO, "tillport")
    seen = set()
    for livemode, grouped in itertools.product((False, True), repeat=2):
        sides = [
            Side(make_world(livemode=livemode), with_lane=lane, grouped=grouped) for lane in (True, False)
        ]
        for name, body, signature, error in knocks(sides[0].world, make_event):
            said = []
            unit = (request(body, None if signature is None else signature.encode()), "plain")
            for side in sides:
                side.log.error = error
                caplog.clear()
                found = run(one_by_one(side, [unit, unit]))
                lines = [(r.name, r.levelname, r.getMessage().partition("\n")[0]) for r in caplog.records]
                ours = "".join(r.getMessage() for r in caplog.records if r.name.startswith("tillport"))
                said.append((found, lines))
                for private in (b"jenny", b"evt_"):
                    assert private not in found[0], name
                    assert private.decode() not in ours, name
            assert said[0] == said[1], name
            assert said[0][0][1] is False, "the connection is kept"
            seen.add(said[0][0][0].split(b"\r\n", 1)[0])
        assert sides[0].handed_over <= 2, "only what ends in a blank, or can't be said on one line"
    assert seen == {
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 400 Bad Request",
        b"HTTP/1.1 500 Internal Server Error",
        b"HTTP/1.1 503 Service Unavailable",
    }


def test_an_overloaded_log_says_when_to_come_back(sides, make_event):
    side, body = sides[0], make_event(id=f"evt_{uuid.uuid4().hex}")
    side.log.error = FAILURES["overloaded"](body)
    try:
        unit = plain(body, side.world.sign(body).encode())
        answers, closed, recorded = run(one_by_one(side, [unit]))
    finally:
        side.log.error = None
    head, _, told = answers.partition(b"\r\n\r\n")
    assert b"\r\nretry-after: 7" in head
    assert b"\r\ncontent-length: %d\r\n" % len(told) in head
    assert (closed, recorded) == (False, [])


def smuggler(world, make_event):
    """A request with two lengths: who believes the wrong one takes its body for a request, or the other way round."""
    inner = make_event(id=f"evt_{uuid.uuid4().hex}")
    hidden = request(inner, world.sign(inner).encode())
    return [(request(b"0\r\n\r\n" + hidden, None, fields=[b"Transfer-Encoding: chunked"]), "wrong")]


def blank_at_the_end(world, make_event):
    body = make_event(id=f"evt_{uuid.uuid4().hex}")
    return [(request(body, world.sign(body).encode() + b" "), "odd")]


def browser_says_close(world, make_event):
    body = make_event(id=f"evt_{uuid.uuid4().hex}")
    return [(request(body, world.sign(body).encode(), fields=[b"Connection: close"]), "odd")]


def two_in_one(world, make_event):
    bodies = [make_event(id=f"evt_{uuid.uuid4().hex}") for _ in range(2)]
    return [plain(body, world.sign(body).encode()) for body in bodies]


def lenient(data, line, *, body_bytes_max):
    """A reader that overlooks what it does not like to know."""
    for said in (b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"):
        without = data.replace(said, b"")
        if without != data and (head := read_plain_head(without, line, body_bytes_max=body_bytes_max)):
            return PlainHead(head.body_at + len(said), head.body_bytes, head.signature)
    return read_plain_head(data, line, body_bytes_max=body_bytes_max)


def literal(data, line, *, body_bytes_max):
    """A reader that takes a blank behind the signature for a part of it."""
    trimmed = data.replace(b" \r\n", b"\r\n")
    if trimmed != data and (head := read_plain_head(trimmed, line, body_bytes_max=body_bytes_max)):
        return PlainHead(head.body_at + 1, head.body_bytes, head.signature + " ")
    return read_plain_head(data, line, body_bytes_max=body_bytes_max)


def greedy(data, line, *, body_bytes_max):
    """A reader that takes whatever came for the body."""
    head = read_plain_head(data, line, body_bytes_max=body_bytes_max)
    return head and PlainHead(head.body_at, len(data) - head.body_at, head.signature)


@pytest.mark.parametrize(
    ("stream", "reader"),
    [(smuggler, lenient), (blank_at_the_end, literal), (browser_says_close, lenient), (two_in_one, greedy)],
    ids=lambda made: made.__name__,
)
def test_the_law_catches_a_reader_that_is_not_strict(sides, make_event, monkeypatch, stream, reader):
    check(sides, stream(sides[0].world, make_event))
    line = request_line(PATH.decode())
    monkeypatch.setattr(sides[0].lane, "read_head", partial(reader, line=line, body_bytes_max=BYTES_MAX))
    with pytest.raises(AssertionError):
        check(sides, stream(sides[0].world, make_event))
