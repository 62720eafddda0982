"""Charges that no card pays: `py_…`, pending until the money is there, and booked the moment it is.

There is no authorisation to capture and nothing of a card in them; a bank debit may still fail.
"""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator.account import Account
from tillport.simulator.params import EMPTY
from tillport.simulator.resources import balance_transactions, bank_debits
from tillport.simulator.resources.charges.charge import Charge, Outcome
from tillport.simulator.resources.payment_methods import PaymentMethod


class SepaDetails(msgspec.Struct, frozen=True, gc=False):
    sepa_debit: bank_debits.SepaPayment
    type: str = "sepa_debit"


class BalanceDetails(msgspec.Struct, frozen=True, gc=False):
    customer_balance: dict[str, str] = EMPTY
    type: str = "customer_balance"


_GOOD = Outcome(risk_level="not_assessed", risk_score=msgspec.UNSET)


def pending(account: Account, intent: Any, method: PaymentMethod) -> Charge:
    """Build and store the charge of a payment intent whose money is on its way."""
    details: SepaDetails | BalanceDetails = BalanceDetails()
    if method.type == "sepa_debit":
        details = SepaDetails(bank_debits.paid_with(method.sepa_debit))
    return account.charges.add(
        Charge(
            id=account.ids.on("py_", intent.id[3:19]),
            amount=intent.amount,
            billing_details=method.billing_details,
            created=int(account.now()),
            currency=intent.currency,
            customer=intent.customer,
            description=intent.description,
            metadata=intent.metadata,
            outcome=_GOOD,
            payment_intent=intent.id,
            payment_method=method.id,
            payment_method_details=details,
            receipt_email=intent.receipt_email,
            shipping=intent.shipping,
            statement_descriptor=intent.statement_descriptor,
            statement_descriptor_suffix=intent.statement_descriptor_suffix,
            status="pending",
            transfer_group=intent.transfer_group,
        )
    )


def paid(account: Account, charge: Charge) -> Charge:
    """Book the money of a pending charge: it has succeeded."""
    txn = balance_transactions.for_charge(account, charge, charge.amount, kind="payment")
    return account.charges.put(
        msgspec.structs.replace(
            charge,
            amount_captured=charge.amount,
            balance_transaction=txn.id,
            captured=True,
            paid=True,
            receipt_url=f"https://pay.stripe.com/receipts/payment/{charge.id}",
            status="succeeded",
        )
    )


def bounced(account: Account, charge: Charge, decline: c.Decline) -> Charge:
    """Note that the bank gave no money for a pending charge: it has failed."""
    return account.charges.put(
        msgspec.structs.replace(
            charge,
            failure_code=decline.code,
            failure_message=decline.message,
            outcome=Outcome(
                network_status="declined_by_network",
                reason=decline.code,
                risk_level="not_assessed",
                risk_score=msgspec.UNSET,
                seller_message=f"The bank returned the decline code `{decline.code}`.",
                type="issuer_declined",
            ),
            status="failed",
        )
    )
