"""API keys: where a request carries one, and what it opens."""

from base64 import b64decode
from collections.abc import Callable

import msgspec

from tillport.simulator.account import Account
from tillport.simulator.errors import ApiError
from tillport.simulator.messages import Request


class Key(msgspec.Struct, frozen=True):
    """What an API key opens."""

    account: Account
    publishable: bool


class Keyring:
    """Tell what the keys open that an account has; `find` knows them."""

    def __init__(self, find: Callable[[str], Key | None]) -> None:
        self._keys = find
        self._opened: dict[str, Key] = {}

    def open(self, request: Request, query: str) -> Key:
        """Return what a request's key opens; raise the 401 of Stripe for none, for a wrong one, and for a live key."""
        # One client sends one header: what it opens was found out before.
        known = self._opened.get(request.headers.get("authorization", ""))
        if known is not None:
            return known
        given = key_of(request, query)
        if not given:
            raise ApiError(
                401,
                "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication "
                "for details.",
                stored=False,
                headers={"WWW-Authenticate": 'Bearer realm="Stripe"'},
            )
        if given.startswith(("sk_live_", "pk_live_", "rk_live_")):
            raise ApiError(
                401,
                "This is Tillport's simulator: it takes no live-mode keys, so that a real key is never sent to a fake by "
                "mistake. Use the test key that the simulator printed at its start.",
                stored=False,
            )
        key = self._keys(given)
        if key is None:
            shown = given if len(given) < 15 else given[:11] + "*" * (len(given) - 15) + given[-4:]
            if len(given) < 15:
                shown = "*" * len(given)
            raise ApiError(401, f"Invalid API Key provided: {shown[:64]}", stored=False)
        header = request.headers.get("authorization", "")
        if header.startswith("Bearer ") and len(self._opened) < 64:
            self._opened[header] = key
        return key


def key_of(request: Request, query: str) -> str | None:
    header = request.headers.get("authorization", "")
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() == "basic":
        try:
            return b64decode(value, validate=True).decode().partition(":")[0]
        except ValueError:
            return None
    # Publishable keys may arrive as a parameter, from Stripe.js.
    for text in (query, request.body.decode(errors="replace") if b"key=pk_" in request.body else ""):
        if "key=pk_" in text:
            for pair in text.split("&"):
                if pair.startswith("key=pk_"):
                    return pair[4:]
    return None
