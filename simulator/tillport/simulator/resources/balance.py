"""The balance: what the balance transactions add up to, pending until each becomes available."""

from typing import Any

from tillport.simulator.account import Account
from tillport.simulator.resources.common import Call, Route


def retrieve(account: Account, call: Call, params: dict[str, Any]) -> dict[str, Any]:
    """Return the funds by currency, available and pending."""
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
