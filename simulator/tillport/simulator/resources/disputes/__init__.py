"""Disputes: what a cardholder's bank makes of a charge afterwards (docs.stripe.com/disputes, docs.stripe.com/testing).

A charge made with a disputing test card succeeds and is undisputed when its call returns; the dispute stands at the
next look. Then, as time moves:

    chargeback   needs_response → (funds withdrawn) → under_review → won (funds reinstated) | lost
    inquiry      warning_needs_response → warning_under_review → warning_closed | escalated to needs_response

Three texts in `evidence[uncategorized_text]` decide: `winning_evidence`, `losing_evidence`,
`escalate_inquiry_evidence`. Other evidence stays under review until somebody plays the bank (`resolve`). An unanswered
chargeback is lost at its due date; an inquiry is closed after 120 days.
"""

from tillport.simulator.resources.common import Route
from tillport.simulator.resources.disputes.calls import (
    LIST,
    UPDATE,
    close,
    close_of_charge,
    dispute_of_charge,
    list_,
    retrieve,
    update,
    update_of_charge,
)
from tillport.simulator.resources.disputes.course import foresee, refunded, resolve
from tillport.simulator.resources.disputes.dispute import Dispute

ROUTES = (
    Route("GET", "/v1/disputes", list_, LIST),
    Route("GET", "/v1/disputes/{dispute}", retrieve),
    Route("POST", "/v1/disputes/{dispute}", update, UPDATE),
    Route("POST", "/v1/disputes/{dispute}/close", close),
    Route("GET", "/v1/charges/{charge}/dispute", dispute_of_charge, name="retrieve_dispute"),
    Route("POST", "/v1/charges/{charge}/dispute", update_of_charge, UPDATE, name="update_dispute"),
    Route("POST", "/v1/charges/{charge}/dispute/close", close_of_charge, name="close_dispute"),
)

__all__ = ["ROUTES", "Dispute", "foresee", "refunded", "resolve"]
