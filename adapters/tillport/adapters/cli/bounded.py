"""uvicorn's protocol with an end to what one connection makes it keep.

uvicorn takes a head, or the trailers of a chunked body, however long they get, and keeps some ten times their size until
the last line is here. It also makes an object of every request that is pipelined, and with each answer it reads
on. So one client without any key could take all the memory there is: 75 MB of header lines cost 800 MB, twenty
connections full of `GET /` three gigabytes.

Here a client that goes past what anybody has reason to send is answered 400, as other nonsense is, and cut off.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

UNFINISHED_BYTES_MAX = 65_536
"""How long a head or trailers may get without coming to their end. One read (256 KB) is looked at in any case."""
PIPELINED_MAX = 100
"""How many requests may wait for their turn on one connection. Browsers and proxies send none before an answer."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection of uvicorn's, whose memory is bounded whatever is sent."""

    _unfinished = 0
    """How many bytes came since something was whole: a head, a piece of a body, a request."""

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse what comes to no end."""
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > UNFINISHED_BYTES_MAX and not self.transport.is_closing():
            self.send_400_response(f"Send less than {UNFINISHED_BYTES_MAX} bytes of headers.")

    def on_headers_complete(self) -> None:
        """Begin a request, or raise, which ends the connection."""
        self._unfinished = 0
        if len(self.pipeline) >= PIPELINED_MAX:
            raise _TooManyWait
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take a request's end."""
        self._unfinished = 0
        super().on_message_complete()


class _TooManyWait(Exception):
    """More requests than may wait; uvicorn tells the client no more than that it can't go on."""
