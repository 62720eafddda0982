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
"""

import re
from typing import NamedTuple

HEAD_BYTES_MAX = 16_384
"""Stripe's heads are below 1 KB, with a proxy's additions a few."""

# The two alternate between sets without a character in common, so a line can be matched in one way only, in one pass.
_lines = re.compile(rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~]*)+").fullmatch
_telling = re.compile(
    rb"\r\n(?i:(host|content-length|stripe-signature|connection|proxy-connection|keep-alive|transfer-encoding|te|trailer"
    rb"|expect|upgrade|http2-settings|origin|access-control-request-method)):[\t ]*([^\r]*)"
).findall
_BLANKS = (b" ", b"\t")
_LENGTH_DIGITS_MAX = 15


class PlainHead(NamedTuple):
    """A request of which all is known but its body."""

    body_at: int
    """Where in the data the body begins."""
    body_bytes: int
    """How long it is."""
    signature: str | None


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
