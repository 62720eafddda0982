"""The balance: what the balance transactions add up to, pending until each becomes available."""

from typing import Any

from tillport.simulator.account import Account
from tillport.simulator.resources.common import Call, Route


def retrieve(account: Account, call: Call, params: dict[str, Any]) -> dict[str, Any]:
    """Return the funds by currency, available and pending."""
    return funds(account)


def tell_when_available(account: Account, at: int) -> None:
    """Let `balance.available` follow when a charge's money is free, once for all that is free by then.

    Only the earliest of what waits has a job of its own, which leads to the next.
    """
    told = account.sums.telling
    if not told or at < min(told):
        told.add(at)
        account.schedule(max(0.0, at - account.now()), _tell, at)


def _tell(account: Account, at: int) -> None:
    account.sums.telling.discard(at)
    if account.now() >= at:  # sums of floats may fall short by a hair: then once more
        account.emit("balance.available", funds(account))
        at = account.sums.next_available(account) or 0
    if at:
        tell_when_available(account, at)


def funds(account: Account) -> dict[str, Any]:
    """Return the balance of this moment."""
    sums = account.sums
    sums.look(account)
    currencies = sorted({account.currency, *sums.pending, *sums.available})

    def amounts(by_currency: dict[str, int]) -> list[dict[str, Any]]:
        return [
            {
                "amount": by_currency.get(code, 0),
                "currency": code,
                "source_types": {"card": by_currency.get(code, 0)},
            }
            for code in currencies
        ]

    return {
        "object": "balance",
        "available": amounts(sums.available),
        "livemode": account.livemode,
        "pending": amounts(sums.pending),
        "refund_and_dispute_prefunding": {"available": amounts({}), "pending": amounts({})},
    }


ROUTES = (Route("GET", "/v1/balance", retrieve),)
