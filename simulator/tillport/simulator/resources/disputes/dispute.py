"""The dispute itself: its fields, its evidence, and what each test card's dispute is about."""

from typing import Any

import msgspec

from tillport.simulator.params import EMPTY
from tillport.simulator.resources.balance_transactions import BalanceTransaction

TEXTS = tuple(
    "access_activity_log billing_address cancellation_policy_disclosure cancellation_rebuttal customer_email_address "
    "customer_name customer_purchase_ip duplicate_charge_explanation duplicate_charge_id product_description "
    "refund_policy_disclosure refund_refusal_explanation service_date shipping_address shipping_carrier shipping_date "
    "shipping_tracking_number uncategorized_text".split()
)
FILES = tuple(
    "cancellation_policy customer_communication customer_signature duplicate_charge_documentation receipt "
    "refund_policy service_documentation shipping_documentation uncategorized_file".split()
)
NO_EVIDENCE: dict[str, Any] = {
    **dict.fromkeys(sorted((*TEXTS, *FILES))),
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
ELIGIBILITY: dict[str, dict[str, Any]] = {
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
