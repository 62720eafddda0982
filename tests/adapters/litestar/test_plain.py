"""What is plain, and above all what is not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillport.adapters.litestar.plain import HEAD_BYTES_MAX, PlainHead, read_plain_head, request_line

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
