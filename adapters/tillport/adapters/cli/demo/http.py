"""The demo's own HTTP: plain requests, and a listener that keeps every byte of a stream of events.

The standard library's client on purpose: what the demo proves should not rest on the code that it is about.
"""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

TIMEOUT_SECONDS = 30.0


@attrs.frozen
class Answer:
    """An HTTP answer, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)
    milliseconds: float

    def json(self) -> Any:
        """Return the body as JSON; an object that says what came instead, if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {"not_json": self.body[:200].decode("utf-8", "replace")}

    def __str__(self) -> str:
        return f"{self.status} in {self.milliseconds:.0f} ms"


def call(
    method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | str | None = None
) -> Answer:
    """Send one request on a connection of its own. Raises `OSError` if there is no answer."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
    began = time.perf_counter()
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        content = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer from {parts.netloc}: {type(error).__name__}") from error
    finally:
        connection.close()
    elapsed = (time.perf_counter() - began) * 1000
    return Answer(
        response.status, {name.lower(): value for name, value in response.getheaders()}, content, elapsed
    )


def call_json(
    method: str, url: str, payload: object = None, *, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send JSON."""
    body = None if payload is None else json.dumps(payload)
    return call(method, url, headers={"Content-Type": "application/json", **(headers or {})}, body=body)


@attrs.frozen
class Heard:
    """One server-sent event as it arrived: its id, its name, its data, and when (time.perf_counter)."""

    id: str
    name: str
    data: Any
    at: float


@attrs.define(eq=False)
class Subscriber:
    """Listen to a stream of server-sent events in a thread, from the moment that it is made."""

    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    status: int = attrs.field(init=False, default=0)
    heard: list[Heard] = attrs.field(init=False, factory=list)
    _news: threading.Condition = attrs.field(init=False, factory=threading.Condition)
    _connection: http.client.HTTPConnection = attrs.field(init=False)
    _thread: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        self._connection.request(
            "GET", f"{parts.path}?{parts.query}", headers={"Accept": "text/event-stream", **self.headers}
        )
        response = self._connection.getresponse()
        self.status = response.status
        self._thread = threading.Thread(target=self._listen, args=(response,), daemon=True)
        self._thread.start()

    def wait_for(self, wanted: Callable[[Heard], bool], *, seconds: float) -> Heard | None:
        """Return the first event that is wanted, or None if none came in that time."""

        def found() -> Heard | None:
            return next((heard for heard in self.heard if wanted(heard)), None)

        with self._news:
            self._news.wait_for(lambda: found() is not None, timeout=seconds)
            return found()

    def close(self) -> None:
        """Stop listening."""
        if self._connection.sock is not None:
            with contextlib.suppress(OSError):  # the server may have closed it already
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(2)
        self._connection.close()

    def _listen(self, response: http.client.HTTPResponse) -> None:
        fields: dict[str, str] = {}
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):  # the end of the stream
            while line := response.readline():
                text = line.decode().rstrip("\r\n")
                if text:
                    name, _, value = text.partition(":")
                    fields[name] = value.removeprefix(" ")
                    continue
                if "data" in fields:
                    event = Heard(
                        fields.get("id", ""),
                        fields.get("event", "message"),
                        json.loads(fields["data"]),
                        time.perf_counter(),
                    )
                    with self._news:
                        self.heard.append(event)
                        self._news.notify_all()
                fields = {}
