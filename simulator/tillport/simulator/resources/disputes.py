"""Disputes: what a cardholder's bank makes of a charge afterwards (docs.stripe.com/disputes, docs.stripe.com/testing).

A charge made with a disputing test card succeeds and is undisputed when its call returns; the dispute stands at the
next look. Then, as time moves:

    chargeback   needs_response → (funds withdrawn) → under_review → won (funds reinstated) | lost
    inquiry      warning_needs_response → warning_under_review → warning_closed | escalated to needs_response

Three texts in `evidence[uncategorized_text]` decide: `winning_evidence`, `losing_evidence`,
`escalate_inquiry_evidence`. Other evidence stays under review until somebody plays the bank (`resolve`). An unanswered
chargeback is lost at its due date; an inquiry is closed after 120 days.
"""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator import params as p
from tillport.simulator.account import STRIPE_ITSELF, Account, Origin
from tillport.simulator.errors import ApiError, invalid
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources import balance_transactions, early_fraud_warnings
from tillport.simulator.resources.balance_transactions import BalanceTransaction
from tillport.simulator.resources.common import Call, List, Route, difference

# Next look: the call that made the charge has returned by then.
OPENED_SECONDS = 0.0
WITHDRAWN_SECONDS = 1.0
DECIDED_SECONDS = 0.0
DUE_DAYS = 10
INQUIRY_DAYS = 120

_TEXTS = tuple(
    "access_activity_log billing_address cancellation_policy_disclosure cancellation_rebuttal customer_email_address "
    "customer_name customer_purchase_ip duplicate_charge_explanation duplicate_charge_id product_description "
    "refund_policy_disclosure refund_refusal_explanation service_date shipping_address shipping_carrier shipping_date "
    "shipping_tracking_number uncategorized_text".split()
)
_FILES = tuple(
    "cancellation_policy customer_communication customer_signature duplicate_charge_documentation receipt "
    "refund_policy service_documentation shipping_documentation uncategorized_file".split()
)
NO_EVIDENCE: dict[str, Any] = {
    **dict.fromkeys(sorted((*_TEXTS, *_FILES))),
    "enhanced_evidence": {},
}


class EvidenceDetails(msgspec.Struct, frozen=True, kw_only=True):
    due_by: int | None
    enhanced_eligibility: dict[str, Any] = {}
    has_evidence: bool = False
    past_due: bool = False
    submission_count: int = 0
    submission_method: str = "not_submitted"


class DisputedCard(msgspec.Struct, frozen=True, kw_only=True):
    brand: str
    case_type: str
    network: str
    network_reason_code: str | None


class DisputedMethod(msgspec.Struct, frozen=True):
    card: DisputedCard
    type: str = "card"


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "dispute"
    amount: int
    balance_transaction: str | None = None
    balance_transactions: tuple[BalanceTransaction, ...] = ()
    charge: Any
    created: int
    currency: str
    enhanced_eligibility_types: tuple[str, ...] = ()
    evidence: dict[str, Any] = msgspec.field(default_factory=lambda: NO_EVIDENCE)
    evidence_details: EvidenceDetails
    intended_submission_method: str | None = None
    is_charge_refundable: bool
    livemode: bool = False
    metadata: dict[str, str] = EMPTY
    network_reason_code: str | None
    payment_intent: Any
    payment_method_details: DisputedMethod
    reason: str
    status: str


class Cause(msgspec.Struct, frozen=True):
    """What a test card's dispute is about: Stripe's reason, the network's code, the kind of case."""

    reason: str
    network_code: str | None
    case_type: str = "chargeback"
    eligibility: str | None = None


CAUSES = {
    "fraudulent": Cause("fraudulent", "10.4"),
    "product_not_received": Cause("product_not_received", "13.1"),
    "inquiry": Cause("fraudulent", "10.4", "inquiry"),
    "ce3": Cause("fraudulent", "10.4", eligibility="visa_compelling_evidence_3"),
    "compliance": Cause("noncompliant", None, "compliance", "visa_compliance"),
    "mastercard_compliance": Cause("noncompliant", None, "compliance", "mastercard_compliance"),
    "auto_representment": Cause("fraudulent", "10.4"),
}
_ELIGIBILITY: dict[str, dict[str, Any]] = {
    "visa_compelling_evidence_3": {
        "required_actions": [
            "missing_customer_identifiers",
            "missing_disputed_transaction_description",
            "missing_merchandise_or_services",
            "missing_prior_undisputed_transaction_description",
            "missing_prior_undisputed_transactions",
        ],
        "status": "requires_action",
    },
    "visa_compliance": {"status": "requires_fee_acknowledgement"},
    "mastercard_compliance": {"status": "requires_fee_acknowledgement"},
}

WAITING = ("needs_response", "warning_needs_response")
OPEN = (*WAITING, "under_review", "warning_under_review")


def foresee(account: Account, charge: Any, card: c.Card) -> None:
    """Let a captured charge have the aftermath that its test card promises."""
    if card.dispute_count:
        for index in range(card.dispute_count):
            account.schedule(OPENED_SECONDS + index, _open, account, charge.id, index)
    if card.fraud_warning:
        account.schedule(OPENED_SECONDS, early_fraud_warnings.warn, account, charge.id)


def _open(account: Account, charge_id: str, index: int) -> None:
    charge: Any = account.charges.get(charge_id)
    details = charge.payment_method_details.card
    card = c.by_fingerprint(details.fingerprint)
    cause = CAUSES[card.dispute or "fraudulent"]
    left = charge.amount_captured - charge.amount_refunded
    if left <= 0:
        return
    inquiry = cause.case_type == "inquiry"
    now = int(account.now())
    # A charge disputed more than once is disputed in parts: never more than was paid.
    share = left if card.dispute_count == 1 else max(1, charge.amount_captured // card.dispute_count)
    eligibility = cause.eligibility
    dispute = account.disputes.add(
        Dispute(
            id=account.ids.own("du_"),
            amount=min(share, left),
            charge=charge.id,
            created=now,
            currency=charge.currency,
            enhanced_eligibility_types=(eligibility,) if eligibility else (),
            evidence_details=EvidenceDetails(
                due_by=_due_by(now),
                enhanced_eligibility={eligibility: _ELIGIBILITY[eligibility]} if eligibility else {},
            ),
            is_charge_refundable=inquiry,
            network_reason_code=cause.network_code,
            payment_intent=charge.payment_intent,
            payment_method_details=DisputedMethod(
                DisputedCard(
                    brand=details.brand,
                    case_type=cause.case_type,
                    network=details.network,
                    network_reason_code=cause.network_code,
                )
            ),
            reason=cause.reason,
            status="warning_needs_response" if inquiry else "needs_response",
        )
    )
    account.charges.put(msgspec.structs.replace(charge, disputed=True, dispute=dispute.id))
    early_fraud_warnings.no_longer_actionable(account, charge.id)
    account.emit("charge.dispute.created", dispute)
    if inquiry:
        account.schedule(INQUIRY_DAYS * 86400, _close_inquiry, account, dispute.id)
    else:
        account.schedule(WITHDRAWN_SECONDS, _withdraw, account, dispute.id)
    account.schedule(_due_by(now) + 1 - account.now(), _miss, account, dispute.id)


def _due_by(now: int) -> int:
    """Return the end of the day, ten days on: Stripe's deadlines are ends of days."""
    return (now // 86400 + DUE_DAYS) * 86400 + 86399


# The money ------------------------------------------------------------------------------------------------------


def _withdraw(account: Account, dispute_id: str) -> None:
    """Take the disputed amount and Stripe's fee off the balance, once."""
    dispute: Dispute = account.disputes.get(dispute_id)
    if dispute.balance_transactions:
        return
    txn = balance_transactions.for_dispute(account, dispute, -dispute.amount)
    new = account.disputes.put(
        msgspec.structs.replace(dispute, balance_transaction=txn.id, balance_transactions=(txn,))
    )
    account.emit("charge.dispute.funds_withdrawn", new)


def _reinstate(account: Account, dispute: Dispute) -> None:
    txn = balance_transactions.for_dispute(account, dispute, dispute.amount)
    new = account.disputes.put(
        msgspec.structs.replace(dispute, balance_transactions=(*dispute.balance_transactions, txn))
    )
    account.emit("charge.dispute.funds_reinstated", new)


# The end --------------------------------------------------------------------------------------------------------


def _closed(
    account: Account, dispute: Dispute, status: str, origin: Origin = STRIPE_ITSELF, **changes: Any
) -> Dispute:
    """End a dispute: the money that is due goes first, the event tells how it ended, and a win brings it back."""
    if status in ("won", "lost"):
        _withdraw(account, dispute.id)
        dispute = account.disputes.get(dispute.id)
    new = account.disputes.put(
        msgspec.structs.replace(dispute, status=status, is_charge_refundable=False, **changes)
    )
    account.emit("charge.dispute.closed", new, origin, {"status": dispute.status})
    if status == "won":
        _reinstate(account, new)
    return account.disputes.get(dispute.id)


def _miss(account: Account, dispute_id: str) -> None:
    """Note that nobody answered in time; an unanswered chargeback is lost."""
    dispute: Dispute = account.disputes.get(dispute_id)
    if dispute.status not in WAITING:
        return
    details = msgspec.structs.replace(dispute.evidence_details, past_due=True)
    if dispute.status == "needs_response":
        _closed(account, dispute, "lost", evidence_details=details)
    else:
        account.disputes.put(msgspec.structs.replace(dispute, evidence_details=details))


def _close_inquiry(account: Account, dispute_id: str) -> None:
    dispute: Dispute = account.disputes.get(dispute_id)
    if dispute.status.startswith("warning_") and dispute.status in OPEN:
        _closed(account, dispute, "warning_closed")


def _decide(account: Account, dispute_id: str, text: str) -> None:
    """Let the bank read the magic evidence."""
    dispute: Dispute = account.disputes.get(dispute_id)
    inquiry = dispute.status == "warning_under_review"
    if dispute.status not in ("under_review", "warning_under_review"):
        return
    if text == "escalate_inquiry_evidence":
        if inquiry:
            _escalate(account, dispute)
    elif inquiry:
        _closed(account, dispute, "warning_closed")
    else:
        _closed(account, dispute, "won" if text == "winning_evidence" else "lost")


def _escalate(account: Account, dispute: Dispute) -> None:
    """Turn an inquiry into a chargeback: it wants an answer again, and the money goes."""
    details = dispute.payment_method_details
    due_by = _due_by(int(account.now()))
    new = account.disputes.put(
        msgspec.structs.replace(
            dispute,
            evidence_details=msgspec.structs.replace(dispute.evidence_details, due_by=due_by, past_due=False),
            is_charge_refundable=False,
            payment_method_details=DisputedMethod(
                msgspec.structs.replace(details.card, case_type="chargeback")
            ),
            status="needs_response",
        )
    )
    account.emit(
        "charge.dispute.updated",
        new,
        STRIPE_ITSELF,
        {
            "evidence_details": {"due_by": dispute.evidence_details.due_by},
            "is_charge_refundable": True,
            "payment_method_details": {"card": {"case_type": "inquiry"}},
            "status": dispute.status,
        },
    )
    _withdraw(account, dispute.id)
    account.schedule(due_by + 1 - account.now(), _miss, account, dispute.id)


def resolve(account: Account, dispute_id: str, *, won: bool) -> Dispute:
    """Play the cardholder's bank: decide an open dispute (an inquiry just closes); raise ApiError for a closed one."""
    dispute: Dispute = account.disputes.get(dispute_id, "dispute")
    _check_open(dispute)
    if dispute.status.startswith("warning_"):
        return _closed(account, dispute, "warning_closed")
    return _closed(account, dispute, "won" if won else "lost")


def refunded(account: Account, charge: Any) -> None:
    """Close the inquiries of a charge that has been refunded in full."""
    for dispute in account.disputes.page({"limit": 100}, where={"charge": charge.id}).data:
        if dispute.status in OPEN and dispute.status.startswith("warning_"):
            _closed(account, dispute, "warning_closed")


def _check_open(dispute: Dispute) -> None:
    if dispute.status not in OPEN:
        raise ApiError(400, "This dispute is already closed.", param="dispute")


# Calls ----------------------------------------------------------------------------------------------------------


def _file(value: Any, name: str) -> str:
    read = p.string(value, name)
    if read:
        # A file has to be uploaded first, and files are not modelled: no id can be right.
        raise ApiError(400, f"No such file upload: '{read[:100]}'", code="resource_missing", param=name)
    return read


UPDATE = Spec(
    {
        "evidence": p.hash_of(
            Spec(
                {**dict.fromkeys(_TEXTS, p.text(150_000)), **dict.fromkeys(_FILES, _file)},
                unmodelled=frozenset({"enhanced_evidence", "appeal"}),
            )
        ),
        "metadata": p.metadata,
        "submit": p.boolean,
    },
    unmodelled=frozenset({"intended_submission_method"}),
)
LIST = p.list_spec(charge=p.string, payment_intent=p.string)


def shown(account: Account, dispute: Dispute) -> Dispute:
    txns = tuple(balance_transactions.shown(account, txn) for txn in dispute.balance_transactions)
    return msgspec.structs.replace(dispute, balance_transactions=txns) if txns else dispute


def retrieve(account: Account, call: Call, params: dict[str, Any], dispute_id: str) -> Dispute:
    return shown(account, account.disputes.get(dispute_id, "dispute"))


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    page = account.disputes.page(
        params, where={"charge": params.get("charge"), "payment_intent": params.get("payment_intent")}
    )
    return List(data=[shown(account, d) for d in page.data], has_more=page.has_more, url="/v1/disputes")


def update(account: Account, call: Call, params: dict[str, Any], dispute_id: str) -> Dispute:
    """Stage evidence, or submit it (the default): submitted evidence can't be taken back."""
    old: Dispute = account.disputes.get(dispute_id, "dispute")
    changes: dict[str, Any] = {}
    previous: dict[str, Any] = {}
    if "metadata" in params:
        changes["metadata"] = p.merged(old.metadata, params["metadata"])
        if changes["metadata"] != old.metadata:
            previous |= difference(old, msgspec.structs.replace(old, **changes), ("metadata",))
    evidence = params.get("evidence") or {}
    submit = params.get("submit", bool(evidence))
    if evidence or submit:
        _check_open(old)
        if old.status not in WAITING:
            raise invalid("The evidence of this dispute has already been submitted to the bank.", "evidence")
        given = {k: v or None for k, v in evidence.items()}
        changes["evidence"] = {**old.evidence, **given}
        details = msgspec.structs.replace(
            old.evidence_details,
            has_evidence=any(v for k, v in changes["evidence"].items() if k != "enhanced_evidence"),
            submission_count=old.evidence_details.submission_count + submit,
            submission_method="manual" if submit else old.evidence_details.submission_method,
        )
        changes["evidence_details"] = details
        was = {k: old.evidence[k] for k, v in given.items() if old.evidence[k] != v}
        previous |= {"evidence": was} if was else {}
        moved = {
            k: getattr(old.evidence_details, k)
            for k in ("has_evidence", "submission_count", "submission_method")
            if getattr(old.evidence_details, k) != getattr(details, k)
        }
        previous |= {"evidence_details": moved} if moved else {}
        if submit:
            changes["status"] = "under_review" if old.status == "needs_response" else "warning_under_review"
            previous["status"] = old.status
    new = account.disputes.put(msgspec.structs.replace(old, **changes))
    if previous:
        account.emit("charge.dispute.updated", new, call.origin, previous)
    text = new.evidence["uncategorized_text"]
    if "status" in changes and text in ("winning_evidence", "losing_evidence", "escalate_inquiry_evidence"):
        account.schedule(DECIDED_SECONDS, _decide, account, new.id, text)
    return shown(account, new)


def close(account: Account, call: Call, params: dict[str, Any], dispute_id: str) -> Dispute:
    """Accept the loss: nothing more can be said for the payment."""
    dispute: Dispute = account.disputes.get(dispute_id, "dispute")
    _check_open(dispute)
    ending = "warning_closed" if dispute.status.startswith("warning_") else "lost"
    return shown(account, _closed(account, dispute, ending, call.origin))


def _of_charge(account: Account, charge_id: str) -> str:
    charge = account.charges.get(charge_id, "charge")
    if charge.dispute is None:
        raise ApiError(404, f"No dispute for charge: {charge_id}", code="resource_missing", param="charge")
    found: str = charge.dispute
    return found


def dispute_of_charge(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> Dispute:
    return retrieve(account, call, params, _of_charge(account, charge_id))


def update_of_charge(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> Dispute:
    return update(account, call, params, _of_charge(account, charge_id))


def close_of_charge(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> Dispute:
    return close(account, call, params, _of_charge(account, charge_id))


ROUTES = (
    Route("GET", "/v1/disputes", list_, LIST),
    Route("GET", "/v1/disputes/{dispute}", retrieve),
    Route("POST", "/v1/disputes/{dispute}", update, UPDATE),
    Route("POST", "/v1/disputes/{dispute}/close", close),
    Route("GET", "/v1/charges/{charge}/dispute", dispute_of_charge, name="retrieve_dispute"),
    Route("POST", "/v1/charges/{charge}/dispute", update_of_charge, UPDATE, name="update_dispute"),
    Route("POST", "/v1/charges/{charge}/dispute/close", close_of_charge, name="close_dispute"),
)
