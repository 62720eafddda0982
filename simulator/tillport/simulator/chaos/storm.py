"""A storm is a list of shots, made of a seed: what is sent, in which order, and what may come back.

Three laws. `accept`: Stripe would send this, so anything but a 2xx loses an event or makes Stripe repeat it for days.
`refuse`: a stranger sends this, so a 2xx is a hole. `survive`: rubbish under a right signature; take it or refuse it,
but answer, and without a 5xx. A storm first tries every variant once, in an order of the seed's choice, and then goes
on by weight; repeats are sent beside or long after the first, and a payment's events in any order, for Stripe promises
neither once nor in order (docs.stripe.com/webhooks#event-delivery-behaviors).
"""

import random
from collections.abc import Iterator
from typing import Literal

import msgspec

from tillport.simulator.chaos import rubbish, signatures
from tillport.simulator.chaos.events import payments
from tillport.simulator.deliveries import Attempt

Law = Literal["accept", "refuse", "survive", "note"]

KINDS: dict[str, Law] = {
    "valid": "accept",
    "duplicate": "accept",
    "reordered": "accept",
    "late": "accept",
    "rotated": "accept",
    "unknown": "accept",
    "stale": "refuse",
    "forged": "refuse",
    "forged rubbish": "refuse",
    "signed rubbish": "survive",
    "future": "note",
}
_WEIGHTS = {"valid": 6, "duplicate": 5, "reordered": 4, "late": 1, "rotated": 1, "unknown": 3, "stale": 2,
            "forged": 4, "forged rubbish": 2, "signed rubbish": 2}  # fmt: skip


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a storm; its headers are made when it is sent, by `headers`."""

    number: int
    kind: str
    variant: str
    event_id: str | None
    body: bytes
    # How old the signature claims to be; the future is negative.
    age_seconds: int = 0
    # Twins go out at the same time, on connections of their own: how many shots ago the first of them stands.
    behind_twin: int = 0

    @property
    def law(self) -> Law:
        return KINDS[self.kind]

    def headers(self, secret: str, now: float) -> dict[str, str]:
        """Return the request's headers, signed at this moment (or forged)."""
        maker = signatures.right
        if self.kind in ("forged", "forged rubbish"):
            maker = signatures.FORGED[self.variant.partition(" on ")[0]]  # type: ignore[assignment] # some make no header
        elif self.kind == "rotated":
            maker = signatures.GENUINE[self.variant]  # type: ignore[assignment] # the same type, said differently
        signature: str | None = maker(self.body, secret, int(now) - self.age_seconds)
        headers = {
            "Accept": "*/*; q=0.5, application/xml",
            "Cache-Control": "no-cache",
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        if signature is not None:
            headers["Stripe-Signature"] = signature
        return headers


def storm(*, seed: int | str, count: int, now: float, tolerance_seconds: int = 300) -> list[Shot]:
    """Return `count` shots; the same seed, count and time give the same storm.

    `tolerance_seconds` is how old a signature the application may still take (300 in every Stripe SDK).

    >>> shots = storm(seed=7, count=100, now=1_793_491_200)
    >>> len(shots), shots[0].kind, shots[-1].kind
    (100, 'valid', 'valid')
    """
    if count < 2:
        raise ValueError("a storm has at least two shots: a good event first, and a good event at the end")
    return _Maker(seed, now, tolerance_seconds).make(count)


def variants() -> int:
    """Count the shots that a storm needs to try everything once."""
    return len(_all_once(random.Random(0), 300)) + 2  # noqa: S311 - only counted


def everything() -> set[tuple[str, str]]:
    """Return the kinds and variants that a whole storm has, whatever its seed."""
    once = _all_once(random.Random(0), 300)  # noqa: S311 - its order does not matter
    return {(kind, name) for kind, name in once if kind != "forged rubbish"}


def _all_once(dice: random.Random, tolerance: int) -> list[tuple[str, str]]:
    once = [("forged", name) for name in signatures.FORGED]
    once += [("rotated", name) for name in signatures.GENUINE]
    once += [("unknown", name) for name in rubbish.UNKNOWN]
    once += [("signed rubbish", name) for name in rubbish.NAMES]
    once += [("stale", name) for name in _stale(tolerance)]
    once += [("duplicate", name) for name in ("at once", "beside it", "much later")]
    once += [
        ("reordered", "the other way round"),
        ("late", "three days late"),
        ("future", "a signature of tomorrow"),
    ]
    once += [("forged rubbish", name) for name in dice.sample(rubbish.NAMES, 6)]
    dice.shuffle(once)
    return once


def _stale(tolerance: int) -> dict[str, int]:
    return {
        "a little too old": tolerance + 60,
        "two hours old": tolerance + 7200,
        "three days old": tolerance + 259_200,
    }


class _Maker:
    def __init__(self, seed: int | str, now: float, tolerance: int) -> None:
        self._dice = random.Random(f"{seed}:storm")  # noqa: S311 - repeatable on purpose
        self._payments: Iterator[list[Attempt]] = payments(seed, now - 30)
        # What is forged, stale or changed comes from payments of its own: the good ones are told whole and in order.
        self._others: Iterator[list[Attempt]] = payments(f"{seed}:others", now - 30)
        self._other: list[Attempt] = []
        self._late: Iterator[list[Attempt]] = payments(f"{seed}:late", now - 3 * 86_400)
        self._waiting: list[Attempt] = []
        self._sent: list[Attempt] = []
        self._again: list[tuple[int, Attempt]] = []
        self._shots: list[Shot] = []
        self._tolerance = tolerance

    def make(self, count: int) -> list[Shot]:
        dice, shots = self._dice, self._shots
        self._first("valid", "the first")
        once = _all_once(dice, self._tolerance)
        kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
        while len(shots) < count - 1:
            if self._again and self._again[0][0] <= len(shots):
                self._shoot("duplicate", "much later", self._again.pop(0)[1])
                continue
            kind, variant = once.pop() if once else (dice.choices(kinds, weights)[0], "")
            self._one(kind, variant)
        del shots[count - 1 :]
        self._first("valid", "the last")
        return shots

    def _next(self) -> Attempt:
        """Return the next good event, in Stripe's order."""
        while not self._waiting:
            self._waiting = next(self._payments)
        return self._waiting.pop(0)

    def _elsewhere(self) -> Attempt:
        """Return an event that is not told as it is."""
        while not self._other:
            self._other = next(self._others)
        return self._other.pop(0)

    def _first(self, kind: str, variant: str) -> None:
        attempt = self._next()
        self._sent.append(attempt)
        self._shoot(kind, variant, attempt)

    def _one(self, kind: str, variant: str) -> None:
        dice = self._dice
        match kind:
            case "valid":
                self._first(kind, "in order")
            case "rotated":
                self._shoot(kind, variant or dice.choice(list(signatures.GENUINE)), self._next())
            case "duplicate":
                self._duplicate(variant or dice.choice(("at once", "beside it", "much later")))
            case "reordered":
                told = next(self._others)
                while variant and not any(a.event_type == "payment_intent.succeeded" for a in told):
                    told = next(self._others)
                for attempt in told[::-1] if variant else dice.sample(told, len(told)):
                    self._shoot(kind, variant or "shuffled", attempt)
            case "late":
                for attempt in next(self._late)[:2]:
                    self._shoot(kind, "three days late", attempt)
            case "unknown":
                name = variant or dice.choice(list(rubbish.UNKNOWN))
                attempt = self._elsewhere()
                event = rubbish.UNKNOWN[name](msgspec.json.decode(attempt.body))
                self._shoot(kind, name, attempt, msgspec.json.format(msgspec.json.encode(event)))
            case "stale":
                ages = _stale(self._tolerance)
                name = variant or dice.choice(list(ages))
                self._shoot(kind, name, self._elsewhere(), age=ages[name])
            case "future":
                self._shoot(kind, variant, self._elsewhere(), age=-self._tolerance - 86_400)
            case "forged":
                self._shoot(kind, variant or dice.choice(list(signatures.FORGED)), self._elsewhere())
            case "forged rubbish":
                name = variant or dice.choice(rubbish.NAMES)
                forgery = dice.choice(list(signatures.FORGED))
                self._rubbish(kind, f"{forgery} on {name}", name)
            case "signed rubbish":
                name = variant or dice.choice(rubbish.NAMES)
                self._rubbish(kind, name, name)

    def _rubbish(self, kind: str, variant: str, name: str) -> None:
        body = rubbish.rubbish(name, self._elsewhere().body)
        self._shots.append(
            Shot(number=len(self._shots), kind=kind, variant=variant, event_id=None, body=body)
        )

    def _duplicate(self, variant: str) -> None:
        if variant == "at once":
            self._shoot("duplicate", variant, self._sent[-1])
        elif variant == "much later":
            attempt = self._next()
            self._shoot("valid", "sent again later", attempt)
            self._again.append((len(self._shots) + self._dice.randrange(5, 60), attempt))
            self._again.sort(key=lambda pair: pair[0])
        else:
            attempt = self._next()
            for behind in range(3):
                self._shoot("duplicate", variant, attempt, behind_twin=behind)

    def _shoot(
        self,
        kind: str,
        variant: str,
        attempt: Attempt,
        body: bytes | None = None,
        *,
        age: int = 0,
        behind_twin: int = 0,
    ) -> None:
        self._shots.append(
            Shot(
                number=len(self._shots),
                kind=kind,
                variant=variant,
                event_id=attempt.event_id,
                body=attempt.body if body is None else body,
                age_seconds=age,
                behind_twin=behind_twin,
            )
        )


__all__ = ["KINDS", "Law", "Shot", "everything", "storm", "variants"]
