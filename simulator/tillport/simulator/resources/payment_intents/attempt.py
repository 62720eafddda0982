"""One attempt to pay: the charge, the intent's next state, the events, and the 402 of a decline."""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator.account import Account, Origin
from tillport.simulator.errors import doc_url
from tillport.simulator.resources import balance_transactions, charges, disputes, payment_methods
from tillport.simulator.resources.payment_intents.completion import expire
from tillport.simulator.resources.payment_intents.intent import PaymentIntent, note_earlier_charge
from tillport.simulator.resources.payment_methods import PaymentMethod
from tillport.simulator.resources.three_d_secure import ThreeDSecure


def attempt(
    account: Account,
    origin: Origin,
    intent: PaymentIntent,
    method: PaymentMethod,
    decline: c.Decline | None,
    three_d_secure: ThreeDSecure | None = None,
) -> PaymentIntent:
    """Ask the bank once: make the charge, move the intent, emit the events; raise the 402 of a decline."""
    capture = intent.capture_method != "manual"
    card = c.by_fingerprint(method.card.fingerprint)
    charge = charges.make(
        account,
        stem=intent.id[3:19],
        amount_minor=intent.amount,
        currency=intent.currency,
        method=method,
        decline=decline,
        capture=capture,
        three_d_secure=three_d_secure,
        customer=intent.customer,
        description=intent.description,
        metadata=intent.metadata,
        payment_intent=intent.id,
        receipt_email=intent.receipt_email,
        shipping=intent.shipping,
        statement_descriptor=intent.statement_descriptor,
        statement_descriptor_suffix=intent.statement_descriptor_suffix,
        transfer_group=intent.transfer_group,
    )
    note_earlier_charge(account, intent)
    if decline is not None:
        failed = failed_attempt(account, origin, intent, method, decline, charge)
        raise charges.declined(charge, decline, payment_intent=failed, payment_method=method)
    if capture and intent.capture_method == "automatic":
        txn = balance_transactions.for_charge(account, charge, charge.amount, at_once=card.bypass_pending)
        charge = account.charges.put(msgspec.structs.replace(charge, balance_transaction=txn.id))
    intent = account.payment_intents.put(
        msgspec.structs.replace(
            intent,
            amount_capturable=0 if capture else intent.amount,
            amount_received=intent.amount if capture else 0,
            last_payment_error=None,
            latest_charge=charge.id,
            next_action=None,
            payment_method=method.id,
            status="succeeded" if capture else "requires_capture",
        )
    )
    account.emit("charge.succeeded", charge, origin)
    if method.customer is None:
        keep(account, origin, intent, method)
    if capture:
        account.emit("payment_intent.succeeded", intent, origin)
        disputes.foresee(account, charge, card)
        if charge.balance_transaction is None:
            account.schedule(account.settle_seconds, charges.settle, charge.id)
    else:
        account.emit("payment_intent.amount_capturable_updated", intent, origin)
        account.schedule(charges.AUTHORISED_SECONDS, expire, intent.id)
    return intent


def keep(account: Account, origin: Origin, intent: PaymentIntent, method: PaymentMethod) -> None:
    """Save what paid to the customer, if that was asked for; otherwise it has paid its once."""
    # A customer may have been deleted while the payment was open.
    known = intent.customer is not None and account.customers.find(intent.customer) is not None
    if intent.setup_future_usage is not None and known:
        payment_methods.attached(account, origin, method, intent.customer)
    else:
        account.spent_methods.add(method.id)
        if intent.setup_future_usage is not None:
            account.saveable_methods.add(method.id)


def failed_attempt(
    account: Account,
    origin: Origin,
    intent: PaymentIntent,
    method: PaymentMethod,
    decline: c.Decline,
    charge: charges.Charge | None,
) -> PaymentIntent:
    error: dict[str, Any] = {
        "code": decline.code,
        "doc_url": doc_url(decline.code),
        "message": decline.message,
    }
    if charge is not None:
        error = {"charge": charge.id, **error}
        if charge.outcome is not None and charge.outcome.advice_code is not None:
            error["advice_code"] = charge.outcome.advice_code
    if decline.decline_code is not None:
        error["decline_code"] = decline.decline_code
    if decline.param is not None:
        error["param"] = decline.param
    error["payment_method"] = method
    error["type"] = "card_error" if charge is not None else "invalid_request_error"
    failed = account.payment_intents.put(
        msgspec.structs.replace(
            intent,
            last_payment_error=error,
            latest_charge=charge.id if charge is not None else intent.latest_charge,
            next_action=None,
            payment_method=None,
            status="requires_payment_method",
        )
    )
    if charge is not None:
        account.emit("charge.failed", charge, origin)
    account.emit("payment_intent.payment_failed", failed, origin)
    return failed
