"""The `Stripe-Signature` headers of a storm: the right ones, and those that nobody may believe.

Each maker takes (body, secret, now) and returns the header's value, or None for no header at all. What a forger has
is the body, the time and old signatures that he overheard, never the secret: so a receiver that answers any of
FORGED with a 2xx takes orders from strangers (docs.stripe.com/webhooks#verify-manually).
"""

import hmac
from collections.abc import Callable
from hashlib import sha256

from tillport.simulator.signing import Signer, sign

Maker = Callable[[bytes, str, int], str | None]

_STRANGER = "whsec_0000000000000000000000000000000000"


def _v1(body: bytes, secret: str, at: int) -> str:
    return Signer(secret).v1(body, at)


def _hmac(key: bytes, body: bytes, at: int) -> str:
    return hmac.new(key, b"%d." % at + body, sha256).hexdigest()


def right(body: bytes, secret: str, now: int) -> str:
    """Sign as Stripe does in test mode: `t`, `v1`, and a fake `v0` that receivers must ignore."""
    v1 = _v1(body, secret, now)
    return f"t={now},v1={v1},v0={sha256(v1.encode()).hexdigest()}"


GENUINE: dict[str, Maker] = {
    "while the secret rolls: new secret first": lambda b, s, t: sign(b, [_STRANGER, s], t),
    "while the secret rolls: old secret first": lambda b, s, t: sign(b, [s, _STRANGER], t),
    "with a scheme of the future": lambda b, s, t: f"t={t},v9=abc,v1={_v1(b, s, t)}",
}

FORGED: dict[str, Maker] = {
    "no signature": lambda *_: None,
    "empty signature": lambda *_: "",
    "another secret": lambda b, s, t: sign(b, _STRANGER, t),
    "an empty secret": lambda b, s, t: f"t={t},v1={_hmac(b'', b, t)}",
    "a hash without a secret": lambda b, s, t: f"t={t},v1={sha256(b'%d.' % t + b).hexdigest()}",
    "the signature of another body": lambda b, s, t: sign(b + b" ", s, t),
    "an old signature with a new time": lambda b, s, t: f"t={t},v1={_v1(b, s, t - 7200)}",
    "two times, an old signature": lambda b, s, t: f"t={t - 7200},t={t},v1={_v1(b, s, t - 7200)}",
    "no time": lambda b, s, t: f"v1={_v1(b, s, t)}",
    "a time that is no number": lambda b, s, t: f"t=now,v1={_v1(b, s, t)}",
    "a time of five thousand digits": lambda b, s, t: f"t={'9' * 5000},v1={_v1(b, s, t)}",
    "no v1": lambda b, s, t: f"t={t}",
    "an empty v1": lambda b, s, t: f"t={t},v1=",
    "a v1 cut short": lambda b, s, t: f"t={t},v1={_v1(b, s, t)[:8]}",
    "only the scheme v0": lambda b, s, t: f"t={t},v0={sha256(b).hexdigest()}",
    "a signature that is not ASCII": lambda b, s, t: f"t={t},v1=\u00e9\u00ff{'a' * 62}",
    "a header of rubbish": lambda *_: ";;==,,t,v1,=,=,",
    "forty wrong signatures": lambda b, s, t: sign(b, [f"{_STRANGER}{i}" for i in range(40)], t),
}
