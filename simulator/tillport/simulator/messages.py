"""What goes over the wire, as values: one request in, one response out."""

from collections.abc import Mapping

import msgspec


class Request(msgspec.Struct, frozen=True):
    """One HTTP request: `path` as sent, query included; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path.partition('?')[0]})"


class Response(msgspec.Struct):
    """One HTTP response, and what happens to the connection.

    `connection`: "ok"; "reset" (no answer: drop the connection); "timeout" (no answer: leave the client waiting);
    "truncated" (half the body, then drop); "drip" (in tiny pieces over `delay_seconds`). `deliver_first`: deliver the
    due webhooks before answering.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    connection: str = "ok"
    delay_seconds: float = 0.0
    deliver_first: bool = False
