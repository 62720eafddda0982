"""A connection to one Stripe account: a key, the official SDK behind it, and patience that ends.

Nothing of the SDK's global state is touched: no `stripe.api_key`, no default client. The SDK is told to repeat
nothing; repeating happens here, where it is known which tries may have moved money, always under the key of the
first try, and within a fixed time.

Calls go through `StripeClient.raw_request_async`: the same requests, headers and errors as the typed services, but
the answer stays as Stripe wrote it. (Building the SDK's objects from a payment intent takes 1.3 ms, and once money
has moved there should be no more code in the way that can fail. A `Stripe-Notice` header, which the typed services
turn into a warning, is such code where warnings are errors.)
"""

import logging
import os
import re
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs
import stripe

from tillport.adapters.stripe.failures import Failure, read_failure
from tillport.adapters.stripe.transport import AiohttpTransport, Door, Flight, flight
from tillport.ports.clock import Clock
from tillport.ports.payments import GatewayMisconfigured

STRIPE_API = "https://api.stripe.com"

logger = logging.getLogger("tillport.stripe")


class CallFailed(Exception):
    """A call ended without Stripe's success. `in_doubt` says that an earlier try of it may have worked."""

    def __init__(self, failure: Failure, *, in_doubt: bool) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.in_doubt = in_doubt


@attrs.frozen(kw_only=True)
class Patience:
    """How long a call may take, in seconds, and how often it is tried.

    A try that is not over after `timeout_seconds` is given up; no new try begins later than `retry_within_seconds`
    after the first, nor after `max_tries`. So a call never takes longer than `longest_call_seconds`: whoever holds a
    lease while calling needs one that is longer.
    """

    connect_seconds: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))
    timeout_seconds: float = attrs.field(default=45.0, validator=attrs.validators.gt(0))
    retry_within_seconds: float = attrs.field(default=15.0, validator=attrs.validators.ge(0))
    max_tries: int = attrs.field(default=3, validator=attrs.validators.ge(1))

    @property
    def longest_call_seconds(self) -> float:
        """The longest that a call may take, all its tries together."""
        return self.retry_within_seconds + self.timeout_seconds


@attrs.define(eq=False)
class StripeConnection:
    """One Stripe account, reached with one secret or restricted key. Shared by `StripeGateway` and `StripeHistory`.

    `base_address` is Stripe's, or a simulator's (`http://127.0.0.1:12111`). `http_client` replaces the network, for
    a simulator in the same process. Close it with `aclose`, or use it as an async context manager. It belongs to the
    event loop of its first call.

    Raises `GatewayMisconfigured` for a key or an address that can't be right.
    """

    secret_key: str = attrs.field(repr=False)
    clock: Clock = attrs.field(kw_only=True)
    base_address: str = attrs.field(default=STRIPE_API, kw_only=True)
    patience: Patience = attrs.field(factory=Patience, kw_only=True)
    http_client: stripe.HTTPClient | None = attrs.field(default=None, kw_only=True, repr=False)
    livemode: bool = attrs.field(init=False)
    _door: Door = attrs.field(init=False, repr=False)
    _sdk: stripe.StripeClient = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.livemode = livemode_of(self.secret_key)
        self.base_address = _checked_address(self.base_address, livemode=self.livemode)
        if self.livemode and {stripe.log, os.environ.get("STRIPE_LOG")} & {"debug", "info"}:
            raise GatewayMisconfigured(
                "The Stripe SDK's console log is on: it prints tokens and client secrets.",
                remedy="Unset STRIPE_LOG (and stripe.log) where a live key is used.",
            )
        logging.getLogger("stripe").addFilter(_OURS_ARE_QUIET)  # the same filter again changes nothing
        self._door = Door(
            self.http_client
            or AiohttpTransport(
                connect_seconds=self.patience.connect_seconds, timeout_seconds=self.patience.timeout_seconds
            )
        )
        self._sdk = stripe.StripeClient(
            self.secret_key,
            base_addresses={"api": self.base_address},
            max_network_retries=0,
            http_client=self._door,
        )

    async def post(self, path: str, params: Mapping[str, Any], *, idempotency_key: str) -> bytes:
        """Send a write under an idempotency key and return the body of Stripe's success. Raises `CallFailed`."""
        return await self._patiently(
            "post", path, {**params, "idempotency_key": idempotency_key}, idempotency_key
        )

    async def get(self, path: str, params: Mapping[str, Any]) -> bytes:
        """Read and return the body of Stripe's success. Raises `CallFailed`."""
        return await self._patiently("get", path, params, path)

    async def aclose(self) -> None:
        """Close every connection. Does nothing when there is none."""
        await self._door.close_async()

    async def __aenter__(self) -> "StripeConnection":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _patiently(self, method: str, path: str, params: Mapping[str, Any], spread: str) -> bytes:
        in_doubt = False
        begun = self.clock.now()
        for tries in range(1, self.patience.max_tries + 1):
            answer = await self._once(method, path, params)
            if isinstance(answer, bytes):
                return answer
            logger.info("%s %s: %s", method, path, answer)
            now = self.clock.now()
            pause = _pause_seconds(tries, spread)
            last = (
                tries == self.patience.max_tries or now + pause > begun + self.patience.retry_within_seconds
            )
            if last or not answer.worth_repeating:
                raise CallFailed(answer, in_doubt=in_doubt)
            # What the limiter says is no answer to the work, but for one that Stripe remembers: then work had begun.
            in_doubt = in_doubt or (answer.left and (answer.replayed or not answer.limited))
            await self.clock.sleep_until(now + pause)
            if self.clock.now() > begun + self.patience.retry_within_seconds:
                # The machine slept for longer, perhaps until Stripe had forgotten the key.
                raise CallFailed(answer, in_doubt=in_doubt)
        raise AssertionError("the loop above always returns or raises")

    async def _once(self, method: str, path: str, params: Mapping[str, Any]) -> bytes | Failure:
        current = Flight()
        token = flight.set(current)
        try:
            answer = await self._sdk.raw_request_async(method, path, **params)
            body: str = answer.body
            return body.encode()
        except Exception as error:  # noqa: BLE001 - the SDK lets any error through; none may pass for "nothing moved"
            return read_failure(error, current)
        finally:
            flight.reset(token)


def livemode_of(secret_key: str) -> bool:
    """Tell whether real money moves under this key. Raises `GatewayMisconfigured` for anything but a secret key.

    >>> livemode_of("sk_test_123"), livemode_of("rk_live_123")
    (False, True)
    """
    found = re.fullmatch(r"(?:sk|rk)_(live|test)_[!-~]+", secret_key)
    if found is None:
        kind = (
            "publishable key"
            if secret_key.startswith("pk_")
            else "empty"
            if not secret_key
            else "no such key"
        )
        raise GatewayMisconfigured(
            f"The Stripe secret key is wrong ({kind}).",
            remedy="Set the key that starts with sk_test_, sk_live_, rk_test_ or rk_live_, without spaces.",
        )
    return found[1] == "live"


def _checked_address(base_address: str, *, livemode: bool) -> str:
    try:
        parts = urlsplit(base_address)
        usable = parts.hostname and parts.port != 0 and not (parts.query or parts.fragment or parts.username)
    except ValueError:  # an IPv6 address or a port that is none
        usable = False
    if not usable or re.fullmatch("(?i:https?)://[!-~]+", base_address) is None:
        raise GatewayMisconfigured(
            "The Stripe base address is no http(s) URL.", remedy=f"Leave it out, or set it like {STRIPE_API}."
        )
    if livemode and parts.scheme != "https":
        raise GatewayMisconfigured(
            "A live key is never sent without TLS.", remedy="Use an https:// base address."
        )
    return base_address.rstrip("/")


def _pause_seconds(tries: int, spread: str) -> float:
    """Return the pause after that many tries: 0.5 to 1 s, then 1 to 2 s …, spread by the key and not by chance."""
    return float(2 ** (tries - 1)) * (0.5 + zlib.crc32(spread.encode()) / 2**33)


class _OursAreQuiet(logging.Filter):
    """Keep the SDK's log records of our calls out: they quote request and answer, tokens and client secrets too."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or flight.get() is None


_OURS_ARE_QUIET = _OursAreQuiet()
