"""What is plain, and above all what is not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillport.adapters.litestar import plain
from tillport.adapters.litestar.plain import (
    HEAD_BYTES_MAX,
    PlainHead,
    PlainReader,
    read_plain_head,
    request_line,
)

LINE = request_line("/hook")
HEAD = b"Host: a\r\nStripe-Signature: t=1,v1=ab\r\nContent-Length: 5\r\n"


def read(data, body_bytes_max=100):
    return read_plain_head(data, LINE, body_bytes_max=body_bytes_max)


@pytest.mark.parametrize(
    "more",
    [
        b"",
        b"X: 1\r\n",
        b"X:\r\n",
        b"X: \t\r\n",
        b"connection:keep-alive\r\n",
        b"Connection: Keep-Alive\r\n",
        b"X-Transfer-Encoding: chunked\r\nContent-Lengths: 7\r\nX: Content-Length: 9\r\n",
        b"!#$%&'*+-.^_`|~09azAZ: ~!\r\n",
    ],
)
def test_a_plain_head_is_read(more):
    data = LINE + HEAD + more + b"\r\n12345more"
    assert read(data) == PlainHead(len(data) - 9, 5, "t=1,v1=ab")


def test_a_head_is_read_whatever_of_its_body_is_here():
    whole = LINE + HEAD + b"\r\n"
    for body in (b"", b"12", b"12345", b"12345" + whole):
        assert read(whole + body) == PlainHead(len(whole), 5, "t=1,v1=ab")


@given(cut=st.integers(0, len(LINE + HEAD) + 1))
def test_a_head_that_is_not_whole_is_not_plain(cut):
    assert read((LINE + HEAD + b"\r\n")[:cut]) is None


@pytest.mark.parametrize(
    "field",
    [
        b"Transfer-Encoding: chunked",
        b"transfer-encoding:identity",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
        b"HTTP2-Settings: a",
        b"Connection: close",
        b"Connection: keep-alive, close",
        b"Connection:",
        b"Proxy-Connection: keep-alive",
        b"Keep-Alive: 5",
        b"TE: trailers",
        b"Trailer: X",
        b"Origin: https://a.example",
        b"Host: a",
        b"HOST: b",
        b"Content-Length: 5",
        b"content-length: 5",
        b"Stripe-Signature: t=1,v1=ab",
        b"stripe-signature:",
        b"X : 1",
        b" X: 1",
        b"\tX: 1",
        b": 1",
        b"X",
        b"X: \x00",
        b"X: \x7f",
        b"X: \xe9",
        b"X: a\rb",
        b"X: a\nY: b",
        b"X(: 1",
        b"X: 1\n",
        b"X: " + b"a" * HEAD_BYTES_MAX,
        b"a" * HEAD_BYTES_MAX + b": 1",
    ],
    ids=lambda field: repr(field[:40]),
)
def test_what_may_be_understood_otherwise_is_not_plain(field):
    for head in (HEAD + field + b"\r\n", field + b"\r\n" + HEAD):
        assert read(LINE + head + b"\r\n12345") is None


@pytest.mark.parametrize(
    "length", [b"", b"+5", b"-5", b"5 ", b"0x5", b"5,5", b"5.0", b"1_0", b"\xd9\xa5", b"101", b"9" * 30]
)
def test_a_length_that_is_not_digits_within_bounds_is_not_plain(length):
    assert read(LINE + HEAD.replace(b"Length: 5", b"Length: " + length) + b"\r\n12345") is None


@pytest.mark.parametrize("without", [b"Host: a\r\n", b"Content-Length: 5\r\n"])
def test_a_head_without_host_or_length_is_not_plain(without):
    assert read(LINE + HEAD.replace(without, b"") + b"\r\n12345") is None


@pytest.mark.parametrize("blank", [b" ", b"\t"])
def test_a_signature_that_ends_in_a_blank_is_not_plain(blank):
    assert read(LINE + HEAD.replace(b"=ab", b"=ab" + blank) + b"\r\n12345") is None


@pytest.mark.parametrize(
    "line",
    [
        b"POST /hook HTTP/1.0\r\n",
        b"POST /hook HTTP/2.0\r\n",
        b"POST /hook? HTTP/1.1\r\n",
        b"POST  /hook HTTP/1.1\r\n",
        b"POST /hook HTTP/1.1\n",
        b"POST /hook HTTP/1.1 \r\n",
        b"post /hook HTTP/1.1\r\n",
        b"GET /hook HTTP/1.1\r\n",
        b"\r\nPOST /hook HTTP/1.1\r\n",
    ],
)
def test_another_request_line_is_not_plain(line):
    assert read(line + HEAD + b"\r\n12345") is None


@given(st.binary(max_size=200), st.integers(0, len(HEAD)))
def test_no_bytes_make_an_error_and_what_is_plain_has_one_length(inserted, at):
    head = HEAD[:at] + inserted + HEAD[at:]
    found = read(LINE + head + b"\r\n12345")
    if found is not None:
        assert found.body_at <= len(LINE + head) + 2
        lines = (LINE + head + b"\r\n")[len(LINE) : found.body_at - 4].split(b"\r\n")
        assert sum(line.lower().startswith(b"content-length:") for line in lines) == 1
        assert not any(line.lower().startswith(b"transfer-encoding") for line in lines)


def test_no_head_takes_long():
    """In turn: what makes a careless expression try every way to read a line."""
    for evil in (b"a" * 16_000, b"a:" * 8_000, b"a: \t" * 4_000, b"a:\r\n" * 4_000, b"te:\r\n" * 2_600):
        began = time.process_time()
        plain = read(LINE + HEAD + evil + b"\x00\r\n\r\n") is not None
        assert not plain
        assert time.process_time() - began < 1


LIKE = [
    LINE + b"Host: a\r\nStripe-Signature: %s\r\nContent-Length: %s\r\nX: 1\r\n\r\n%s",
    LINE + b"content-length:%s\r\nHost: a\r\nX-Other: b\r\nstripe-signature: \t %s\r\n\r\n%s",
]
"""Heads with their two values, one way round and the other."""
VALUES = [
    b"t=1,v1=ab",
    b"7",
    b"",
    b" 7",
    b"7 ",
    b"\t7",
    b"007",
    b"+7",
    b"101",
    b"9" * 20,
    b"a b",
    b"a\tb",
    b"\x00",
    b"\x7f",
]
VALUES += [b"\xe9", b"a\rb", b"a\nb", b"7\r\nX: 2", b"7\r\nHost: b", b"7\r\n\r\n", b"a" * HEAD_BYTES_MAX]


def read_after(first, data, reader=None):
    """Read a head by a reader that knows another one."""
    reader = reader or PlainReader(LINE, body_bytes_max=100)
    assert reader.read(first) == read(first) is not None
    return reader.read(data)


@pytest.mark.parametrize("like", LIKE)
def test_a_head_like_the_last_one_is_read_as_any_other(like):
    known = like % (b"7", b"7", b"1234567")
    for one in VALUES:
        for other in VALUES:
            data = like % (one, other, b"12345")
            assert read_after(known, data) == read(data), data[:200]


@given(
    like=st.sampled_from(LIKE),
    at=st.integers(0, 130),
    gone=st.integers(0, 3),
    put=st.binary(max_size=4) | st.sampled_from([b"\r\n", b"\r", b": ", b"0", b"\r\n\r\n", b"Te: a\r\n"]),
)
def test_whatever_is_changed_in_a_head_that_is_known_it_is_read_as_any_other(like, at, gone, put):
    known = like % (b"7", b"7", b"1234567")
    data = known[:at] + put + known[at + gone :]
    assert read_after(known, data) == read(data)


def test_a_head_like_the_last_one_is_not_looked_through_again(monkeypatch):
    like = LIKE[0]
    reader = PlainReader(LINE, body_bytes_max=100)
    assert reader.read(like % (b"t=1", b"3", b"123")) is not None
    monkeypatch.setattr(plain, "read_plain_head", None)
    assert reader.read(like % (b"t=22", b"10", b"")) == PlainHead(
        len(like % (b"t=22", b"10", b"")), 10, "t=22"
    )


def test_a_reader_gets_used_to_another_head():
    """Once in a while: where no two heads are alike, remembering each would be for nothing."""
    reader = PlainReader(LINE, body_bytes_max=100)
    for number in range(1, 40):
        data = LINE + HEAD + b"X-Request-Id: %d\r\n\r\n" % (number % 20)
        assert reader.read(data) == read(data)
    last = LINE + HEAD + b"X-Request-Id: 20\r\n\r\n"
    for _ in range(plain._REMEMBER_EVERY):
        assert reader.read(last) == read(last)
    assert reader._known is not None
    assert b"X-Request-Id: 20" in reader._known.after


def careless(**changes):
    """A reader that forgets to look at something."""

    class Careless(PlainReader):
        def _read_like(self, known, data):
            return super()._read_like(known._replace(**changes), data)

    return Careless(LINE, body_bytes_max=100)


def test_the_law_catches_a_reader_that_does_not_look_at_all_of_a_head(monkeypatch):
    like = LIKE[0]
    known = like % (b"t=1", b"7", b"1234567")
    more = (like % (b"t=2", b"7", b"1234567")).replace(b"X: 1\r\n", b"TE: trailers\r\n")
    assert read_after(known, more) is None
    assert read_after(known, more, careless(after=b"\r\n")) != read(more)
    hidden = like % (b"t=2\x00", b"7", b"1234567")
    assert read_after(known, hidden) is None
    monkeypatch.setattr(plain, "_VISIBLE", bytes(range(256)))
    assert read_after(known, hidden) != read(hidden)
