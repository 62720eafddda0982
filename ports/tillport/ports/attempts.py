"""The attempt book: looking things up in the charge ledger, for people who ask and for reconciliation.

Charging needs none of this, and this changes nothing: it is a port of its own, so that a ledger stays five methods.
"""

from collections.abc import Sequence
from typing import Protocol

import attrs

from tillport.ports.ledger import Attempt


@attrs.frozen(kw_only=True)
class Doubts:
    """How many attempts are unsettled, and since when the oldest of them is (Unix seconds, None without any)."""

    count: int
    oldest_started_at: float | None


class AttemptBook(Protocol):
    """Read attempts by what they became, or by when they began.

    Raises `LedgerUnavailable` (see `tillport.ports.ledger`) from every method.
    """

    async def about(self, name: str) -> Sequence[Attempt]:
        """Return the attempts whose key, charge id or payment intent id this is, by when they began.

        A name that no store can hold (NUL, lone surrogates) finds nothing.
        """
        ...

    async def started(
        self, *, since: float, until: float, after: str | None = None, limit: int = 500
    ) -> Sequence[Attempt]:
        """Return up to `limit` attempts that began at or after `since` and before `until` (Unix seconds), by key.

        `after` is the key of the last one of the page before. Fewer than `limit`: there are no more.
        """
        ...

    async def doubts(self, *, now: float) -> Doubts:
        """Count the attempts whose outcome is unknown: UNKNOWN, or STARTED with nobody at work any more."""
        ...
