"""One connection to NATS at a time, made when it is needed and thrown away when it is in doubt.

nats-py can reconnect by itself, and here it may not: it keeps what it could not send and sends it after the
reconnection, long after the caller was told that it failed, and connecting to a server that isn't there takes it
minutes. A connection that is used once and then replaced has no memory to be surprised by: whatever was in flight on
it has failed, and the next call makes a new one within `connect_seconds` or fails.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import attrs
import nats.errors
from nats.aio.client import Client

from tillport.ports.channel import ChannelUnavailable

T = TypeVar("T")

_PING_SECONDS = 10  # nats-py's 120 would leave an idle consumer on a dead connection for six minutes

_SCHEMES = ("nats", "tls", "ws", "wss", "")  # nats-py takes a bare host too


class AccessRefused(ChannelUnavailable):
    """NATS is there and does not let us in. Nothing was sent."""

    code = "access_refused"


def _several(servers: str | Sequence[str]) -> tuple[str, ...]:
    return (servers,) if isinstance(servers, str) else tuple(servers)


@attrs.frozen(kw_only=True)
class Access:
    """Where NATS is, and who we are there.

    `servers` may hold a user and a password, or a token, in the URL (`nats://user:password@host:4222`), which is why
    it is never shown. What has a meaning in a URL is written as in any (`/` as `%2F`, `@` as `%40`, `,` as `%2C`, `%` as `%25`).
    A connection has one user: it may stand in any of several URLs, and a different one in another is refused.
    `credentials` is the path of a `.creds` file. Raises `ValueError`, without what was in the URL.
    """

    servers: Sequence[str] = attrs.field(repr=False, converter=_several)
    token: str | None = attrs.field(default=None, repr=False)
    credentials: Path | None = None
    tls: Any = attrs.field(default=None, repr=False)
    """An `ssl.SSLContext`."""
    name: str = "tillport"
    """How the connection is labelled in the server's monitoring."""
    connect_seconds: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))

    def __attrs_post_init__(self) -> None:
        if not self.servers:
            raise ValueError("Name at least one NATS server, such as nats://127.0.0.1:4222.")
        _take_apart(self.servers)


@attrs.frozen
class _Login:
    user: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)


def _take_apart(servers: Sequence[str]) -> tuple[list[str], _Login]:
    """Return the URLs without a user, and the user: nats-py would send it as it is written, %40 and all.

    Raises `ValueError`, which does not quote them.
    """
    found = [_take_one_apart(server, number) for number, server in enumerate(servers, start=1)]
    logins = [login for _, login in found if login is not None]
    if any(login != logins[0] for login in logins):
        raise ValueError(
            "The NATS servers are given with different users or passwords. Give the same for all."
        )
    return [url for url, _ in found], logins[0] if logins else _Login()


def _take_one_apart(server: str, number: int) -> tuple[str, _Login | None]:
    scheme, slashes, rest = server.partition("://") if "://" in server else ("", "", server)
    login, at, place = rest.rpartition("@")
    if scheme not in _SCHEMES or not _is_a_place(place):
        raise ValueError(
            f"NATS server {number} is no URL such as nats://user:password@127.0.0.1:4222. If its user or password "
            "holds any of / @ , : # ? or %, write them as %2F, %40, %2C, %3A, %23, %3F and %25."
        )
    url = f"{scheme}{slashes}{place}"
    if not at:
        return url, None
    user, colon, password = login.partition(":")
    if not colon:
        return url, _Login(token=unquote(user))
    return url, _Login(user=unquote(user), password=unquote(password))


def _is_a_place(text: str) -> bool:
    try:
        parts = urlsplit(f"nats://{text}")
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # which quotes the text
        return False


class _OneShotClient(Client):
    """nats-py's client, ended without a trace. Uses its private names: tests/adapters/nats/test_channel.py breaks connections.

    When a connection breaks while commands wait to be sent, nats-py 2.16 tries to send them while it closes, fails,
    and never gets to its callbacks and to its tasks, which then stay for ever.
    """

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        if not self.is_connected:
            self._pending, self._pending_data_size = [], 0
        await super()._close(status, do_cbs)

    async def abandon(self) -> None:
        """End the connection at once, whatever waits to be sent and whatever state it is in."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        if not self.is_closed:  # else it is closing by itself, and two of them would cancel each other
            self._process_disconnect()
            await self.close()


@attrs.define(eq=False)
class Link:
    """One live connection. `gone` is set once it has ended, for whatever reason."""

    client: _OneShotClient
    gone: asyncio.Event

    @property
    def alive(self) -> bool:
        return self.client.is_connected and not self.gone.is_set()

    async def ask(self, question: Coroutine[Any, Any, T], *, seconds: float) -> T:
        """Await what needs an answer from the server, but no longer than the connection lives, nor than that.

        Raises `TimeoutError`, `ConnectionError` if the connection ended, and whatever the question raises.
        nats-py itself would wait for its time-out when the connection has long been lost.
        """
        asking = asyncio.ensure_future(question)
        ending = asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait([asking, ending], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            if ending.done():
                raise ConnectionError("the connection ended")
            raise TimeoutError("no answer in time")
        finally:
            for waiting in (asking, ending):
                waiting.cancel()
            await asyncio.wait([asking, ending])

    async def close(self, *, flush: bool = False) -> None:
        """End the connection, and let the server have what was said so far if `flush`, within a second.

        Never raises and may be called twice.
        """
        with contextlib.suppress(
            Exception
        ):  # a broken connection may fail in any way: it is being thrown away
            if flush and self.alive:
                async with asyncio.timeout(1):
                    await self.client.flush(timeout=1)
        self.gone.set()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1):
                await self.client.abandon()


async def open_link(access: Access) -> Link:
    """Connect, within `connect_seconds`. Raises `ChannelUnavailable`, of which `AccessRefused` is a kind."""
    servers, login = _take_apart(access.servers)
    if access.token is not None:
        login = _Login(token=access.token)
    client = _OneShotClient()
    gone = asyncio.Event()
    seen: list[Exception] = []

    async def remember(error: Exception) -> None:
        seen[:] = [error]

    async def ended() -> None:
        gone.set()

    link = Link(client, gone)
    try:
        async with asyncio.timeout(access.connect_seconds):
            await client.connect(
                servers=servers,
                name=access.name,
                user=login.user,
                password=login.password,
                token=login.token,
                user_credentials=None if access.credentials is None else str(access.credentials),
                tls=access.tls,
                allow_reconnect=False,
                connect_timeout=max(1, int(access.connect_seconds)),
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                ping_interval=_PING_SECONDS,
                error_cb=remember,
                disconnected_cb=ended,
                closed_cb=ended,
            )
    except (OSError, TimeoutError, nats.errors.Error) as error:
        await link.close()
        why = seen[-1] if seen else error
        if _is_a_refusal(why) or _is_a_refusal(error):
            raise AccessRefused(
                "NATS does not take this user and password, or this token.",
                remedy="Nothing is lost: events stay in the log and are sent once it does. Check the messaging URL; "
                "in it / is written as %2F, @ as %40, and so on.",
            ) from error
        raise ChannelUnavailable(
            f"No NATS server could be reached: {type(why).__name__}.",
            remedy="Nothing is lost: events stay in the log and are sent once NATS is back. Check the messaging URL.",
        ) from error
    except BaseException:
        await link.close()
        raise
    return link


def _is_a_refusal(error: BaseException) -> bool:
    # While a connection is made nats-py 2.16 raises its bare Error, with the server's words in it. "Authentication
    # Timeout" says no more than that we were slow to introduce ourselves: a network's fault, or a busy loop's.
    told = str(error).lower()
    refused = ("authorization" in told or "authentication" in told) and "timeout" not in told
    return isinstance(error, nats.errors.Error) and refused
