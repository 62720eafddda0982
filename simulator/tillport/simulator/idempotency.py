"""Idempotency keys as Stripe keeps them: one layer in front of the work (docs.stripe.com/api/idempotent_requests).

What a key remembers is the answer as it was, success or failure, for a day. Objects are immutable, so the record
keeps a reference to the answered version instead of its bytes. Not remembered: 401, 429, a refused parameter, a
conflict with a request in flight.
"""

from collections import deque
from hashlib import blake2b
from typing import Any

import msgspec

from tillport.simulator.errors import ApiError

KEPT_SECONDS = 24 * 3600
MAX_KEY = 255


class Record(msgspec.Struct, frozen=True, gc=False):
    """What was answered under a key, and from when on it may be replayed."""

    fingerprint: bytes
    status: int
    payload: Any
    request_id: str
    created: float
    answered_at: float


class Idempotency:
    """Remember answers by key."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._order: deque[tuple[float, str]] = deque()

    def lookup(self, key: str, fingerprint: bytes, now: float) -> Record | None:
        """Return the remembered answer; raise ApiError for other parameters or for a request in flight."""
        record = self._records.get(key)
        if record is None:
            return None
        if now - record.created >= KEPT_SECONDS:
            del self._records[key]
            return None
        if record.fingerprint != fingerprint:
            raise mismatch(key)
        # What was answered at once is in flight for nobody, though the clock was set back since.
        if record.created < record.answered_at and now < record.answered_at:
            raise in_flight(key)
        return record

    def remember(self, key: str, record: Record) -> None:
        order = self._order
        while order and record.created - order[0][0] >= KEPT_SECONDS:
            _, old = order.popleft()
            stale = self._records.get(old)
            if stale is not None and record.created - stale.created >= KEPT_SECONDS:
                del self._records[old]
        self._records[key] = record
        order.append((record.created, key))

    def overwrite(self, key: str, status: int, payload: Any) -> None:
        """Remember a failure in the place of the success that was never told."""
        record = self._records.get(key)
        if record is not None:
            self._records[key] = msgspec.structs.replace(record, status=status, payload=payload)

    def forget_all_but(self, count: int) -> None:
        """Forget the oldest keys, so that at most `count` are left."""
        while len(self._order) > count:
            created, key = self._order.popleft()
            record = self._records.get(key)
            if record is not None and record.created <= created:
                del self._records[key]

    def hold(self, key: str, until: float) -> None:
        """Keep a key in flight until a slow answer is out."""
        record = self._records.get(key)
        if record is not None:
            self._records[key] = msgspec.structs.replace(record, answered_at=until)


def fingerprint(method: str, path: str, params: dict[str, Any]) -> bytes:
    """Return what identifies a request under its key: everything but the order of its parameters."""
    raw = msgspec.json.encode((method, path, params), order="sorted")
    return blake2b(raw, digest_size=16).digest()


def mismatch(key: str) -> ApiError:
    return ApiError(
        400,
        "Keys for idempotent requests can only be used with the same parameters they were first used with. "
        f"Try using a key other than '{key}' if you meant to execute a different request.",
        type="idempotency_error",
        stored=False,
    )


def in_flight(key: str) -> ApiError:
    return ApiError(
        409,
        "There is currently another in-progress request using this Idempotent Key (that probably means you "
        f"submitted twice, and the other request is still going through): {key}. Please try again later.",
        type="idempotency_error",
        code="idempotency_key_in_use",
        stored=False,
    )
