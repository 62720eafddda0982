"""Refunds of captured charges, whole or in part.

A plain card's refund succeeds at once; a moment later the bank's reference arrives (`refund.updated`). The two test
cards that say so are refunded pending first, or fail after they succeeded: then the charge's amount goes back up.
"""

from typing import Any

import msgspec

from tillport.simulator import currencies
from tillport.simulator import params as p
from tillport.simulator.account import STRIPE_ITSELF, Account, Origin
from tillport.simulator.errors import ApiError, invalid, missing_object, not_modelled
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources import disputes, early_fraud_warnings
from tillport.simulator.resources.balance_transactions import AVAILABLE_AFTER_SECONDS, BalanceTransaction
from tillport.simulator.resources.charges import Charge, card_of
from tillport.simulator.resources.common import Call, List, Route, difference

# How long the bank takes in the two cases that take time; Stripe says "later".
REFERENCE_SECONDS = 1.0
BANK_SECONDS = 3600.0


class Refund(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    id: str
    object: str = "refund"
    amount: int
    balance_transaction: Any = None
    charge: Any
    created: int
    currency: str
    customer: Any = None
    customer_account: None = None
    destination_details: Any = msgspec.UNSET
    failure_balance_transaction: Any = msgspec.UNSET
    failure_reason: Any = msgspec.UNSET
    metadata: dict[str, str] = EMPTY
    payment_intent: Any = None
    payment_method: Any = None
    pending_reason: Any = msgspec.UNSET
    reason: str | None = None
    receipt_number: str | None = None
    source_transfer_reversal: None = None
    status: str
    transfer_reversal: None = None


CREATE = Spec(
    {
        "amount": currencies.amount,
        "charge": p.reference,
        "payment_intent": p.reference,
        "metadata": p.metadata,
        "reason": p.one_of("duplicate", "fraudulent", "requested_by_customer"),
    },
    unmodelled=frozenset(
        "currency customer instructions_email origin refund_application_fee reverse_transfer".split()
    ),
)
UPDATE = Spec({"metadata": p.metadata})
LIST = p.list_spec(charge=p.string, payment_intent=p.string)


def create(account: Account, call: Call, params: dict[str, Any]) -> Refund:
    """Give back what is left of a charge, or a part of it."""
    charge = _charge(account, params)
    if charge.status != "succeeded":
        raise invalid(f"Charge {charge.id} is {charge.status}: there is nothing to refund.", "charge")
    paid_by = charge.payment_method_details.type
    if paid_by == "customer_balance":
        raise not_modelled("a refund of what a bank transfer paid", "charge")
    if charge.payment_intent is not None and not charge.captured:
        raise invalid(
            f"Charge {charge.id} has not been captured; cancel its PaymentIntent instead.", "charge"
        )
    if charge.disputed and not _refundable(account, charge):
        raise ApiError(
            400, f"Charge {charge.id} has been charged back; cannot issue a refund.", code="charge_disputed"
        )
    # Giving back an authorisation of the Charges API releases all of it.
    held = not charge.captured
    left = (charge.amount if held else charge.amount_captured) - charge.amount_refunded
    if left == 0:
        raise ApiError(400, f"Charge {charge.id} has already been refunded.", code="charge_already_refunded")
    amount = params.get("amount", left)
    if amount > left:
        raise ApiError(
            400,
            f"Refund amount ({currencies.shown(amount, charge.currency)}) is greater than unrefunded amount on charge "
            f"({currencies.shown(left, charge.currency)})",
            param="amount",
        )
    if held and amount < left:
        raise ApiError(
            400,
            "You cannot partially refund an uncaptured charge. Instead, capture the charge for an amount less than the "
            "original amount.",
            param="amount",
        )
    by_card = paid_by == "card"
    # An authorisation is let go at once: no money is under way that could wait, or come back.
    fate = card_of(charge).refund if by_card and not held else None
    pending = fate == "pending"
    refund_id = account.ids.on("re_" if by_card else "pyr_", charge.id[3:19])
    txn = None if pending or held else _book(account, refund_id, charge, -amount, "refund")
    refund = account.refunds.add(
        Refund(
            id=refund_id,
            amount=amount,
            balance_transaction=txn,
            charge=charge.id,
            created=int(account.now()),
            currency=charge.currency,
            customer=charge.customer,
            destination_details=_destination(None) if by_card else msgspec.UNSET,
            metadata=p.merged(EMPTY, params["metadata"]) if params.get("metadata") else EMPTY,
            payment_intent=charge.payment_intent,
            payment_method=charge.payment_method,
            pending_reason="processing" if pending else msgspec.UNSET,
            reason=params.get("reason"),
            status="pending" if pending else "succeeded",
        )
    )
    account.emit("refund.created", refund, call.origin)
    _move(account, charge, amount, call.origin)
    if pending:
        account.schedule(BANK_SECONDS, _settle, refund.id)
    elif fate == "fails":
        account.schedule(BANK_SECONDS, _fail, refund.id)
    elif by_card:
        account.schedule(REFERENCE_SECONDS, _reference, refund.id)
    return refund


def _refundable(account: Account, charge: Charge) -> bool:
    """Tell whether every dispute of a charge leaves it refundable: inquiries do, until they escalate."""
    found = account.disputes.page({"limit": 100}, where={"charge": charge.id}).data
    return all(dispute.is_charge_refundable for dispute in found)


def _charge(account: Account, params: dict[str, Any]) -> Charge:
    if params.get("charge"):
        named = account.charges.get(params["charge"], "charge", status=400)
        if params.get("payment_intent") not in (None, "", named.payment_intent):
            raise invalid(
                f"Charge {named.id} is no charge of {params['payment_intent'][:255]}: give one of the two.",
                "payment_intent",
            )
        return named
    if not params.get("payment_intent"):
        raise invalid(
            "One of the following params should be provided for this request: payment_intent or charge.", None
        )
    intent = account.payment_intents.get(params["payment_intent"], "payment_intent", status=400)
    charge = account.charges.find(intent.latest_charge) if intent.latest_charge else None
    if charge is None or charge.status != "succeeded":
        raise invalid(
            f"This PaymentIntent ({intent.id}) does not have a successful charge to refund.", "payment_intent"
        )
    return charge


def _destination(reference: str | None) -> dict[str, Any]:
    card: dict[str, Any] = {
        "reference_status": "pending" if reference is None else "available",
        "reference_type": "acquirer_reference_number",
        "type": "refund",
    }
    if reference is not None:
        card["reference"] = reference
    return {"card": card, "type": "card"}


def _book(account: Account, refund_id: str, charge: Charge, amount: int, type_: str) -> str:
    now = int(account.now())
    return account.balance_transactions.add(
        BalanceTransaction(
            id=account.ids.on("txn_", charge.id[3:19]),
            amount=amount,
            available_on=now + AVAILABLE_AFTER_SECONDS,
            created=now,
            currency=charge.currency,
            description="REFUND FOR CHARGE" if amount < 0 else "REFUND FAILURE",
            net=amount,
            reporting_category=type_,
            source=refund_id,
            type="payment_" + type_ if refund_id.startswith("pyr_") else type_,
        )
    ).id


def _move(account: Account, charge: Charge, amount: int, origin: Origin) -> None:
    total = charge.amount_refunded + amount
    new = account.charges.put(
        msgspec.structs.replace(
            charge, amount_refunded=total, refunded=total == (charge.amount_captured or charge.amount)
        )
    )
    previous: dict[str, Any] = {"amount_refunded": charge.amount_refunded}
    if new.refunded:
        previous["refunded"] = False
    account.emit("charge.refunded", new, origin, previous)
    if new.refunded:
        disputes.refunded(account, new)
        early_fraud_warnings.no_longer_actionable(account, new.id)


def _changed(account: Account, refund: Refund, previous: dict[str, Any]) -> None:
    account.refunds.put(refund)
    account.emit("refund.updated", refund, STRIPE_ITSELF, previous)
    account.emit("charge.refund.updated", refund, STRIPE_ITSELF, previous)


def _reference(account: Account, refund_id: str) -> None:
    old: Refund = account.refunds.get(refund_id)
    new = msgspec.structs.replace(old, destination_details=_destination(account.ids.digits(16)))
    previous = {"destination_details": {"card": {"reference": None, "reference_status": "pending"}}}
    _changed(account, new, previous)


def _settle(account: Account, refund_id: str) -> None:
    old: Refund = account.refunds.get(refund_id)
    txn = _book(account, old.id, account.charges.get(old.charge), -old.amount, "refund")
    new = msgspec.structs.replace(
        old,
        balance_transaction=txn,
        destination_details=_destination(account.ids.digits(16)),
        pending_reason=msgspec.UNSET,
        status="succeeded",
    )
    _changed(account, new, {"balance_transaction": None, "pending_reason": "processing", "status": "pending"})


def _fail(account: Account, refund_id: str) -> None:
    old: Refund = account.refunds.get(refund_id)
    charge = account.charges.get(old.charge)
    txn = _book(account, old.id, charge, old.amount, "refund_failure")
    new = account.refunds.put(
        msgspec.structs.replace(
            old, failure_balance_transaction=txn, failure_reason="lost_or_stolen_card", status="failed"
        )
    )
    account.charges.put(
        msgspec.structs.replace(charge, amount_refunded=charge.amount_refunded - old.amount, refunded=False)
    )
    account.emit("refund.failed", new, STRIPE_ITSELF, {"status": old.status})
    _changed(
        account, new, {"failure_balance_transaction": None, "failure_reason": None, "status": old.status}
    )


def retrieve(account: Account, call: Call, params: dict[str, Any], refund_id: str) -> Refund:
    found: Refund = account.refunds.get(refund_id, "id")
    return found


def update(account: Account, call: Call, params: dict[str, Any], refund_id: str) -> Refund:
    old = retrieve(account, call, {}, refund_id)
    if "metadata" not in params:
        return old
    new = msgspec.structs.replace(old, metadata=p.merged(old.metadata, params["metadata"]))
    if new.metadata != old.metadata:
        account.refunds.put(new)
        previous = difference(old, new, ("metadata",))
        account.emit("refund.updated", new, call.origin, previous)
        account.emit("charge.refund.updated", new, call.origin, previous)
    return new


def cancel(account: Account, call: Call, params: dict[str, Any], refund_id: str) -> Refund:
    """Refuse: only refunds that wait for the customer's bank details can be canceled, and cards never do."""
    old = retrieve(account, call, {}, refund_id)
    raise invalid(
        f"You cannot cancel this refund because it has a status of {old.status}. Only a refund with one of the "
        "following statuses may be canceled: requires_action.",
        None,
    )


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    page = account.refunds.page(
        params, where={"charge": params.get("charge"), "payment_intent": params.get("payment_intent")}
    )
    return List(data=page.data, has_more=page.has_more, url="/v1/refunds")


def create_for_charge(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> Refund:
    account.charges.get(charge_id, "charge")
    return create(account, call, {**params, "charge": charge_id})


def refund_charge(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> Charge:
    """Refund a charge and return the charge: this older call shows it, and not the refund."""
    create_for_charge(account, call, params, charge_id)
    charge: Charge = account.charges.get(charge_id)
    return charge


def list_of_charge(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> List:
    account.charges.get(charge_id, "charge")
    page = account.refunds.page(params, where={"charge": charge_id})
    return List(data=page.data, has_more=page.has_more, url=f"/v1/charges/{charge_id}/refunds")


def retrieve_of_charge(
    account: Account, call: Call, params: dict[str, Any], charge_id: str, refund_id: str
) -> Refund:
    found = retrieve(account, call, params, refund_id)
    if found.charge != charge_id:
        raise missing_object("refund", refund_id[:255], "refund")
    return found


def update_of_charge(
    account: Account, call: Call, params: dict[str, Any], charge_id: str, refund_id: str
) -> Refund:
    retrieve_of_charge(account, call, {}, charge_id, refund_id)
    return update(account, call, params, refund_id)


_CREATE_BELOW = Spec(
    {k: v for k, v in CREATE.fields.items() if k not in ("charge", "payment_intent")},
    unmodelled=CREATE.unmodelled,
)

ROUTES = (
    Route("POST", "/v1/refunds", create, CREATE),
    Route("GET", "/v1/refunds", list_, LIST),
    Route("GET", "/v1/refunds/{refund}", retrieve),
    Route("POST", "/v1/refunds/{refund}", update, UPDATE),
    Route("POST", "/v1/refunds/{refund}/cancel", cancel),
    Route("POST", "/v1/charges/{charge}/refund", refund_charge, _CREATE_BELOW, name="refund"),
    Route("POST", "/v1/charges/{charge}/refunds", create_for_charge, _CREATE_BELOW, name="create_refund"),
    Route("GET", "/v1/charges/{charge}/refunds", list_of_charge, p.page_spec(), name="list_refunds"),
    Route("GET", "/v1/charges/{charge}/refunds/{refund}", retrieve_of_charge, name="retrieve_refund"),
    Route("POST", "/v1/charges/{charge}/refunds/{refund}", update_of_charge, UPDATE, name="update_refund"),
)
