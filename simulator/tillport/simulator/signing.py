"""Stripe's webhook signature, made (docs.stripe.com/webhooks#verify-manually).

`t=<unix s>,v1=<hex>`: HMAC-SHA256 over `<t>.<raw body>` with the whole `whsec_…` string as key, one `v1` for
each active secret, and in test mode a fake `v0` that receivers must ignore.
"""

from collections.abc import Sequence
from hashlib import sha256

_BLOCK = 64


class Signer:
    """Sign many bodies with one secret: the key's two hash states are computed once."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: str) -> None:
        key = secret.encode()
        if not key:
            raise ValueError("an empty signing secret signs nothing: give the endpoint's whsec_… value")
        if len(key) > _BLOCK:
            key = sha256(key).digest()
        key = key.ljust(_BLOCK, b"\0")
        self._inner = sha256(bytes(b ^ 0x36 for b in key))
        self._outer = sha256(bytes(b ^ 0x5C for b in key))

    def v1(self, body: bytes, timestamp: int) -> str:
        """Return the hex signature of a body at a time."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(b"%d." % timestamp)
        inner.update(body)
        outer.update(inner.digest())
        return outer.hexdigest()


def header(signers: Sequence[Signer], body: bytes, timestamp: int) -> str:
    """Return the `Stripe-Signature` header as a test-mode delivery carries it, the fake `v0` included."""
    if len(signers) == 1:
        v1 = signers[0].v1(body, timestamp)
        return f"t={timestamp},v1={v1},v0={sha256(v1.encode()).hexdigest()}"
    v1s = [signer.v1(body, timestamp) for signer in signers]
    many = ",v1=".join(v1s)
    return f"t={timestamp},v1={many},v0={sha256(many.encode()).hexdigest()}"


def sign(body: bytes | str, secret: str | Sequence[str], timestamp: int) -> str:
    """Return the `Stripe-Signature` header that Stripe would send with a body at a time.

    Several secrets give several `v1`, as during a secret's roll. Raise ValueError for an empty secret.

    >>> sign(b"{}", "whsec_test", 1_700_000_000)[:16]
    't=1700000000,v1='
    """
    raw = body.encode() if isinstance(body, str) else body
    secrets = [secret] if isinstance(secret, str) else list(secret)
    if not secrets:
        raise ValueError("no signing secret given")
    many = ",v1=".join(Signer(one).v1(raw, timestamp) for one in secrets)
    return f"t={timestamp},v1={many}"
