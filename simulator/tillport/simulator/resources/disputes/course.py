"""The course of a dispute: how it arises, what money moves, how it ends."""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator.account import STRIPE_ITSELF, Account, Origin
from tillport.simulator.errors import ApiError
from tillport.simulator.resources import balance_transactions, early_fraud_warnings
from tillport.simulator.resources.common import difference
from tillport.simulator.resources.disputes.dispute import (
    CAUSES,
    ELIGIBILITY,
    OPEN,
    WAITING,
    Dispute,
    DisputedCard,
    DisputedMethod,
    EvidenceDetails,
)

# Next look: the call that made the charge has returned by then.
OPENED_SECONDS = 0.0
WITHDRAWN_SECONDS = 1.0
DECIDED_SECONDS = 0.0
DUE_DAYS = 10
INQUIRY_DAYS = 120


def foresee(account: Account, charge: Any, card: c.Card) -> None:
    """Let a captured charge have the aftermath that its test card promises."""
    if card.dispute_count:
        for index in range(card.dispute_count):
            account.schedule(OPENED_SECONDS + index, _open, charge.id, index)
    if card.fraud_warning:
        account.schedule(OPENED_SECONDS, early_fraud_warnings.warn, charge.id)


def _open(account: Account, charge_id: str, index: int) -> None:
    charge: Any = account.charges.get(charge_id)
    details = charge.payment_method_details.card
    card = c.by_fingerprint(details.fingerprint)
    cause = CAUSES[card.dispute or "fraudulent"]
    earlier = account.disputes.page({"limit": 100}, where={"charge": charge.id}).data
    left = charge.amount_captured - charge.amount_refunded - sum(dispute.amount for dispute in earlier)
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
                enhanced_eligibility={eligibility: ELIGIBILITY[eligibility]} if eligibility else {},
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
        account.schedule(INQUIRY_DAYS * 86400, _close_inquiry, dispute.id)
    else:
        account.schedule(WITHDRAWN_SECONDS, _withdraw, dispute.id)
    account.schedule(_due_by(now) + 1 - account.now(), _miss, dispute.id)


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


def closed(
    account: Account, dispute: Dispute, status: str, origin: Origin = STRIPE_ITSELF, **changes: Any
) -> Dispute:
    """End a dispute: the money that is due goes first, the event tells how it ended, and a win brings it back."""
    if status in ("won", "lost"):
        _withdraw(account, dispute.id)
        dispute = account.disputes.get(dispute.id)
    # What the bank did not take, or gave back, the merchant may still refund.
    new = account.disputes.put(
        msgspec.structs.replace(dispute, status=status, is_charge_refundable=status != "lost", **changes)
    )
    previous = difference(dispute, new, ("is_charge_refundable", "status"))
    account.emit("charge.dispute.closed", new, origin, previous)
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
        closed(account, dispute, "lost", evidence_details=details)
    else:
        account.disputes.put(msgspec.structs.replace(dispute, evidence_details=details))


def _close_inquiry(account: Account, dispute_id: str) -> None:
    dispute: Dispute = account.disputes.get(dispute_id)
    if dispute.status.startswith("warning_") and dispute.status in OPEN:
        closed(account, dispute, "warning_closed")


def decide(account: Account, dispute_id: str, text: str) -> None:
    """Let the bank read the magic evidence."""
    dispute: Dispute = account.disputes.get(dispute_id)
    inquiry = dispute.status == "warning_under_review"
    if dispute.status not in ("under_review", "warning_under_review"):
        return
    if text == "escalate_inquiry_evidence":
        if inquiry:
            _escalate(account, dispute)
    elif inquiry:
        closed(account, dispute, "warning_closed")
    else:
        closed(account, dispute, "won" if text == "winning_evidence" else "lost")


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
    account.schedule(due_by + 1 - account.now(), _miss, dispute.id)


def resolve(account: Account, dispute_id: str, *, won: bool) -> Dispute:
    """Play the cardholder's bank: decide an open dispute (an inquiry just closes); raise ApiError for a closed one."""
    dispute: Dispute = account.disputes.get(dispute_id, "dispute")
    check_open(dispute)
    if dispute.status.startswith("warning_"):
        return closed(account, dispute, "warning_closed")
    return closed(account, dispute, "won" if won else "lost")


def refunded(account: Account, charge: Any) -> None:
    """Close the inquiries of a charge that has been refunded in full."""
    for dispute in account.disputes.page({"limit": 100}, where={"charge": charge.id}).data:
        if dispute.status in OPEN and dispute.status.startswith("warning_"):
            closed(account, dispute, "warning_closed")


def check_open(dispute: Dispute) -> None:
    if dispute.status not in OPEN:
        raise ApiError(400, "This dispute is already closed.", param="dispute")
