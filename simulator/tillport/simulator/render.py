"""Objects to bytes: JSON with two spaces of indent, as Stripe's API and webhooks send it."""

from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_pretty = msgspec.json.format


def pretty(value: Any) -> bytes:
    """Encode a value tree (structs, dicts, lists) as Stripe prints it."""
    return _pretty(_encode(value), indent=2)


def plain(value: Any) -> Any:
    """Return a value tree as plain dicts and lists: what a client would decode."""
    return msgspec.to_builtins(value)
