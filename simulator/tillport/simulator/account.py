"""One private Stripe account: its objects, its clock, its chance, its queue of what falls due.

Resources read and write an account; nothing here knows about HTTP. Work that comes later (a balance transaction, a
retry) waits in one queue and is run in the order in which it falls due, each at its own moment, when somebody asks
`run_until(now)`: virtual time may jump by a week and everything inside the week happens in order.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import msgspec

from tillport.simulator.clock import Clock
from tillport.simulator.collection import Collection
from tillport.simulator.deliveries import DEFAULT_VERSION, Deliveries
from tillport.simulator.faults import FaultPlan, Faults
from tillport.simulator.idempotency import Idempotency
from tillport.simulator.ids import Ids, stem_of
from tillport.simulator.sums import Sums

if TYPE_CHECKING:
    from tillport.simulator.journal import Journal
    from tillport.simulator.resources.balance_transactions import BalanceTransaction
    from tillport.simulator.resources.cash import CashTransaction
    from tillport.simulator.resources.charges import Charge
    from tillport.simulator.resources.confirmation_tokens import ConfirmationToken
    from tillport.simulator.resources.customers import Customer
    from tillport.simulator.resources.disputes import Dispute
    from tillport.simulator.resources.early_fraud_warnings import EarlyFraudWarning
    from tillport.simulator.resources.event_destinations import EventDestination
    from tillport.simulator.resources.payment_intents import PaymentIntent
    from tillport.simulator.resources.payment_methods import PaymentMethod
    from tillport.simulator.resources.refunds import Refund
    from tillport.simulator.resources.setup_attempts import SetupAttempt
    from tillport.simulator.resources.setup_intents import SetupIntent
    from tillport.simulator.resources.three_d_secure import ThreeDSecure
    from tillport.simulator.resources.tokens import CardSource, Token
    from tillport.simulator.resources.webhook_endpoints import WebhookEndpoint

API_VERSION = DEFAULT_VERSION


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The API request that caused an event: `event.request`; both null when Stripe itself did."""

    id: str | None = None
    idempotency_key: str | None = None


STRIPE_ITSELF = Origin()


class Event(msgspec.Struct, gc=False):
    """What an event keeps: a reference to the object's version of that moment. Its JSON is made when asked for."""

    id: str
    type: str
    created: int
    object: Any
    request: Origin
    previous: dict[str, Any] | None = None


class Job(msgspec.Struct, frozen=True, gc=False):
    """Work for later: what to call, with the account and these ids. It must not hold the account itself: no cycle."""

    work: Callable[..., None]
    args: tuple[str | int, ...]


class Account:
    """Hold the state of one account."""

    def __init__(
        self,
        *,
        clock: Clock,
        seed: int | str,
        faults: Faults,
        secret_key: str,
        publishable_key: str,
        retry_seconds: tuple[float, ...],
        settle_seconds: float,
        name: str = "",
    ) -> None:
        self.clock = clock
        # The name of a private account; the simulator's own has none.
        self.name = name
        self.journal: Journal | None = None
        self.seed = seed
        # The API version that the call at work names; empty where it names none.
        self.version = API_VERSION
        self.secret_key = secret_key
        self.publishable_key = publishable_key
        self.settle_seconds = settle_seconds
        self.livemode = False
        # Where pages for people live (3-D Secure): the server puts its own address here.
        self.base_url = "https://simulator.invalid"
        self.currency = "usd"
        self.search_lag_seconds = 0.0
        self.country = "US"
        self.ids = Ids(seed)
        self.id = "acct_1" + self.ids.chars(5) + self.ids.tail
        self.faults = FaultPlan(faults, seed)
        self.created = int(clock.now())
        self.sums = Sums()
        self.idempotency = Idempotency()
        self.deliveries = Deliveries(self, retry_seconds)
        self.tokens: Collection[Token] = Collection("token")
        self.payment_methods: Collection[PaymentMethod] = Collection("payment_method", indexed=("customer",))
        self.payment_intents: Collection[PaymentIntent] = Collection("payment_intent", indexed=("customer",))
        self.charges: Collection[Charge] = Collection("charge", indexed=("customer", "transfer_group"))
        self.balance_transactions: Collection[BalanceTransaction] = Collection("balance_transaction")
        self.cards: Collection[CardSource] = Collection("source", indexed=("customer",))
        self.disputes: Collection[Dispute] = Collection("dispute", indexed=("charge", "payment_intent"))
        self.early_fraud_warnings: Collection[EarlyFraudWarning] = Collection(
            "early_fraud_warning", indexed=("charge", "payment_intent")
        )
        self.setup_intents: Collection[SetupIntent] = Collection(
            "setup_intent", indexed=("customer", "payment_method")
        )
        self.setup_attempts: Collection[SetupAttempt] = Collection("setup_attempt", indexed=("setup_intent",))
        self.confirmation_tokens: Collection[ConfirmationToken] = Collection("confirmation_token")
        # What an unspent confirmation token stands for.
        self.confirmation_methods: dict[str, PaymentMethod] = {}
        # Challenges that were passed and wait for the server's own confirmation: intent → (method, the bank's answer).
        self.authenticated: dict[str, tuple[str, ThreeDSecure]] = {}
        # Payment methods whose owner has agreed, at the bank, to payments while away.
        self.set_up_methods: set[str] = set()
        # Payment methods that paid once, or left their customer: without a customer they pay no more.
        self.spent_methods: set[str] = set()
        # Those of them that were set up for more: they may still be saved to a customer.
        self.saveable_methods: set[str] = set()
        self.customers: Collection[Customer] = Collection("customer", indexed=("email",))
        self.deleted_customers: set[str] = set()
        self.refunds: Collection[Refund] = Collection("refund", indexed=("charge", "payment_intent"))
        self.webhook_endpoints: Collection[WebhookEndpoint] = Collection("webhook_endpoint")
        self.event_destinations: Collection[EventDestination] = Collection("event_destination")
        self.events: Collection[Event] = Collection("event", indexed=("type",))
        # What customers have paid by bank transfer and not yet spent: customer → currency → minor units.
        self.cash: dict[str, dict[str, int]] = {}
        self.cash_balance_transactions: Collection[CashTransaction] = Collection(
            "customer_cash_balance_transaction", indexed=("customer",)
        )
        # Only intents with more than one charge need a list; the latest is on the intent itself.
        self.earlier_charges: dict[str, tuple[str, ...]] = {}
        self._jobs: list[tuple[float, int, Job]] = []
        self._sequence = 0
        self._moment: float | None = None
        self._second = 0

    # Time ----------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the time: the clock's, or the moment of the call or of the late job that is at work."""
        moment = self._moment
        return self.clock.now() if moment is None else moment

    def at_one_moment(self, work: Callable[..., Any], *args: Any) -> Any:
        """Return `work(self, *args)`; all of it happens at the moment at which it begins, and the clock is asked once."""
        self._moment = self.clock.now()
        try:
            return work(self, *args)
        finally:
            self._moment = None

    def second(self) -> int:
        """Return the time in whole seconds, as objects show it; one int serves all that happens within a second."""
        moment = self._moment
        second = int(self.clock.now() if moment is None else moment)
        if second != self._second:
            self._second = second
        return self._second

    def schedule(self, delay_seconds: float, work: Callable[..., None], *args: str | int) -> None:
        """Let `work(self, *args)` happen after a delay."""
        self._sequence += 1
        heappush(self._jobs, (self.now() + delay_seconds, self._sequence, Job(work, args)))

    def run_until(self, now: float) -> None:
        """Do all work due by `now`, in order, each piece at its own moment."""
        jobs = self._jobs
        while jobs and jobs[0][0] <= now:
            due, _, job = heappop(jobs)
            self._moment = due
            try:
                job.work(self, *job.args)
            finally:
                self._moment = None

    def next_due(self) -> float | None:
        """Return when the next piece of work or delivery falls due."""
        delivery = self.deliveries.next_due()
        if not self._jobs:
            return delivery
        work = self._jobs[0][0]
        return work if delivery is None else min(work, delivery)

    # Events --------------------------------------------------------------------------------------------------

    def emit(
        self,
        type_: str,
        object_: Any,
        origin: Origin = STRIPE_ITSELF,
        previous: dict[str, Any] | None = None,
    ) -> Event:
        """Record an event about an object's present version and queue its deliveries."""
        # An event of the user's own making may be about an object without an id.
        stem = stem_of(str(object_.get("id", "")) if isinstance(object_, dict) else object_.id)
        event_id = self.ids.on("evt_", stem) if stem[:1] == "3" else self.ids.own("evt_")
        event = Event(event_id, type_, self.second(), object_, origin, previous)
        self.events.add(event)
        self.deliveries.queue(event)
        return event

    def endpoint_disabled(self, endpoint_id: str) -> None:
        """Show an endpoint as disabled after the deliveries gave it up."""
        kinds: tuple[Collection[Any], ...] = (self.webhook_endpoints, self.event_destinations)
        for kind in kinds:
            found = kind.find(endpoint_id)
            if found is not None:
                kind.put(msgspec.structs.replace(found, status="disabled"))

    def log_url(self, request_id: str) -> str:
        """Return where Stripe's dashboard would show a request of this moment."""
        return f"https://dashboard.stripe.com/{self.id}/test/logs/{request_id}?t={int(self.now())}"
