"""One HTTP request to an ASGI application in the same thread, as a server would make it."""

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


async def ask(app: Any, method: str, path: str, *, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    """Send a request and return the answer."""
    sent: list[Any] = []
    chunks = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return chunks.pop(0) if chunks else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    start = sent[0]
    return Answer(
        start["status"],
        {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in sent[1:]),
    )
