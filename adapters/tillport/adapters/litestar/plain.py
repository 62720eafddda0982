"""Read the head of a plain request, or say that it is none.

A request is *plain* when its head can be understood in one way only, and asks for nothing but an answer. What is
not plain is not wrong: it is left to a server that knows all of HTTP. So this reader never guesses and never
mends; whoever doubts what a line means returns None. That is what keeps it from taking one client's bytes for
another's request: it shares no leniency with any proxy in front.

Plain is (RFC 9112 §2 to §6, RFC 9110 §5):

1. exactly the expected request line, and a whole head of bounded length that is here at once;
2. lines that end in CRLF and hold a token, a colon at once after it, and visible ASCII, blanks or tabs;
3. one Host, one Content-Length of digits alone and within bounds, at most one Stripe-Signature that does not end in
   a blank, and no Connection other than `keep-alive`;
4. none of the fields that change how the body is framed, what the connection is for, or the answer's headers.

Whoever sends webhooks writes one head like the other: only the length and the signature change. So a reader remembers
the last head, and what is the same but for those two need not be looked through again.
"""

import re
from typing import Final, NamedTuple

import msgspec

HEAD_BYTES_MAX = 16_384
"""Stripe's heads are below 1 KB, with a proxy's additions a few."""

# The two alternate between sets without a character in common, so a line can be matched in one way only, in one pass.
_lines = re.compile(rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~]*)+").fullmatch
_telling = re.compile(
    rb"\r\n(?i:(host|content-length|stripe-signature|connection|proxy-connection|keep-alive|transfer-encoding|te|trailer"
    rb"|expect|upgrade|http2-settings|origin|access-control-request-method)):[\t ]*([^\r]*)"
).findall
_what_changes = re.compile(rb"\r\n(?i:(content-length|stripe-signature)):[\t ]*([^\r]*)").finditer
_BLANKS = (b" ", b"\t")
_VISIBLE: Final = bytes(range(ord("!"), ord("~") + 1))
_LENGTH_DIGITS_MAX = 15
_REMEMBER_EVERY: Final = 16
"""Where no head is like the last one (a proxy numbers them, say), remembering would be for nothing: not each is."""


class PlainHead(msgspec.Struct, frozen=True, gc=False):  # half as long in the making as a named tuple
    """A request of which all is known but its body."""

    body_at: int
    """Where in the data the body begins."""
    body_bytes: int
    """How long it is."""
    signature: str | None


class _Known(NamedTuple):
    """A head that was read: what stands before, between and after the two values that change."""

    before: bytes
    between: bytes
    after: bytes
    length_first: bool


class PlainReader:
    r"""Read heads as `read_plain_head` does, and those that are like the last one in a quarter of the time.

    >>> reader = PlainReader(request_line("/hook"), body_bytes_max=9)
    >>> head = b"POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nStripe-Signature: %s\r\n\r\n"
    >>> [reader.read(head % values) for values in ((2, b"t=1"), (3, b"t=2"))]
    [PlainHead(body_at=74, body_bytes=2, signature='t=1'), PlainHead(body_at=74, body_bytes=3, signature='t=2')]
    """

    __slots__ = ("_body_bytes_max", "_known", "_line", "_unlike")

    def __init__(self, line: bytes, *, body_bytes_max: int) -> None:
        self._line = line
        self._body_bytes_max = body_bytes_max
        self._known: _Known | None = None
        self._unlike = 0
        """How many heads were not like the one that is known."""

    def read(self, data: bytes) -> PlainHead | None:
        """Return the head at the beginning of the data, None unless it is whole and plain."""
        if self._known is not None:
            head = self._read_like(self._known, data)
            if head is not None:
                return head
        head = read_plain_head(data, self._line, body_bytes_max=self._body_bytes_max)
        if head is not None and head.signature is not None:
            if self._unlike % _REMEMBER_EVERY == 0:
                self._known = _known(data[: head.body_at])
            self._unlike += 1
        return head

    def _read_like(self, known: _Known, data: bytes) -> PlainHead | None:
        """Return the head if it is the known one with another length or signature. None says nothing at all."""
        before, between, after, length_first = known
        if not data.startswith(before):
            return None
        first_ends = data.find(b"\r", len(before), HEAD_BYTES_MAX)
        if first_ends < 0 or not data.startswith(between, first_ends):
            return None
        second_at = first_ends + len(between)
        second_ends = data.find(b"\r", second_at, HEAD_BYTES_MAX)
        body_at = second_ends + len(after)
        if second_ends < 0 or not data.startswith(after, second_ends) or body_at > HEAD_BYTES_MAX:
            return None
        length, signed = data[len(before) : first_ends], data[second_at:second_ends]
        if not length_first:
            length, signed = signed, length
        if not length.isdigit() or len(length) > _LENGTH_DIGITS_MAX or signed.translate(None, _VISIBLE):
            return None
        body_bytes = int(length)
        if body_bytes > self._body_bytes_max:
            return None
        return PlainHead(body_at, body_bytes, signed.decode("ascii"))


def request_line(path: str) -> bytes:
    """Return the one line, its CRLF included, that a plain request to this path begins with."""
    return b"POST %s HTTP/1.1\r\n" % path.encode("ascii")


def read_plain_head(data: bytes, line: bytes, *, body_bytes_max: int) -> PlainHead | None:
    r"""Return the head at the beginning of the data, None unless it is whole and plain.

    >>> line = request_line("/hook")
    >>> read_plain_head(line + b"Host: a\r\nContent-Length: 2\r\n\r\n{}", line, body_bytes_max=9)
    PlainHead(body_at=51, body_bytes=2, signature=None)
    >>> read_plain_head(line + b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n", line, body_bytes_max=9)
    """
    if not data.startswith(line):
        return None
    end = data.find(b"\r\n\r\n", len(line) - 2, HEAD_BYTES_MAX)
    if end < 0:
        return None
    fields = data[len(line) - 2 : end]  # each with the CRLF before it
    if _lines(fields) is None:
        return None
    host = length = signature = None
    for name, value in _telling(fields):  # plain comparisons: three or four are all there is
        name = name.lower()  # noqa: PLW2901 - the name is what it says in lower case
        if name == b"content-length" and length is None:
            length = value
        elif name == b"stripe-signature" and signature is None and value[-1:] not in _BLANKS:
            signature = value
        elif name == b"host" and host is None:
            host = value
        elif name != b"connection" or value.lower() != b"keep-alive":
            return None
    if host is None or length is None or not length.isdigit() or len(length) > _LENGTH_DIGITS_MAX:
        return None
    body_bytes = int(length)
    if body_bytes > body_bytes_max:
        return None
    return PlainHead(end + 4, body_bytes, None if signature is None else signature.decode("ascii"))


def _known(head: bytes) -> _Known:
    """Cut a plain head with a signature at the two values that change."""
    first, second = _what_changes(head)
    return _Known(
        head[: first.start(2)],
        head[first.end(2) : second.start(2)],
        head[second.end(2) :],
        length_first=first[1].lower() == b"content-length",
    )
