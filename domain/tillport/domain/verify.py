"""Verify that a webhook comes from Stripe: the signature over the raw bytes, its age, and that it is an event.

The scheme (https://docs.stripe.com/webhooks#verify-manually): the header `Stripe-Signature` holds `t=<Unix
seconds>` and one `v1=<hex>` per active secret; each is HMAC-SHA256 of `<t>.<raw body>`. Other schemes (`v0` on test
events) are noise. We are stricter than the official SDK where its leniency helps nobody; `docs/explanation/the-promises.md`
lists where.

Verifying must cost little more than the HMAC itself, because it guards the door of everything else: each secret's
key schedule is hashed once and kept, and of the body only the envelope is decoded.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from tillport.ports.body import CarriesBody
from tillport.ports.errors import TillportError

DEFAULT_TOLERANCE_SECONDS = 300
"""Stripe's own libraries use five minutes."""
MAX_HEADER_CHARACTERS = 2_048
_BLOCK_BYTES = 64
_is_usual = re.compile(r"t=([0-9]{1,15}),v1=([0-9a-f]{64})(?:,v0=[0-9a-f]{64})?").fullmatch
"""Whatever this takes is read below in the same way, at twice the cost."""
_is_sha256_hex = re.compile(r"[0-9a-f]{64}").fullmatch


class WebhookRefused(TillportError):
    """The request is not a webhook that this till accepts. Nothing was recorded."""

    code = "webhook_refused"


class SignatureMissing(WebhookRefused):
    """There is no `Stripe-Signature` header."""

    code = "signature_missing"


class SignatureMalformed(WebhookRefused):
    """The header is not one that Stripe writes."""

    code = "signature_malformed"


class SignatureMismatch(WebhookRefused):
    """No secret of ours makes any of the signatures."""

    code = "signature_mismatch"


class TimestampOutsideTolerance(WebhookRefused):
    """The signature is right, and too old or too far ahead."""

    code = "timestamp_outside_tolerance"


class NotAnEvent(WebhookRefused):
    """The signature is right, and the body is no event."""

    code = "not_an_event"


class WrongMode(WebhookRefused):
    """A test event came to a till that takes real money, or the other way round."""

    code = "wrong_mode"


class NoSigningSecret(TillportError):
    """Ours, at start-up: without a secret nothing could be verified, and nothing unverified is ever taken."""

    code = "no_signing_secret"


class _Object(msgspec.Struct, gc=False):
    # Any, not str: a type of event that we do not know yet is recorded whatever its object looks like.
    id: Any = None
    object: Any = None
    payment_intent: Any = None
    charge: Any = None
    latest_charge: Any = None


class _Data(msgspec.Struct, gc=False):
    object: _Object


class _Request(msgspec.Struct, gc=False):
    idempotency_key: str | None = None


class Envelope(msgspec.Struct, gc=False):
    """The part of an event that Tillport looks at before it is recorded."""

    id: str
    object: str
    type: str
    created: int
    livemode: bool
    data: _Data
    api_version: str | None = None
    account: str | None = None
    request: _Request | str | None = None  # a bare id before API version 2017-05-25


class _Kind(msgspec.Struct, gc=False):
    object: str


_decode = msgspec.json.Decoder(Envelope).decode


class VerifiedEvent(CarriesBody, frozen=True):
    """A body that Stripe signed, recently, and that is an event."""

    envelope: Envelope
    body: bytes


class Verifier:
    """Verify webhooks under any of several secrets (a roll keeps two alive for up to a day).

    Raises `NoSigningSecret` for an empty list or an empty secret, a prefix alone included: a till that can't verify does not start.

    >>> import hashlib, hmac
    >>> body = (
    ...     b'{"id":"evt_1","object":"event","type":"a.b","created":1,"livemode":false,"data":{"object":{}}}'
    ... )
    >>> signature = hmac.new(b"whsec_x", b"1700000000." + body, hashlib.sha256).hexdigest()
    >>> verified = Verifier(["whsec_x"]).verify(body, f"t=1700000000,v1={signature}", now=1700000010)
    >>> verified.envelope.id
    'evt_1'
    """

    __slots__ = ("_keys", "_tolerance_seconds", "livemode")

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        tolerance_seconds: int = DEFAULT_TOLERANCE_SECONDS,
        livemode: bool | None = None,
    ) -> None:
        if isinstance(secrets, str):  # a str is a sequence of one-letter secrets, which nobody means
            secrets = [secrets]
        # Of an unset variable the prefix may be left (`whsec_$SECRET`), and everybody knows that.
        if not secrets or any(not secret.strip().removeprefix("whsec_") for secret in secrets):
            raise NoSigningSecret(
                "There is no webhook signing secret.",
                remedy="Set it to the whsec_… value that Stripe shows for this endpoint (Developers > Webhooks).",
            )
        if any(secret != secret.strip() for secret in secrets):
            raise NoSigningSecret(
                "A webhook signing secret has blanks around it and would match nothing.",
                remedy="Remove them.",
            )
        if tolerance_seconds <= 0:
            raise ValueError(
                "tolerance_seconds must be positive: without it a captured webhook is good for ever"
            )
        self._keys = tuple(_key_schedule(secret.encode()) for secret in secrets)
        self._tolerance_seconds = tolerance_seconds
        self.livemode = livemode
        """The mode that every event must be of; None takes both."""

    def verify(self, body: bytes, signature_header: str | None, *, now: float) -> VerifiedEvent:
        """Return the event in `body`, or raise a `WebhookRefused` that says what is wrong with it.

        `body` is the request's raw bytes; `now` is Unix seconds. The livemode given to the constructor, if any,
        must be the event's.
        """
        timestamp, signatures = _parse_header(signature_header)
        if not self._signed(timestamp, body, signatures):
            raise SignatureMismatch(
                "No signature matches this body under any of the configured secrets.",
                remedy="Check that the signing secret belongs to this very endpoint and mode, and that nothing on the "
                "way re-encodes the body.",
            )
        age_seconds = now - int(timestamp)
        if abs(age_seconds) > self._tolerance_seconds:
            raise TimestampOutsideTolerance(
                f"The webhook was signed {abs(age_seconds):.0f} seconds "
                f"{'ago' if age_seconds > 0 else 'in the future'}; {self._tolerance_seconds} are allowed.",
                remedy="Check this machine's clock (NTP). Stripe signs every retry anew.",
            )
        envelope = _open_envelope(body)
        if self.livemode is not None and envelope.livemode is not self.livemode:
            raise _wrong_mode(ours_is_live=self.livemode)
        return VerifiedEvent(envelope, body)

    def _signed(self, timestamp: bytes, body: bytes, signatures: Sequence[bytes]) -> bool:
        matched = False
        for inner_key, outer_key in self._keys:
            inner, outer = inner_key.copy(), outer_key.copy()
            inner.update(timestamp + b".")
            inner.update(body)
            outer.update(inner.digest())
            expected = outer.hexdigest().encode()
            for signature in signatures:
                # No early exit: how long it takes tells nothing about which secret or signature was right.
                matched |= hmac.compare_digest(expected, signature)
        return matched


def open_listed(body: bytes, *, livemode: bool) -> VerifiedEvent:
    """Return an event as Stripe's API listed it: asked for over TLS with our own key, it needs no signature.

    Raises `NotAnEvent` and `WrongMode`. Never to be used on what came in from outside.
    """
    envelope = _open_envelope(body)
    if envelope.livemode is not livemode:
        raise _wrong_mode(ours_is_live=livemode)
    return VerifiedEvent(envelope, body)


def _wrong_mode(*, ours_is_live: bool) -> WrongMode:
    ours, theirs = ("live", "test") if ours_is_live else ("test", "live")
    return WrongMode(
        f"This till is in {ours} mode and does not take {theirs} events.",
        remedy=f"Point the {theirs}-mode endpoint at a till that runs with a {theirs}-mode key.",
    )


def _key_schedule(secret: bytes) -> "tuple[hashlib._Hash, hashlib._Hash]":
    # RFC 2104: HMAC hashes the key's two pads before anything else, so both states can be kept and copied.
    key = hashlib.sha256(secret).digest() if len(secret) > _BLOCK_BYTES else secret
    padded = key.ljust(_BLOCK_BYTES, b"\0")
    return hashlib.sha256(bytes(b ^ 0x36 for b in padded)), hashlib.sha256(bytes(b ^ 0x5C for b in padded))


def _parse_header(header: str | None) -> tuple[bytes, list[bytes]]:
    if not header:
        raise SignatureMissing(
            "The request has no Stripe-Signature header.",
            remedy="Only Stripe calls this address; a proxy in front must pass the header on.",
        )
    usual = _is_usual(header)
    if usual is not None:
        return usual[1].encode(), [usual[2].encode()]
    timestamps: list[bytes] = []
    signatures: list[bytes] = []
    if len(header) <= MAX_HEADER_CHARACTERS and header.isascii():
        for element in header.split(","):
            name, equals, value = element.partition("=")
            if not equals and name in ("t", "v1"):
                signatures.clear()  # as unreadable to the official SDK
                break
            if name == "t":
                timestamps.append(value.encode())
            elif name == "v1" and _is_sha256_hex(value):
                signatures.append(value.encode())
    # isdigit, not int(): int() also takes signs, blanks and underscores, none of which Stripe ever signs.
    if len(timestamps) != 1 or not timestamps[0].isdigit() or len(timestamps[0]) > 15 or not signatures:
        raise SignatureMalformed(
            "The Stripe-Signature header can't be read.",
            remedy="It looks like t=<seconds>,v1=<64 hex digits>. Pass it on unchanged.",
        )
    return timestamps[0], signatures


def _open_envelope(body: bytes) -> Envelope:
    problem = "its body is not what Stripe's API documents as an event"
    try:
        if not body.isascii():
            str(body, "utf-8")  # msgspec does not look into what it skips, and the log keeps text
        envelope = _decode(body)
    except UnicodeDecodeError:
        problem = "its body is not UTF-8"
    except (msgspec.DecodeError, RecursionError) as error:  # the latter: nested too deep
        problem = f"its body can't be read as one ({error})"
    else:
        if envelope.object == "event" and 0 < len(envelope.id) <= 255 and 0 < len(envelope.type) <= 255:
            return envelope
    if _is_thin(body):
        problem = "it is a thin event, which this till does not take yet"
    raise NotAnEvent(
        f"The signature is right, but this is no event: {problem}.",
        remedy="Register the endpoint for snapshot events; /v1/events/:id shows what one looks like.",
    )


def _is_thin(body: bytes) -> bool:
    # Apart from the envelope, which it does not fit: it has no data, and its time is a text.
    try:
        return msgspec.json.decode(body, type=_Kind).object.startswith("v2.")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
