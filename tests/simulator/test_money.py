"""Whatever is done to payments, in any order: the money adds up, and each charge, refund and dispute agrees with it."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from tillport.simulator import ApiError, ManualClock, Simulator

CARDS = (
    "visa refundFail pendingRefund bypassPending createDispute createDisputeInquiry createMultipleDisputes "
    "createIssuerFraudRecord chargeDeclined"
).split()


class Merchant(RuleBasedStateMachine):
    """Pay, capture, refund, answer disputes and wait, in any order."""

    charges = Bundle("charges")

    def __init__(self) -> None:
        super().__init__()
        self.sim = Simulator(clock=ManualClock(), seed=11)

    @rule(target=charges, name=st.sampled_from(CARDS), amount=st.integers(50, 3000), manual=st.booleans())
    def pay(self, name: str, amount: int, manual: bool) -> Any:
        method = "manual" if manual else "automatic_async"
        try:
            intent = self.sim.payment_intents.create(
                amount=amount,
                currency="usd",
                confirm=True,
                payment_method=f"pm_card_{name}",
                capture_method=method,
            )
        except ApiError as error:
            return error.fields["charge"]
        return intent.latest_charge

    @rule(target=charges, name=st.sampled_from(CARDS), amount=st.integers(50, 3000), capture=st.booleans())
    def charge(self, name: str, amount: int, capture: bool) -> Any:
        try:
            made = self.sim.charges.create(
                amount=amount, currency="usd", source=f"tok_{name}", capture=capture
            )
        except ApiError:
            return multiple()
        return made.id

    @rule(charge=charges, amount=st.integers(1, 3000))
    def capture(self, charge: str, amount: int) -> None:
        found = self.sim.charges.retrieve(charge)
        try:
            if found.payment_intent is None:
                self.sim.charges.capture(charge, amount=amount)
            else:
                self.sim.payment_intents.capture(found.payment_intent, amount_to_capture=amount)
        except ApiError as error:
            assert error.status == 400  # noqa: PT017 - a refusal is a legal answer here; its kind is what is judged

    @rule(charge=charges, amount=st.none() | st.integers(1, 3000))
    def refund(self, charge: str, amount: int | None) -> None:
        before = self.sim.charges.retrieve(charge)
        try:
            made = self.sim.refunds.create(charge=charge, **({} if amount is None else {"amount": amount}))
        except ApiError:
            assert self.sim.charges.retrieve(charge).amount_refunded == before.amount_refunded
        else:
            after = self.sim.charges.retrieve(charge)
            assert after.amount_refunded == before.amount_refunded + made.amount

    @rule(won=st.booleans())
    def decide(self, won: bool) -> None:
        for dispute in self.sim.disputes.list().data:
            if dispute.status not in ("won", "lost", "warning_closed"):
                self.sim.resolve_dispute(dispute.id, won=won)
                return

    @rule(seconds=st.sampled_from([1, 10, 3700, 86400, 12 * 86400]))
    def wait(self, seconds: int) -> None:
        self.sim.advance(seconds)

    @invariant()
    def every_charge_agrees_with_its_refunds(self) -> None:
        for charge in self.sim.charges.list(limit=100).data:
            most = charge.amount_captured or charge.amount
            assert 0 <= charge.amount_refunded <= most <= charge.amount
            alive = [
                r for r in self.sim.refunds.list(charge=charge.id, limit=100).data if r.status != "failed"
            ]
            assert charge.amount_refunded == sum(refund.amount for refund in alive)
            assert charge.refunded == (charge.status == "succeeded" and charge.amount_refunded == most)
            if charge.status == "failed":
                assert (charge.paid, charge.captured, charge.amount_captured) == (False, False, 0)

    @invariant()
    def every_dispute_has_the_money_its_status_says(self) -> None:
        for dispute in self.sim.disputes.list(limit=100).data:
            amounts = [txn.amount for txn in dispute.balance_transactions]
            expected: dict[str, list[list[int]]] = {
                "needs_response": [[], [-dispute.amount]],
                "under_review": [[], [-dispute.amount]],
                "lost": [[-dispute.amount]],
                "won": [[-dispute.amount, dispute.amount]],
            }
            assert amounts in expected.get(dispute.status, [[]])

    @invariant()
    def the_books_hold_what_was_taken_and_given_back_and_nothing_else(self) -> None:
        account = self.sim.account
        booked: dict[str, int] = {}
        for txn in account.balance_transactions:
            booked[txn.source] = booked.get(txn.source, 0) + txn.amount
        taken = {c.id: c.amount_captured for c in account.charges if c.balance_transaction is not None}
        given = {
            refund.id: -refund.amount
            for refund in account.refunds
            if refund.status == "succeeded" and account.charges.get(refund.charge).captured
        }
        disputed = {d.id: sum(txn.amount for txn in d.balance_transactions) for d in account.disputes}
        assert {k: v for k, v in booked.items() if v} == {
            k: v for k, v in (taken | given | disputed).items() if v
        }

    @invariant()
    def the_balance_is_the_sum_of_its_transactions(self) -> None:
        nets = sum(txn.net for txn in self.sim.balance_transactions.list(limit=100).data)
        balance = self.sim.balance.retrieve()
        shown = sum(part["amount"] for part in (*balance["available"], *balance["pending"]))
        assert shown == nets or len(self.sim.account.balance_transactions) > 100


TestMerchant = Merchant.TestCase
TestMerchant.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
