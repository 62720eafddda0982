"""Objects to bytes: JSON with two spaces of indent, as Stripe's API and webhooks send it."""

from threading import local
from typing import Any

import msgspec

_encode_into = msgspec.json.Encoder().encode_into
_pretty = msgspec.json.format


class _Scratch(local):
    """Where a thread writes the compact form, again and again: growing a new one for each text costs a fifth more."""

    def __init__(self) -> None:
        self.bytes = bytearray()


_scratch = _Scratch()


def pretty(value: Any) -> bytes:
    """Encode a value tree (structs, dicts, lists) as Stripe prints it."""
    compact = _scratch.bytes
    _encode_into(value, compact)
    printed: bytes = _pretty(compact, indent=2)
    return printed


def plain(value: Any) -> Any:
    """Return a value tree as plain dicts and lists: what a client would decode."""
    return msgspec.to_builtins(value)
