"""Stripe-shaped ids from one seeded source.

A payment's objects share a stem (`3`, five time-like characters, the account's tail of ten), then differ in a
digit and seven random characters; unrelated objects have a stem of their own that starts with `1`
(from captures of real traffic). The five characters come from a counter, so no two stems ever meet,
however many ids a frozen clock hands out in one second.
"""

import random

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
# 4096 pairs, so that twelve random bits index them without a loop; a few pairs are a little likelier.
_BITS = tuple(_PAIRS[(i * 3844) >> 12] for i in range(4096))
_TENS = tuple(10**i for i in range(19))


class Ids:
    """Hand out ids; the same seed gives the same sequence."""

    def __init__(self, seed: int | str) -> None:
        # A fake's ids must repeat for the same seed; nothing here protects anything.
        self._bits = random.Random(f"{seed}:ids").getrandbits  # noqa: S311
        self._count = 100_000_000 + self._bits(28)
        self.tail = self.chars(10)

    def chars(self, length: int) -> str:
        """Return random letters and digits."""
        bits = self._bits
        return "".join([_BITS[bits(12)] for _ in range(length // 2 + 1)])[:length]

    def digits(self, length: int) -> str:
        """Return a random decimal string that does not start with zero."""
        least = _TENS[length - 1]
        return str(least + self._bits(60) % (9 * least))

    def _five(self) -> str:
        self._count = n = self._count + 1
        return f"{_PAIRS[n // 238328 % 3844]}{_PAIRS[n // 62 % 3844]}{_ALPHABET[n % 62]}"

    def stem(self) -> str:
        """Return the stem that all objects of one payment share."""
        return f"3{self._five()}{self.tail}"

    def on(self, prefix: str, stem: str) -> str:
        """Return an id on a payment's stem, as `ch_3…`."""
        b = self._bits(50)
        return (
            f"{prefix}{stem}{'0125'[b & 3]}{_BITS[(b >> 2) & 4095]}{_BITS[(b >> 14) & 4095]}"
            f"{_BITS[(b >> 26) & 4095]}{_ALPHABET[(b >> 38) % 62]}"
        )

    def own(self, prefix: str) -> str:
        """Return an id on a stem of its own, as `pm_1…`."""
        b = self._bits(48)
        return (
            f"{prefix}1{self._five()}{self.tail}{_BITS[b & 4095]}{_BITS[(b >> 12) & 4095]}"
            f"{_BITS[(b >> 24) & 4095]}{_BITS[b >> 36]}"
        )

    def short(self, prefix: str) -> str:
        """Return an id of fourteen random characters, as `req_…` and `cus_…`; five of them count."""
        b = self._bits(60)
        return (
            f"{prefix}{_BITS[b & 4095]}{_BITS[(b >> 12) & 4095]}{self._five()}{_BITS[(b >> 24) & 4095]}"
            f"{_BITS[(b >> 36) & 4095]}{_ALPHABET[(b >> 48) % 62]}"
        )


def stem_of(object_id: str) -> str:
    """Return the stem inside an id of a payment's family, as `pi_3…`."""
    return object_id.partition("_")[2][:16]
