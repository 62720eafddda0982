"""Balance transactions: what a charge leaves on the balance, less Stripe's fee."""

from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.resources import balance
from tillport.simulator.resources.common import Call, List, Route

# Stripe's list price for a US card. Every currency settles in itself here: no exchange rate is modelled.
FEE_PERMILLE = 29
FEE_FIXED_MINOR = 30
# From a real dispute's balance transaction; Stripe's fee differs by country.
DISPUTE_FEE_MINOR = 1500
AVAILABLE_AFTER_SECONDS = 2 * 86400


class FeeDetail(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    amount: int
    application: None = None
    currency: str
    description: str = "Stripe processing fees"
    type: str = "stripe_fee"


class BalanceTransaction(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    id: str
    object: str = "balance_transaction"
    amount: int
    available_on: int
    balance_type: str = "payments"
    created: int
    currency: str
    description: str | None = None
    exchange_rate: None = None
    fee: int = 0
    fee_details: tuple[FeeDetail, ...] = ()
    net: int
    reporting_category: str
    source: Any
    status: str = "pending"
    type: str


def fee_of(amount_minor: int) -> int:
    return (amount_minor * FEE_PERMILLE + 500) // 1000 + FEE_FIXED_MINOR


def for_charge(
    account: Account, charge: Any, amount_minor: int, *, at_once: bool = False, kind: str = "charge"
) -> BalanceTransaction:
    """Book a captured charge: pending for two days, or available at once for the bypass cards.

    `kind` is "charge" for a card and "payment" for whatever else pays.
    """
    now = account.second()
    available_on = now if at_once else now + AVAILABLE_AFTER_SECONDS
    fee = min(fee_of(amount_minor), amount_minor)
    balance.tell_when_available(account, available_on)
    return account.balance_transactions.add(
        BalanceTransaction(
            id=account.ids.on("txn_", charge.id[3:19]),
            amount=amount_minor,
            available_on=available_on,
            created=now,
            currency=charge.currency,
            description=charge.description,
            fee=fee,
            fee_details=(FeeDetail(amount=fee, currency=charge.currency),),
            net=amount_minor - fee,
            reporting_category="charge",
            source=charge.id,
            type=kind,
        )
    )


def for_dispute(account: Account, dispute: Any, amount_minor: int) -> BalanceTransaction:
    """Book a dispute's withdrawal with Stripe's fee, or its reversal; the fee is not given back."""
    now = int(account.now())
    out = amount_minor < 0
    fee = DISPUTE_FEE_MINOR if out else 0
    return account.balance_transactions.add(
        BalanceTransaction(
            id=account.ids.on("txn_", dispute.charge[3:19]),
            amount=amount_minor,
            available_on=now,
            created=now,
            currency=dispute.currency,
            description=f"Chargeback {'withdrawal' if out else 'reversal'} for {dispute.charge}",
            fee=fee,
            fee_details=(
                (FeeDetail(amount=fee, currency=dispute.currency, description="Dispute fee"),) if fee else ()
            ),
            net=amount_minor - fee,
            reporting_category="dispute" if out else "dispute_reversal",
            source=dispute.id,
            type="adjustment",
        )
    )


def shown(account: Account, txn: BalanceTransaction) -> BalanceTransaction:
    """Return a transaction with the status of this moment: nothing has to happen for funds to become available."""
    if account.now() >= txn.available_on:
        return msgspec.structs.replace(txn, status="available")
    return txn


def retrieve(account: Account, call: Call, params: dict[str, Any], txn_id: str) -> BalanceTransaction:
    return shown(account, account.balance_transactions.get(txn_id, "id"))


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    source, type_, currency = params.get("source"), params.get("type"), params.get("currency")
    page = account.balance_transactions.page(
        params,
        accept=lambda t: (
            (source is None or t.source == source)
            and (type_ is None or t.type == type_)
            and (currency is None or t.currency == currency)
        ),
    )
    data = [shown(account, txn) for txn in page.data]
    return List(data=data, has_more=page.has_more, url="/v1/balance_transactions")


LIST = p.list_spec("payout", source=p.string, type=p.string, currency=p.string)

ROUTES = (
    Route("GET", "/v1/balance_transactions", list_, LIST),
    Route("GET", "/v1/balance_transactions/{id}", retrieve),
    # The older name of the same.
    Route("GET", "/v1/balance/history", list_, LIST, name="history"),
    Route("GET", "/v1/balance/history/{id}", retrieve, name="retrieve_history"),
)
