"""What goes wrong, as data: rates with a seed, or a script for the next request or delivery.

Request faults before the work: `reset_before`, `timeout_before`, `error_before` (500), `unavailable` (503),
`rate_limited` (429), `lock_timeout` (429), `key_in_use` (409, only where an idempotency key counts), `approval_required`
(400: a rule of the account's holds it for a person). After the work, so that the effect stays: `answer_lost` (connection reset), `timeout_after`,
`error_after` (500, remembered under the key), `truncated` (half an answer), `slow`, `drip` (byte by byte),
`webhook_first` (the event is delivered before the answer).

Delivery faults: `duplicate`, `drop`, `delay`, `reorder`, `tamper`, `wrong_secret`, `stale`.
"""

import random
from collections.abc import Callable
from typing import Any

import msgspec

BEFORE = (
    "reset_before",
    "timeout_before",
    "error_before",
    "unavailable",
    "rate_limited",
    "lock_timeout",
    "key_in_use",
    "approval_required",
)
_UNKEYED = tuple(kind for kind in BEFORE if kind != "key_in_use")
AFTER = ("answer_lost", "timeout_after", "error_after", "truncated", "slow", "drip", "webhook_first")
DELIVERY = ("duplicate", "drop", "delay", "reorder", "tamper", "wrong_secret", "stale")
KINDS = (*BEFORE, *AFTER, *DELIVERY)


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rates between 0 and 1 for each fault, and the sizes that go with them; all off by default."""

    reset_before: float = 0.0
    timeout_before: float = 0.0
    error_before: float = 0.0
    unavailable: float = 0.0
    rate_limited: float = 0.0
    lock_timeout: float = 0.0
    key_in_use: float = 0.0
    approval_required: float = 0.0
    answer_lost: float = 0.0
    timeout_after: float = 0.0
    error_after: float = 0.0
    truncated: float = 0.0
    slow: float = 0.0
    drip: float = 0.0
    webhook_first: float = 0.0
    duplicate: float = 0.0
    drop: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0
    tamper: float = 0.0
    wrong_secret: float = 0.0
    stale: float = 0.0
    # Stripe promises no order among the events of one moment: shuffled, or in the usual order of generation.
    shuffle: bool = False
    slow_seconds: float = 1.0
    delay_seconds: float = 60.0
    reorder_seconds: float = 1.0
    stale_seconds: int = 900
    # Whether a 429 or 5xx carries Stripe-Should-Retry, and with what.
    should_retry: bool | None = None

    def __post_init__(self) -> None:
        for kind in KINDS:
            if not 0.0 <= getattr(self, kind) <= 1.0:
                raise ValueError(f"the rate of {kind} must lie between 0 and 1")


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One scripted fault: what, to which request or delivery, after how many, how often."""

    kind: str
    method: str | None = None
    path: str | None = None
    type: str | None = None
    skip: int = 0
    times: int = 1
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}: choose one of {', '.join(KINDS)}")
        if self.times < 1 or self.skip < 0 or (self.seconds is not None and not self.seconds >= 0):
            raise ValueError(
                "a fault strikes once or more (times), after none or more (skip), for 0 seconds or more"
            )

    def fits_request(self, method: str, path: str) -> bool:
        """Tell whether this fault is meant for such a request."""
        return (self.method is None or self.method.upper() == method) and (
            self.path is None or path.startswith(self.path)
        )

    def fits_event(self, type_: str) -> bool:
        """Tell whether this fault is meant for the delivery of such an event."""
        return (
            self.type is None
            or self.type == type_
            or (self.type.endswith("*") and type_.startswith(self.type[:-1]))
        )


class FaultPlan:
    """Decide, request by request and delivery by delivery, which faults strike: the script first, then the rates."""

    __slots__ = ("_after", "_before", "_random", "delivery_rates", "on_strike", "rates", "script")

    def __init__(self, rates: Faults, seed: int | str) -> None:
        # Its own stream, so that a fault never shifts the ids of what comes after it.
        self._random = random.Random(f"{seed}:faults")  # noqa: S311 - repeatable on purpose
        self.script: list[Fault] = []
        # Told of every fault that strikes, and what it strikes: a request's "METHOD path" or an event's type.
        self.on_strike: Callable[[Fault, str], None] | None = None
        self.set_rates(rates)

    def set_rates(self, rates: Faults) -> None:
        """Replace the rates; what is scripted stays."""
        self.rates = rates
        self._before = _on(rates, BEFORE)
        self._after = _on(rates, AFTER)
        self.delivery_rates = _on(rates, DELIVERY)

    def before(self, method: str, path: str, *, keyed: bool = True) -> Fault | None:
        """Return the fault that strikes before the work on a request, None for none.

        No idempotency key is in use where the request has none that counts.
        """
        if not self.script and not self._before:
            return None
        kinds = BEFORE if keyed else _UNKEYED
        return self._told(self._request(kinds, self._before, method, path), method, path)

    def after(self, method: str, path: str) -> Fault | None:
        """Return the fault that strikes after the work on a request, None for none."""
        if not self.script and not self._after:
            return None
        return self._told(self._request(AFTER, self._after, method, path), method, path)

    def _request(
        self, kinds: tuple[str, ...], rates: tuple[tuple[str, float], ...], method: str, path: str
    ) -> Fault | None:
        for fault in self.script:
            if fault.kind in kinds and fault.fits_request(method, path):
                if self._strikes(fault):
                    return fault
                break
        for kind, rate in rates:
            if self._random.random() < rate and kind in kinds:
                return Fault(kind=kind)
        return None

    def delivery(self, type_: str) -> tuple[Fault, ...]:
        """Return the faults of one delivery attempt; several may strike at once."""
        if not self.script and not self.delivery_rates:
            return ()
        found = [
            fault
            for fault in list(self.script)
            if fault.kind in DELIVERY and fault.fits_event(type_) and self._strikes(fault)
        ]
        found += [Fault(kind=kind) for kind, rate in self.delivery_rates if self._random.random() < rate]
        if self.on_strike is not None:
            for fault in found:
                self.on_strike(fault, type_)
        return tuple(found)

    def _told(self, fault: Fault | None, method: str, path: str) -> Fault | None:
        if fault is not None and self.on_strike is not None:
            self.on_strike(fault, f"{method} {path}")
        return fault

    def _strikes(self, fault: Fault) -> bool:
        if fault.skip > 0:
            fault.skip -= 1
            return False
        fault.times -= 1
        if fault.times <= 0:
            self.script.remove(fault)
        return True

    def tie(self) -> float:
        """Return what orders two deliveries of one moment: nothing, or chance."""
        return self._random.random() if self.rates.shuffle else 0.0

    def uniform(self) -> float:
        return self._random.random()


def _on(rates: Faults, kinds: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    pairs: list[tuple[str, Any]] = [(kind, getattr(rates, kind)) for kind in kinds]
    return tuple((kind, rate) for kind, rate in pairs if rate > 0)
