"""Any body signed as Stripe would sign it, with the headers of a delivery (asked for in stripe-python#1697)."""

import time
from typing import Any

import msgspec

from tillport.simulator.signing import sign


class SignedRequest(msgspec.Struct, frozen=True):
    """A webhook request as Stripe would send it: POST `body` with `headers`."""

    body: bytes
    headers: dict[str, str]

    @property
    def signature(self) -> str:
        """The header `Stripe-Signature`."""
        return self.headers["Stripe-Signature"]

    def __repr__(self) -> str:
        return f"SignedRequest({len(self.body)} bytes)"


def signed_request(
    body: bytes | str | dict[str, Any], secret: str | list[str], *, timestamp: float | None = None
) -> SignedRequest:
    """Sign a body as Stripe would: bytes and text as they are, a dict as Stripe prints JSON.

    `timestamp` is Unix seconds, by default now (freezegun's now where it is active). Raise ValueError for an empty
    secret.

    >>> request = signed_request({"id": "evt_1"}, "whsec_test", timestamp=1_700_000_000)
    >>> request.headers["Stripe-Signature"][:16]
    't=1700000000,v1='
    """
    if isinstance(body, dict):
        raw = msgspec.json.format(msgspec.json.encode(body), indent=2)
    else:
        raw = body.encode() if isinstance(body, str) else body
    at = int(time.time() if timestamp is None else timestamp)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": sign(raw, secret, at),
    }
    return SignedRequest(raw, headers)
