"""How requests leave for Stripe: an HTTP client for the official SDK that knows whether a request has left.

That knowledge decides whether money may have moved, and the SDK's own clients do not keep it: they raise one error for
a refused connection and for a lost answer, and let a connection that breaks inside the answer's body escape as another
library's exception. Here:

- `NotSent`: no connection was had, so not a byte of the request left;
- `Lost`: a connection was had, and anything may have happened.

Redirects are not followed (Stripe sends none, and a charge belongs to nobody else), answers are bounded in size and
time, and the SDK's telemetry headers stay here. A proxy that the environment names is taken, as the SDK's own clients do: a
tunnel to it that is refused is no connection. On Linux the kernel gives up as soon as we do (`TCP_USER_TIMEOUT`,
RFC 5482): else a cut network that heals could deliver a charge long after it was given up as lost.
"""

import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
import attrs
import stripe

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""A page of 100 events is well under 1 MB; more than this is no answer of Stripe's."""

_TELEMETRY = frozenset({"x-stripe-client-telemetry", "x-stripe-client-user-agent"})


class Lost(stripe.APIConnectionError):
    """A connection was had and broke before an answer was read whole: anything may have happened."""

    def __init__(self, message: str) -> None:
        super().__init__(message)  # type: ignore[no-untyped-call] # the SDK left it without annotations


class NotSent(stripe.APIConnectionError):
    """No connection to Stripe was had. Not a byte of the request left."""

    def __init__(self, message: str) -> None:
        super().__init__(message)  # type: ignore[no-untyped-call] # the SDK left it without annotations


@attrs.define
class Flight:
    """What is known of one request while it is out."""

    handed_over: bool = False
    """The HTTP client has the request. If this is False, the SDK itself failed before anything left."""
    status: int | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)


flight: ContextVar[Flight | None] = ContextVar("tillport_stripe_flight", default=None)
"""The request that the current task has out. Set by `tillport.adapters.stripe.connection` around each SDK call."""


class Door(stripe.HTTPClient):
    """Pass requests on to another SDK HTTP client, noting what leaves and what comes back."""

    name = "tillport"

    def __init__(self, inner: stripe.HTTPClient) -> None:
        super().__init__()
        self._inner = inner

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one request, once."""
        current = flight.get() or Flight()
        kept = {name: value for name, value in headers.items() if name.lower() not in _TELEMETRY}
        current.handed_over = True
        body, status, answer_headers = await self._inner.request_async(method, url, kept, post_data)
        current.status, current.headers = status, answer_headers
        return body, status, answer_headers

    def request(self, *args: object, **kwargs: object) -> NoReturn:
        """Refuse: this client is asynchronous."""
        raise NotImplementedError("This client is asynchronous: use the SDK's *_async methods.")

    def close(self) -> None:
        """Do nothing: there is nothing synchronous to close."""

    async def close_async(self) -> None:
        """Close the inner client."""
        await self._inner.close_async()  # type: ignore[no-untyped-call] # the SDK left it without annotations


class AiohttpTransport(stripe.HTTPClient):
    """Send requests over one pool of connections. Belongs to the event loop of its first request."""

    name = "aiohttp"

    def __init__(self, *, connect_seconds: float, timeout_seconds: float) -> None:
        super().__init__()
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=connect_seconds)
        self._kernel_milliseconds = int(timeout_seconds * 1000)
        self._session: aiohttp.ClientSession | None = None

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one request and read its answer whole. Raises `NotSent` or `Lost`."""
        track = SimpleNamespace(connected=False)
        problem = ""
        try:
            async with self._open().request(
                method,
                url,
                headers=headers,
                data=post_data,
                allow_redirects=False,
                proxy=_proxy_of(url),
                trace_request_ctx=track,
            ) as response:
                return await _read(response), response.status, response.headers
        except Exception as error:  # noqa: BLE001 - whatever broke, what matters is when; the caller is told
            problem = type(error).__name__
        # Raised here and not above: the original error may quote the request, and must not be chained to ours.
        if track.connected:
            raise Lost(f"the connection to Stripe broke: {problem}")
        raise NotSent(f"Stripe could not be reached: {problem}")

    def request(self, *args: object, **kwargs: object) -> NoReturn:
        """Refuse: this client is asynchronous."""
        raise NotImplementedError("This client is asynchronous: use the SDK's *_async methods.")

    def close(self) -> None:
        """Do nothing: there is nothing synchronous to close."""

    async def close_async(self) -> None:
        """Close every connection. The next request would open a new pool."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_create_end.append(_connected)
            tracing.on_connection_reuseconn.append(_connected)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=ssl.create_default_context(cafile=stripe.ca_bundle_path),
                    socket_factory=self._socket,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                trace_configs=[tracing],
            )
        return self._session

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(*address[:3])
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._kernel_milliseconds)
        return made


def _proxy_of(url: str) -> str | None:
    """Return the proxy that `HTTPS_PROXY` names, unless `NO_PROXY` excepts the host. A simulator over HTTP has none.

    Not by aiohttp's `trust_env`, which also looks for passwords in `.netrc` and refuses our own header beside one.
    """
    parts = urlsplit(url)
    named = getproxies_environment().get("https")
    if not named or parts.scheme != "https" or proxy_bypass(parts.hostname or ""):
        return None
    return named if "://" in named else f"http://{named}"


async def _connected(_session: object, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.connected = True


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise ValueError("the answer is too large")
        chunks.append(chunk)
    return b"".join(chunks)
