"""Paying from a customer's cash balance, which a bank transfer fills: the intent waits in `requires_action` until it can.

What the customer has already is applied at once. Whatever arrives later is applied to the customer's waiting intents by
itself (Stripe's automatic reconciliation): the intent whose reference the transfer names; else a group of up to five
that wait for exactly this much, the smallest group first; and in the end the oldest first, the last of them in part
(docs.stripe.com/payments/customer-balance/reconciliation).
"""

from itertools import combinations
from typing import Any

import msgspec

from tillport.simulator.account import Account, Origin
from tillport.simulator.errors import invalid, not_modelled, parameter_missing
from tillport.simulator.resources import bank_transfers, cash, charges
from tillport.simulator.resources.payment_intents.intent import PaymentIntent, note_earlier_charge
from tillport.simulator.resources.payment_methods import PaymentMethod

_ACTION = "display_bank_transfer_instructions"
# Among how many of the oldest intents a group that fits exactly is looked for, and how large a group may be.
_SEEN = 12
_GROUP = 5


def awaits(intent: PaymentIntent) -> bool:
    """Tell whether an intent waits for a bank transfer."""
    return intent.next_action is not None and intent.next_action["type"] == _ACTION


def check_unchanged(intent: PaymentIntent, what: str) -> None:
    """Name as not modelled what would send money back from an intent that waits for more."""
    if awaits(intent):
        raise not_modelled(f"{what} of a PaymentIntent that waits for a bank transfer; cancel it instead")


def check(account: Account, intent: PaymentIntent, method: PaymentMethod, params: dict[str, Any]) -> None:
    """Refuse a payment that no cash balance can make, before anything has happened."""
    if intent.customer is None:
        raise parameter_missing("customer")
    if intent.capture_method == "manual":
        raise invalid(
            "The payment method type customer_balance can't be captured manually.", "capture_method"
        )
    if intent.setup_future_usage is not None:
        raise invalid(
            "The payment method type customer_balance can't be saved for future usage.", "setup_future_usage"
        )
    if params.get("mandate_data"):
        raise not_modelled("a mandate for a bank transfer", "mandate_data")
    options = intent.payment_method_options.customer_balance
    if options.funding_type is not None:
        bank_transfers.check(options, intent.currency)
    if cash.held(account, intent.customer, intent.currency) < intent.amount:
        if options.funding_type is None:
            raise not_modelled(
                "a payment from a cash balance that does not cover it, with no way of funding it"
            )
        if params.get("error_on_requires_action"):
            raise not_modelled("error_on_requires_action with a bank transfer", "error_on_requires_action")


def from_balance(
    account: Account,
    origin: Origin,
    intent: PaymentIntent,
    method: PaymentMethod,
    params: dict[str, Any],
) -> PaymentIntent:
    """Pay from the cash balance, or tell the customer where to send what is missing."""
    held = cash.held(account, intent.customer, intent.currency)
    account.spent_methods.add(method.id)
    intent = msgspec.structs.replace(intent, last_payment_error=None, payment_method=method.id)
    if held >= intent.amount:
        return _applied(account, origin, intent, intent.amount, 0)
    asked = bank_transfers.check(intent.payment_method_options.customer_balance, intent.currency)
    instructions = {
        "amount_remaining": intent.amount,
        "currency": intent.currency,
        "financial_addresses": bank_transfers.addresses(asked, intent.customer),
        "hosted_instructions_url": f"https://payments.stripe.com/bank_transfers/instructions/{intent.id}",
        # In Japan the account alone tells whom the money is from.
        "reference": None if asked.type == "jp_bank_transfer" else account.ids.chars(12).upper(),
        "type": asked.type,
    }
    intent = account.payment_intents.put(
        msgspec.structs.replace(
            intent, next_action={_ACTION: instructions, "type": _ACTION}, status="requires_action"
        )
    )
    account.emit("payment_intent.requires_action", intent, origin)
    return _applied(account, origin, intent, held, intent.amount - held) if held else intent


def _applied(
    account: Account, origin: Origin, intent: PaymentIntent, amount_minor: int, left_minor: int
) -> PaymentIntent:
    """Move money from the balance to an intent, and finish it when nothing is left to be paid."""
    cash.book(
        *(account, origin, intent.customer, intent.currency),
        *(-amount_minor, "applied_to_payment", cash.ForPayment(intent.id)),
    )
    if left_minor:
        assert intent.next_action is not None, "what is paid in part waits for the rest"
        instructions = intent.next_action[_ACTION] | {"amount_remaining": left_minor}
        intent = account.payment_intents.put(
            msgspec.structs.replace(intent, next_action={_ACTION: instructions, "type": _ACTION})
        )
        account.emit("payment_intent.partially_funded", intent, origin)
        return intent
    method: PaymentMethod = account.payment_methods.get(intent.payment_method)
    charge = charges.paid(account, charges.pending(account, intent, method))
    note_earlier_charge(account, intent)
    intent = account.payment_intents.put(
        msgspec.structs.replace(
            intent,
            amount_received=intent.amount,
            latest_charge=charge.id,
            next_action=None,
            status="succeeded",
        )
    )
    account.emit("charge.succeeded", charge, origin)
    account.emit("payment_intent.succeeded", intent, origin)
    return intent


def reconcile(
    account: Account, origin: Origin, customer: str, currency: str, reference: str | None = None
) -> None:
    """Apply what a customer has to what waits for it; `cash_balance.funds_available` tells what is left over."""
    held = cash.held(account, customer, currency)
    # A page is newest first, and the oldest is paid first.
    waiting = account.payment_intents.page(
        {"limit": 1 << 30},
        where={"customer": customer},
        accept=lambda intent: awaits(intent) and intent.currency == currency,
    ).data[::-1]
    first = [i for i in waiting if reference is not None and _told(i)["reference"] == reference]
    first = first or _exactly(waiting, held)
    chosen = {intent.id for intent in first}
    for intent in (*first, *(i for i in waiting if i.id not in chosen)):
        if not held:
            return
        wanted: int = _told(intent)["amount_remaining"]
        part = min(held, wanted)
        _applied(account, origin, intent, part, wanted - part)
        held -= part
    if held:
        account.emit("cash_balance.funds_available", cash.balance_of(account, customer), origin)


def _told(intent: PaymentIntent) -> dict[str, Any]:
    assert intent.next_action is not None, "only what waits is asked"
    told: dict[str, Any] = intent.next_action[_ACTION]
    return told


def _exactly(waiting: list[PaymentIntent], held: int) -> list[PaymentIntent]:
    """Return the smallest and oldest group that waits for exactly so much; empty if there is none."""
    seen = waiting[:_SEEN]
    for size in range(1, _GROUP + 1):
        for group in combinations(seen, size):
            if sum(_told(intent)["amount_remaining"] for intent in group) == held:
                return list(group)
    return []


def give_back(account: Account, origin: Origin, intent: PaymentIntent) -> bool:
    """Return to the customer what an intent had been paid in part before it was canceled; tell whether there was any."""
    applied: int = intent.amount - _told(intent)["amount_remaining"]
    if applied:
        cash.book(
            *(account, origin, intent.customer, intent.currency),
            *(applied, "unapplied_from_payment", cash.ForPayment(intent.id)),
        )
    return bool(applied)
