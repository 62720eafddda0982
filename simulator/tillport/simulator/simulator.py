"""The simulator itself: a fake Stripe in memory, with no socket, no thread and no sleep.

    sim = Simulator(seed=1)
    intent = sim.payment_intents.create(amount=2000, currency="usd", payment_method="pm_card_visa", confirm=True)

Everything the wire can do, the object can do with the same judgement, minus bytes. Webhooks wait in a queue until
somebody performs them: a server's background task, `deliver(sink)` in a test, or `due_deliveries` by hand.
"""

from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any

from tillport.simulator.account import Account
from tillport.simulator.clock import Clock, MovableClock, RealClock
from tillport.simulator.deliveries import LIVE_RETRIES, Attempt, EventView
from tillport.simulator.errors import ApiError
from tillport.simulator.faults import Fault, Faults
from tillport.simulator.resources import disputes, events, payment_intents, setup_intents, webhook_endpoints
from tillport.simulator.resources.common import Route
from tillport.simulator.resources.disputes import Dispute
from tillport.simulator.resources.webhook_endpoints import WebhookEndpoint
from tillport.simulator.routes import ROUTES
from tillport.simulator.wire import Key, Request, Response, Wire, run

SECRET_KEY = "sk_test_tillportsimulator"  # noqa: S105 - a fake's key, printed at every start
PUBLISHABLE_KEY = "pk_test_tillportsimulator"

Sink = Callable[[Attempt], int | None]


class Operations:
    """A resource's calls as methods: `create(**params)`, `retrieve(id)`, `confirm(id, **params)`, `list(**filters)`.

    Each takes Stripe's parameters as keywords, and `expand=[…]` and `idempotency_key=…` beside them; ids come first.
    Returns the object (an immutable struct with Stripe's field names); raises `ApiError` with what the wire would say.
    """

    def __init__(self, simulator: "Simulator", account: Account, operations: dict[str, Route]) -> None:
        self._simulator = simulator
        self._account = account
        self._operations = operations

    def __getattr__(self, name: str) -> Callable[..., Any]:
        route = self._operations.get(name)
        if route is None:
            raise AttributeError(f"no such call: {name}; there are {', '.join(sorted(self._operations))}")
        simulator, account, lock = self._simulator, self._account, self._simulator.lock
        changes = route.method != "GET"

        def call(*ids: str, idempotency_key: str | None = None, **params: Any) -> Any:
            with lock:
                account.run_until(account.now())
                result = run(account, route, params, list(ids), account.ids.short("req_"), idempotency_key)
            # A server may deliver for this simulator in another thread.
            if changes and simulator.on_change is not None:
                simulator.on_change()
            return result

        call.__name__ = name
        call.__doc__ = route.handler.__doc__
        setattr(self, name, call)
        return call


def _operations() -> dict[str, dict[str, Route]]:
    found: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        resource = route.resource or route.path.split("/")[2]
        name = route.name or route.handler.__name__.rstrip("_").removeprefix(f"{resource}_")
        found.setdefault(resource, {})[name] = route
    return found


_OPERATIONS = _operations()


class Simulator:
    """A fake Stripe account with keys, a clock, a seed and faults.

    `clock` is real time by default; hand in a `ManualClock` for virtual time. The same seed and the same serial calls
    (with the clock at the same times) give the same bytes: ids, order, signatures. `settle_seconds` is how long
    asynchronous capture takes to book a charge (`charge.updated`); `retry_seconds` the waits between delivery attempts.
    Calls are serialised by a lock, so threads may share one simulator.

    >>> from tillport.simulator import ManualClock, Simulator
    >>> sim = Simulator(clock=ManualClock(), seed=7)
    >>> intent = sim.payment_intents.create(
    ...     amount=2000, currency="usd", payment_method="pm_card_visa", confirm=True
    ... )
    >>> intent.status
    'succeeded'
    >>> [event.type for event in sim.events.list().data]
    ['payment_intent.succeeded', 'charge.succeeded', 'payment_intent.created']
    """

    tokens: Operations
    payment_methods: Operations
    payment_intents: Operations
    charges: Operations
    refunds: Operations
    customers: Operations
    balance_transactions: Operations
    disputes: Operations
    early_fraud_warnings: Operations
    setup_intents: Operations
    setup_attempts: Operations
    confirmation_tokens: Operations
    accounts: Operations
    balance: Operations
    events: Operations
    event_destinations: Operations
    webhook_endpoints: Operations

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        seed: int | str = 0,
        faults: Faults | None = None,
        secret_key: str = SECRET_KEY,
        publishable_key: str = PUBLISHABLE_KEY,
        retry_seconds: tuple[float, ...] = LIVE_RETRIES,
        settle_seconds: float = 2.0,
    ) -> None:
        self.lock = RLock()
        self.clock: Clock = RealClock() if clock is None else clock
        self.account = Account(
            clock=self.clock,
            seed=seed,
            faults=Faults() if faults is None else faults,
            secret_key=secret_key,
            publishable_key=publishable_key,
            retry_seconds=retry_seconds,
            settle_seconds=settle_seconds,
        )
        self._keys = {
            secret_key: Key(self.account, publishable=False),
            publishable_key: Key(self.account, publishable=True),
        }
        self.wire = Wire(self.account, self._keys.get)
        # Called after whatever may have made something due: a server's deliverer wakes up by it.
        self.on_change: Callable[[], None] | None = None
        for resource, operations in _OPERATIONS.items():
            setattr(self, resource, Operations(self, self.account, operations))

    @property
    def secret_key(self) -> str:
        return self.account.secret_key

    @property
    def publishable_key(self) -> str:
        return self.account.publishable_key

    # The wire ------------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Response:
        """Answer one HTTP request, bytes to bytes."""
        with self.lock:
            response = self.wire.handle(request)
        if self.on_change is not None and request.method != "GET":
            self.on_change()
        return response

    # Deliveries ----------------------------------------------------------------------------------------------

    def due_deliveries(self, now: float | None = None, *, limit: int | None = None) -> list[Attempt]:
        """Do the work due by now and return the signed webhook requests to perform.

        Each attempt is the caller's: POST its body with its headers to its url, then call `delivery_result`.
        """
        with self.lock:
            moment = self.clock.now() if now is None else now
            self.account.run_until(moment)
            return self.account.deliveries.take_due(moment, limit)

    def delivery_result(self, attempt: Attempt, status: int | None) -> None:
        """Report what came of an attempt: the HTTP status, or None when there was no answer."""
        with self.lock:
            self.account.deliveries.settle(attempt, status)

    def next_due(self) -> float | None:
        """Return the time of the next work or delivery, or None when nothing waits."""
        with self.lock:
            return self.account.next_due()

    def deliver(self, sink: Sink) -> list[tuple[Attempt, int | None]]:
        """Perform what is due now by calling `sink(attempt) -> status`; return what happened, in order.

        A sink that raises has not answered: its exception passes through, and the attempt counts as failed.
        """
        done: list[tuple[Attempt, int | None]] = []
        while attempts := self.due_deliveries():
            for attempt in attempts:
                status: int | None = None
                try:
                    status = sink(attempt)
                finally:
                    self.delivery_result(attempt, status)
                done.append((attempt, status))
        return done

    # Time ----------------------------------------------------------------------------------------------------

    def advance(self, seconds: float, sink: Sink | None = None) -> list[tuple[Attempt, int | None]]:
        """Move a movable clock forward; with a sink, stop at every moment something is due and deliver it then."""
        clock: Any = self.clock
        if not hasattr(clock, "advance"):
            raise TypeError("this clock cannot be moved: hand the simulator a ManualClock or a RealClock")
        moving: MovableClock = clock
        done: list[tuple[Attempt, int | None]] = []
        end = clock.now() + seconds
        while sink is not None:
            done += self.deliver(sink)
            due = self.next_due()
            if due is None or due > end:
                break
            moving.advance(max(0.0, due - clock.now()))
        moving.advance(max(0.0, end - clock.now()))
        with self.lock:
            self.account.run_until(clock.now())
        if sink is not None:
            done += self.deliver(sink)
        if self.on_change is not None:
            self.on_change()
        return done

    # Faults --------------------------------------------------------------------------------------------------

    def script(self, *faults: Fault | str) -> None:
        """Add faults for the next fitting requests or deliveries; a bare kind means the very next one."""
        with self.lock:
            self.account.faults.script += [Fault(kind=f) if isinstance(f, str) else f for f in faults]

    def set_faults(self, rates: Faults) -> None:
        """Replace the fault rates from now on."""
        with self.lock:
            self.account.faults.set_rates(rates)

    # People --------------------------------------------------------------------------------------------------

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


__all__ = ["PUBLISHABLE_KEY", "SECRET_KEY", "ApiError", "Operations", "Simulator"]
