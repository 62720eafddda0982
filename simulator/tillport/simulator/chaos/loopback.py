"""The way to the application: HTTP to this machine and nowhere else.

A storm is an attack. It is thrown at addresses of this machine alone, so that nobody can point it at somebody else, by
mistake or on purpose; there is no option to change that. Redirects are not followed, for the same reason.
"""

import http.client
import ipaddress
import ssl
import time
from typing import Literal
from urllib.parse import urlsplit

import msgspec

_MAX_ANSWER = 65_536


class NotLoopback(ValueError):
    """The URL does not lead to this machine."""


class Target(msgspec.Struct, frozen=True):
    """Where the storm goes: an address of this machine, taken apart once."""

    url: str
    host: str
    port: int
    path: str
    tls: bool


class Answer(msgspec.Struct, frozen=True):
    """What came back: a status, or why there was none; and how long it took."""

    status: int | None
    seconds: float
    why: Literal["", "dropped", "timeout", "unreachable", "raised"] = ""
    detail: str = ""


def target_of(url: str) -> Target:
    """Take a webhook URL apart; raise `NotLoopback` unless its host is 127.0.0.0/8, ::1 or localhost.

    >>> target_of("http://localhost:8000/hook").path
    '/hook'
    >>> target_of("https://example.com/hook")
    Traceback (most recent call last):
    ...
    tillport.simulator.chaos.loopback.NotLoopback: chaos is thrown at this machine alone, and 'example.com' is not ...
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise NotLoopback(
            f"this is no URL: {error}; give one such as http://127.0.0.1:8000/webhook"
        ) from None
    if parts.scheme not in ("http", "https") or not host:
        raise NotLoopback(
            "give the webhook's whole URL, with http:// or https://, such as http://127.0.0.1:8000/webhook"
        )
    if any(ch <= " " for ch in url):
        raise NotLoopback("a URL holds no spaces or line ends")
    address = "127.0.0.1" if host == "localhost" or host.endswith(".localhost") else host
    try:
        here = ipaddress.ip_address(address).is_loopback
    except ValueError:
        here = False
    if not here:
        raise NotLoopback(
            f"chaos is thrown at this machine alone, and {host!r} is not known to be this machine: run the application here "
            "and give 127.0.0.1, ::1 or localhost as its host"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    tls = parts.scheme == "https"
    return Target(url, address, port or (443 if tls else 80), path, tls)


class Connection:
    """One keep-alive connection, opened again when the application has closed it between two requests."""

    def __init__(self, target: Target, timeout_seconds: float) -> None:
        self._target = target
        self._timeout = timeout_seconds
        self._http: http.client.HTTPConnection | None = None

    def post(self, body: bytes, headers: dict[str, str]) -> Answer:
        """POST once and tell what came of it; never raises for anything an application does."""
        started = time.monotonic()
        fresh = self._http is None
        answer = self._try(body, headers, started)
        if answer.why == "dropped" and not fresh and not answer.detail:
            # Closed while it was idle, before a byte of an answer: the application may do that.
            answer = self._try(body, headers, started)
        return answer

    def _try(self, body: bytes, headers: dict[str, str], started: float) -> Answer:
        partly = ""
        try:
            if self._http is None:
                self._http = self._open()
            self._http.request("POST", self._target.path, body, headers)
            reply = self._http.getresponse()
            partly = f"after the status {reply.status}"
            # Bounded in bytes and time, however slowly it drips.
            size = 0
            while chunk := reply.read1(_MAX_ANSWER):
                size += len(chunk)
                if size > 16 * _MAX_ANSWER or time.monotonic() - started > self._timeout:
                    self.close()
                    break
            reply.close()
            if reply.will_close:
                self.close()
            return Answer(reply.status, time.monotonic() - started)
        except TimeoutError:
            self.close()
            return Answer(None, time.monotonic() - started, "timeout", partly)
        except ConnectionRefusedError:
            self.close()
            return Answer(None, time.monotonic() - started, "unreachable", "connection refused")
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if isinstance(error, http.client.RemoteDisconnected | ConnectionError) and not partly:
                return Answer(None, time.monotonic() - started, "dropped")
            return Answer(None, time.monotonic() - started, "dropped", partly or type(error).__name__)

    def _open(self) -> http.client.HTTPConnection:
        target = self._target
        if not target.tls:
            return http.client.HTTPConnection(target.host, target.port, timeout=self._timeout)
        context = ssl._create_unverified_context()  # noqa: S323, SLF001 - this machine's own certificate, often self-signed
        return http.client.HTTPSConnection(target.host, target.port, timeout=self._timeout, context=context)

    def close(self) -> None:
        """Close the connection; safe from another thread, and twice."""
        opened, self._http = self._http, None
        if opened is not None:
            opened.close()
