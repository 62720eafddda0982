"""API keys that are written in the configuration."""

import hashlib
import hmac
from collections.abc import Iterable

import attrs

from tillport.ports.access import Caller, CallerKind

KEY_CHARACTERS_MIN = 16
"""A key that people can guess protects nobody; NIST SP 800-63B asks 112 bits of secrets that aren't typed."""


@attrs.frozen(init=False)
class StaticKeyRing:
    """Know a fixed set of keys, of which only the hashes are kept.

    A caller's id is derived from its key, so it stays the same from one start to the next and reveals nothing.
    Raises `ValueError` for a key that is too short or listed twice.

    >>> ring = StaticKeyRing(app_keys=["app-key-of-a-web-page"], server_keys=["server-key-that-stays-home"])
    >>> ring.find("app-key-of-a-web-page").kind.value
    'app'
    >>> ring.find("something else") is None
    True
    """

    _callers: tuple[tuple[bytes, Caller], ...] = attrs.field(repr=False)

    def __init__(self, *, app_keys: Iterable[str] = (), server_keys: Iterable[str] = ()) -> None:
        callers: dict[bytes, Caller] = {}
        for kind, keys in ((CallerKind.APP, app_keys), (CallerKind.SERVER, server_keys)):
            for key in keys:
                if len(key) < KEY_CHARACTERS_MIN:
                    raise ValueError(f"An API key needs at least {KEY_CHARACTERS_MIN} characters.")
                digest = _digest(key)
                if digest in callers:
                    raise ValueError("The same API key is listed twice; app and server keys must differ.")
                callers[digest] = Caller(id=f"{kind.value}_{digest.hex()[:16]}", kind=kind)
        self.__attrs_init__(tuple(callers.items()))

    def find(self, presented: str) -> Caller | None:
        """See `KeyRing.find`. Every key is compared, also after one was found."""
        digest = _digest(presented)
        found = None
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
