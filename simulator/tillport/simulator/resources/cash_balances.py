"""Reading a customer's cash balance, and the test helper that funds it as a bank transfer would."""

from typing import Any

from tillport.simulator import currencies
from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.errors import invalid, missing_object
from tillport.simulator.params import Spec
from tillport.simulator.resources import bank_transfers, cash
from tillport.simulator.resources.common import Call, List, Route
from tillport.simulator.resources.payment_intents.transfer import reconcile

FUND = Spec(
    {"amount": currencies.amount, "currency": currencies.currency, "reference": p.string},
    required=("amount", "currency"),
)
LIST = p.page_spec()


def fund_cash_balance(
    account: Account, call: Call, params: dict[str, Any], customer_id: str
) -> cash.CashTransaction:
    """Let a transfer arrive from a customer; what it pays for is paid in the same moment."""
    account.customers.get(customer_id, "customer")
    amount, currency, reference = params["amount"], params["currency"], params.get("reference") or None
    if currency not in bank_transfers.KINDS:
        raise invalid(
            f"No bank transfer carries {currency}; these are carried: {', '.join(bank_transfers.KINDS)}.",
            "currency",
        )
    currencies.check_most(amount, currency)
    about = bank_transfers.arrived(currency, reference)
    txn = cash.book(account, call.origin, customer_id, currency, amount, "funded", about)
    reconcile(account, call.origin, customer_id, currency, reference)
    return txn


def cash_balance_of(
    account: Account, call: Call, params: dict[str, Any], customer_id: str
) -> cash.CashBalance:
    account.customers.get(customer_id, "customer")
    return cash.balance_of(account, customer_id)


def cash_balance_transactions_of(
    account: Account, call: Call, params: dict[str, Any], customer_id: str
) -> List:
    account.customers.get(customer_id, "customer")
    page = account.cash_balance_transactions.page(params, where={"customer": customer_id})
    return List(
        data=page.data,
        has_more=page.has_more,
        url=f"/v1/customers/{customer_id}/cash_balance_transactions",
    )


def cash_balance_transaction_of(
    account: Account, call: Call, params: dict[str, Any], customer_id: str, txn_id: str
) -> cash.CashTransaction:
    account.customers.get(customer_id, "customer")
    txn = account.cash_balance_transactions.get(txn_id, "transaction")
    if txn.customer != customer_id:
        raise missing_object("customer_cash_balance_transaction", txn_id[:255], "transaction")
    return txn


_OF = "/v1/customers/{customer}"
ROUTES = (
    Route("GET", _OF + "/cash_balance", cash_balance_of),
    Route("GET", _OF + "/cash_balance_transactions", cash_balance_transactions_of, LIST),
    Route("GET", _OF + "/cash_balance_transactions/{transaction}", cash_balance_transaction_of),
    Route(
        "POST",
        "/v1/test_helpers/customers/{customer}/fund_cash_balance",
        fund_cash_balance,
        FUND,
        resource="customers",
    ),
)
