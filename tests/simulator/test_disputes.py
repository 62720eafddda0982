"""Disputes and early fraud warnings: how they arise, what money moves, how they end."""

from typing import Any

import pytest

from tillport.simulator import ApiError, Simulator

PAY: dict[str, Any] = {"amount": 2000, "currency": "usd", "confirm": True}


def types(sim: Simulator, prefix: str = "") -> list[str]:
    return [e.type for e in reversed(sim.events.list(limit=100).data) if e.type.startswith(prefix)]


def disputed(sim: Simulator, name: str = "createDispute") -> Any:
    intent = sim.payment_intents.create(**PAY, payment_method=f"pm_card_{name}")
    return sim.disputes.list(payment_intent=intent.id).data[0]


def test_the_dispute_comes_after_the_calls_return(sim: Simulator) -> None:
    intent = sim.payment_intents.create(
        **PAY, payment_method="pm_card_createDispute", expand=["latest_charge"]
    )
    assert (intent.status, intent.latest_charge.disputed) == ("succeeded", False)
    charge = sim.charges.retrieve(intent.latest_charge.id)
    assert (charge.disputed, charge.status) == (True, "succeeded")
    dispute = sim.disputes.list(charge=charge.id).data[0]
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "fraudulent", 2000)
    assert (dispute.is_charge_refundable, dispute.balance_transactions) == (False, ())
    assert types(sim, "charge.dispute") == ["charge.dispute.created"]
    assert sim.payment_intents.retrieve(intent.id).status == "succeeded"


def test_the_money_goes_a_moment_later(sim: Simulator) -> None:
    dispute = disputed(sim)
    sim.advance(5)
    assert types(sim, "charge.dispute") == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    event = sim.events.list(type="charge.dispute.funds_withdrawn").data[0]
    assert (event.request.id, event.request.idempotency_key) == (None, None)
    (txn,) = sim.disputes.retrieve(dispute.id).balance_transactions
    assert (txn.amount, txn.fee, txn.net, txn.type) == (-2000, 1500, -3500, "adjustment")
    with pytest.raises(ApiError) as caught:
        sim.refunds.create(charge=dispute.charge)
    assert caught.value.code == "charge_disputed"


@pytest.mark.parametrize(
    ("text", "status", "events"),
    [
        (
            "winning_evidence",
            "won",
            ["charge.dispute.updated", "charge.dispute.closed", "charge.dispute.funds_reinstated"],
        ),
        ("losing_evidence", "lost", ["charge.dispute.updated", "charge.dispute.closed"]),
    ],
)
def test_the_evidence_decides(sim: Simulator, text: str, status: str, events: list[str]) -> None:
    dispute = disputed(sim)
    sim.advance(5)
    answered = sim.disputes.update(dispute.id, evidence={"uncategorized_text": text})
    assert (answered.status, answered.evidence_details.submission_count) == ("under_review", 1)
    assert sim.disputes.retrieve(dispute.id).status == status
    assert types(sim, "charge.dispute")[2:] == events
    update = sim.events.list(type="charge.dispute.updated").data[0]
    assert update.data.previous_attributes == {
        "evidence": {"uncategorized_text": None},
        "evidence_details": {
            "has_evidence": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "status": "needs_response",
    }
    amounts = [txn.amount for txn in sim.disputes.retrieve(dispute.id).balance_transactions]
    assert amounts == ([-2000, 2000] if status == "won" else [-2000])


def test_staged_evidence_can_change_and_submitted_evidence_cannot(sim: Simulator) -> None:
    dispute = disputed(sim)
    staged = sim.disputes.update(dispute.id, evidence={"customer_name": "A"}, submit=False)
    assert (staged.status, staged.evidence["customer_name"]) == ("needs_response", "A")
    staged = sim.disputes.update(dispute.id, evidence={"customer_name": ""}, submit=False)
    assert (staged.evidence["customer_name"], staged.evidence_details.has_evidence) == (None, False)
    assert sim.disputes.update(dispute.id, metadata={"k": "v"}).status == "needs_response"
    assert sim.disputes.update(dispute.id, evidence={"customer_name": "B"}).status == "under_review"
    with pytest.raises(ApiError, match="already been submitted"):
        sim.disputes.update(dispute.id, evidence={"customer_name": "C"})
    sim.advance(200 * 86400)
    assert sim.disputes.retrieve(dispute.id).status == "under_review"


def test_all_evidence_together_has_a_limit(sim: Simulator) -> None:
    dispute = disputed(sim)
    sim.disputes.update(dispute.id, evidence={"product_description": "x" * 100_000}, submit=False)
    with pytest.raises(ApiError, match="combined character count") as caught:
        sim.disputes.update(dispute.id, evidence={"refund_refusal_explanation": "x" * 50_001})
    assert (caught.value.status, caught.value.param) == (400, "evidence")
    assert sim.disputes.retrieve(dispute.id).status == "needs_response"
    full = sim.disputes.update(dispute.id, evidence={"refund_refusal_explanation": "x" * 50_000})
    assert full.status == "under_review"


def test_accepting_the_loss_takes_the_money_first(sim: Simulator) -> None:
    dispute = disputed(sim)
    closed = sim.disputes.close(dispute.id)
    assert (closed.status, len(closed.balance_transactions)) == ("lost", 1)
    assert types(sim, "charge.dispute") == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.closed",
    ]
    with pytest.raises(ApiError, match="already closed"):
        sim.disputes.close(dispute.id)


def test_an_unanswered_chargeback_is_lost(sim: Simulator) -> None:
    dispute = disputed(sim)
    sim.advance(dispute.evidence_details.due_by - dispute.created)
    assert sim.disputes.retrieve(dispute.id).status == "needs_response"
    sim.advance(2)
    lost = sim.disputes.retrieve(dispute.id)
    assert (lost.status, lost.evidence_details.past_due) == ("lost", True)


def test_an_inquiry_takes_no_money_and_a_full_refund_ends_it(sim: Simulator) -> None:
    dispute = disputed(sim, "createDisputeInquiry")
    sim.advance(5)
    assert (dispute.status, dispute.is_charge_refundable) == ("warning_needs_response", True)
    assert types(sim, "charge.dispute") == ["charge.dispute.created"]
    sim.refunds.create(charge=dispute.charge)
    assert sim.disputes.retrieve(dispute.id).status == "warning_closed"


def test_an_inquiry_may_escalate(sim: Simulator) -> None:
    dispute = disputed(sim, "createDisputeInquiry")
    review = sim.disputes.update(dispute.id, evidence={"uncategorized_text": "escalate_inquiry_evidence"})
    assert review.status == "warning_under_review"
    now = sim.disputes.retrieve(dispute.id)
    assert (now.status, now.is_charge_refundable, len(now.balance_transactions)) == (
        "needs_response",
        False,
        1,
    )
    assert now.payment_method_details.card.case_type == "chargeback"
    assert types(sim, "charge.dispute")[-2:] == ["charge.dispute.updated", "charge.dispute.funds_withdrawn"]


def test_a_lost_inquiry_is_closed_and_so_is_an_old_one(sim: Simulator) -> None:
    answered, ignored = disputed(sim, "createDisputeInquiry"), disputed(sim, "createDisputeInquiry")
    sim.disputes.update(answered.id, evidence={"uncategorized_text": "losing_evidence"})
    assert sim.disputes.retrieve(answered.id).status == "warning_closed"
    sim.advance(121 * 86400)
    assert sim.disputes.retrieve(ignored.id).status == "warning_closed"


@pytest.mark.parametrize(
    ("name", "won", "refundable"),
    [("createDispute", True, True), ("createDispute", False, False), ("createDisputeInquiry", True, True)],
)
def test_what_the_bank_left_can_be_refunded_after_the_end(
    sim: Simulator, name: str, won: bool, refundable: bool
) -> None:
    dispute = disputed(sim, name)
    ended = sim.resolve_dispute(dispute.id, won=won)
    assert ended.is_charge_refundable is refundable
    event = sim.events.list(type="charge.dispute.closed").data[0]
    expected = {"status": dispute.status}
    if refundable and not dispute.is_charge_refundable:
        expected["is_charge_refundable"] = False
    assert event.data.previous_attributes == expected
    if refundable:
        assert sim.refunds.create(charge=dispute.charge).status == "succeeded"
    else:
        with pytest.raises(ApiError, match="has been charged back"):
            sim.refunds.create(charge=dispute.charge)


def test_a_charge_may_be_disputed_in_parts(sim: Simulator) -> None:
    intent = sim.payment_intents.create(**PAY, payment_method="pm_card_createMultipleDisputes")
    sim.advance(10)
    found = sim.disputes.list(charge=intent.latest_charge).data
    assert [d.amount for d in found] == [1000, 1000]


def test_no_more_is_disputed_than_was_paid(sim: Simulator) -> None:
    intent = sim.payment_intents.create(
        **PAY, payment_method="pm_card_createMultipleDisputes", capture_method="manual"
    )
    sim.payment_intents.capture(intent.id, amount_to_capture=1)
    sim.advance(10)
    assert [dispute.amount for dispute in sim.disputes.list().data] == [1]


@pytest.mark.parametrize(
    ("name", "reason", "case_type", "eligibility"),
    [
        ("createDisputeProductNotReceived", "product_not_received", "chargeback", ()),
        ("createCe3EligibleDispute", "fraudulent", "chargeback", ("visa_compelling_evidence_3",)),
        ("createComplianceDispute", "noncompliant", "compliance", ("visa_compliance",)),
        ("createMastercardComplianceDispute", "noncompliant", "compliance", ("mastercard_compliance",)),
        ("createAutoRepresentmentEligibleDispute", "fraudulent", "chargeback", ()),
    ],
)
def test_each_cards_dispute_is_about_what_its_name_says(
    sim: Simulator, name: str, reason: str, case_type: str, eligibility: tuple[str, ...]
) -> None:
    dispute = disputed(sim, name)
    assert (dispute.reason, dispute.payment_method_details.card.case_type) == (reason, case_type)
    assert dispute.enhanced_eligibility_types == eligibility


def test_an_issuers_warning_comes_without_a_dispute_and_ends_with_a_refund(sim: Simulator) -> None:
    charge = sim.charges.create(amount=2000, currency="usd", source="tok_createIssuerFraudRecord")
    (warning,) = sim.early_fraud_warnings.list(charge=charge.id, expand=["data.charge"]).data
    assert (warning.actionable, warning.charge.id, warning.charge.disputed) == (True, charge.id, False)
    assert types(sim, "radar") == ["radar.early_fraud_warning.created"]
    sim.refunds.create(charge=charge.id)
    assert sim.early_fraud_warnings.retrieve(warning.id).actionable is False
    assert types(sim, "radar")[-1] == "radar.early_fraud_warning.updated"


def test_a_capture_is_what_gets_disputed(sim: Simulator) -> None:
    intent = sim.payment_intents.create(
        **PAY, payment_method="pm_card_createDispute", capture_method="manual"
    )
    sim.advance(10)
    assert sim.disputes.list().data == []
    sim.payment_intents.capture(intent.id, amount_to_capture=500)
    assert [d.amount for d in sim.disputes.list().data] == [500]
