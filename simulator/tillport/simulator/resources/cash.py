"""A customer's cash balance: money that came by bank transfer, and the ledger of how it came and went.

The balance is a number per currency; each change is a cash balance transaction, and
`customer_cash_balance_transaction.created` tells of it (docs.stripe.com/payments/customer-balance).
"""

from typing import Any, ClassVar

import msgspec

from tillport.simulator.account import Account, Origin


class Settings(msgspec.Struct, frozen=True, gc=False):
    reconciliation_mode: str = "automatic"
    using_merchant_default: bool = True


class CashBalance(msgspec.Struct, frozen=True, kw_only=True):
    # There is one for each customer, so it has no id on the wire.
    id: ClassVar[str] = ""
    object: str = "cash_balance"
    available: dict[str, int] | None
    customer: str
    customer_account: None = None
    livemode: bool = False
    settings: Settings = Settings()


class ForPayment(msgspec.Struct, frozen=True, gc=False):
    """The payment that money went to, or came back from."""

    payment_intent: Any


class CashTransaction(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "customer_cash_balance_transaction"
    applied_to_payment: Any = msgspec.UNSET
    created: int
    currency: str
    customer: Any
    customer_account: None = None
    ending_balance: int
    funded: Any = msgspec.UNSET
    livemode: bool = False
    net_amount: int
    type: str
    unapplied_from_payment: Any = msgspec.UNSET


def balance_of(account: Account, customer: str) -> CashBalance:
    """Return a customer's cash balance of this moment."""
    held = account.cash.get(customer)
    return CashBalance(available=dict(sorted(held.items())) if held else None, customer=customer)


def held(account: Account, customer: str, currency: str) -> int:
    """Return what a customer has in a currency, in minor units."""
    return account.cash.get(customer, {}).get(currency, 0)


def book(
    account: Account, origin: Origin, customer: str, currency: str, amount_minor: int, kind: str, about: Any
) -> CashTransaction:
    """Change a cash balance by an amount, and say so; `about` is the transaction's own hash of that kind."""
    after = held(account, customer, currency) + amount_minor
    assert after >= 0, "no cash balance is overdrawn here"
    # A new dict: a fork of the account may share the old one.
    account.cash[customer] = {**account.cash.get(customer, {}), currency: after}
    txn = account.cash_balance_transactions.add(
        CashTransaction(
            id=account.ids.own("ccsbtxn_"),
            created=int(account.now()),
            currency=currency,
            customer=customer,
            ending_balance=after,
            net_amount=amount_minor,
            type=kind,
            **{kind: about},
        )
    )
    account.emit("customer_cash_balance_transaction.created", txn, origin)
    return txn
