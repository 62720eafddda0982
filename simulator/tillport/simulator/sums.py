"""Running sums over the balance transactions, so that a balance costs what is new since the last look."""

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tillport.simulator.account import Account


class Sums:
    """Add up balance transactions once each, by currency: pending, and available when their time has come."""

    def __init__(self) -> None:
        self.counted = 0
        self.available: dict[str, int] = {}
        self.pending: dict[str, int] = {}
        # The seconds for which a `balance.available` is on its way.
        self.telling: set[int] = set()
        self._waiting: list[tuple[int, int, str, int]] = []

    def look(self, account: "Account") -> None:
        for txn in account.balance_transactions.since(self.counted):
            self.counted += 1
            self.pending[txn.currency] = self.pending.get(txn.currency, 0) + txn.net
            heappush(self._waiting, (txn.available_on, self.counted, txn.currency, txn.net))
        now = account.now()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, currency, net = heappop(self._waiting)
            self.pending[currency] -= net
            self.available[currency] = self.available.get(currency, 0) + net

    def next_available(self, account: "Account") -> int | None:
        """Return when the next of the pending funds becomes available."""
        self.look(account)
        return self._waiting[0][0] if self._waiting else None
