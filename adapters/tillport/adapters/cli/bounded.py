"""uvicorn's protocol with an end to what one connection makes it keep, and without a way to hide a request in another.

uvicorn takes a head, or the trailers of a chunked body, however long they get, and keeps some ten times their size until
the last line is here. It also makes an object of every request that is pipelined, and with each answer it reads
on. So one client without any key could take all the memory there is: 75 MB of header lines cost 800 MB, twenty
connections full of `GET /` three gigabytes.

A request that offers another protocol ends with its head for uvicorn's parser, whether or not the offer is taken up. What was
announced as its body is dropped, or read as the next request if it comes a moment later. A proxy in front that knows better and
shares its connections between clients would let one of them write a request in another's name (RFC 9112 §11.2). Nothing here
speaks another protocol, and an offer without a body does no harm.

Here a client that does such a thing is answered 400, as other nonsense is, and cut off. And one that stops in the middle of
a body, or of reading its answer, does not hold up a shutdown.
"""

from typing import NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

UNFINISHED_BYTES_MAX = 65_536
"""How long a head or trailers may get without coming to their end. One read (256 KB) is looked at in any case."""
BODY_SECONDS = 2.0
"""How long a shutdown waits for the rest of a body that was begun, and for a client that takes nothing of its answer. Who is
sending it is done by then; who has stopped in the middle would hold up the end until the server's patience is over, and needs
no key for that."""
PIPELINED_MAX = 100
"""How many requests may wait for their turn on one connection. Browsers and proxies send none before an answer."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection of uvicorn's that keeps no more than it should, and takes no body for a request."""

    _unfinished = 0
    """How many bytes came since something was whole: a head, a piece of a body, a request."""
    _why = ""
    """What a client that is refused is told."""

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
            self._refuse("Wait for answers before you send more requests.")
        if self.parser.should_upgrade() and self._has_body():
            self._refuse("Send a body without an Upgrade header: HTTP/1.1 is all that is spoken here.")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take a request's end."""
        self._unfinished = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer and close; uvicorn calls this with words of its own for whatever made the parser stop."""
        super().send_400_response(self._why or msg)

    def shutdown(self) -> None:
        """End the connection, after the answer to the request that has begun if its body comes to an end, and it is read."""
        super().shutdown()
        self._look_again()

    def _look_again(self) -> None:
        self.loop.call_later(BODY_SECONDS, self._give_up, self.transport.get_write_buffer_size())

    def _give_up(self, unsent: int) -> None:
        if self not in self.connections:
            return
        if self._waits_for_body() and not self.transport.is_closing():
            self.transport.close()
        if 0 < unsent <= self.transport.get_write_buffer_size():  # to close would wait until it is read
            self.transport.abort()
        else:
            self._look_again()

    def _waits_for_body(self) -> bool:
        # uvicorn's own annotation leaves out that there may be none.
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and cycle.more_body and not cycle.response_complete

    def _has_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0") != b"")
            for name, value in self.headers
        )

    def _refuse(self, why: str) -> NoReturn:
        self._why = why
        raise _Refused


class _Refused(Exception):
    """Stop parsing."""
