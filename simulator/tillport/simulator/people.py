"""What people do that no call of the API can: at the bank's page, at the cardholder's bank, in the Dashboard."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from tillport.simulator.account import Account
from tillport.simulator.deliveries import EventView
from tillport.simulator.resources import disputes, events, payment_intents, setup_intents, webhook_endpoints
from tillport.simulator.resources.disputes import Dispute
from tillport.simulator.resources.webhook_endpoints import WebhookEndpoint


class People:
    """The part of a simulator that plays people; `Simulator` has the account that they act on."""

    account: Account
    lock: AbstractContextManager[Any]
    on_change: Callable[[], None] | None

    def authenticate(self, intent_id: str, *, succeed: bool = True) -> Any:
        """Pass or fail the bank's 3-D Secure challenge of an intent in `requires_action`; raise ApiError otherwise."""
        act = setup_intents.authenticate if intent_id.startswith("seti_") else payment_intents.authenticate
        with self.lock:
            self.account.run_until(self.account.now())
            intent = act(self.account, intent_id, succeed=succeed)
        if self.on_change is not None:
            self.on_change()
        return intent

    def send_event(
        self, type_: str, about: Mapping[str, Any], *, previous_attributes: Mapping[str, Any] | None = None
    ) -> EventView:
        """Record an event of your own making and queue it for every endpoint that listens; raise ApiError for no event.

        >>> from tillport.simulator import ManualClock, Simulator
        >>> sim = Simulator(clock=ManualClock(), seed=7)
        >>> sim.send_event("invoice.paid", {"id": "in_1", "object": "invoice", "amount_paid": 500}).type
        'invoice.paid'
        """
        with self.lock:
            self.account.run_until(self.account.now())
            event = events.own(self.account, type_, about, previous_attributes)
        if self.on_change is not None:
            self.on_change()
        return event

    def roll_secret(self, endpoint_id: str, *, keep_seconds: float = 0.0) -> WebhookEndpoint:
        """Give an endpoint a new signing secret; the old one signs beside it for `keep_seconds`, at most a day."""
        with self.lock:
            self.account.run_until(self.account.now())
            return webhook_endpoints.roll_secret(self.account, endpoint_id, keep_seconds=keep_seconds)

    def resolve_dispute(self, dispute_id: str, *, won: bool) -> Dispute:
        """Play the cardholder's bank: decide an open dispute (an inquiry just closes); raise ApiError for a closed one."""
        with self.lock:
            self.account.run_until(self.account.now())
            dispute = disputes.resolve(self.account, dispute_id, won=won)
        if self.on_change is not None:
            self.on_change()
        return dispute
