"""The simulator itself: a fake Stripe in memory, with no socket, no thread and no sleep.

    sim = Simulator(seed=1)
    intent = sim.payment_intents.create(amount=2000, currency="usd", payment_method="pm_card_visa", confirm=True)

Everything the wire can do, the object can do with the same judgement, minus bytes. Webhooks wait in a queue until
somebody performs them: a server's background task, `deliver(sink)` in a test, or `due_deliveries` by hand.
"""

from collections.abc import Callable
from threading import RLock
from typing import Self

import msgspec

from tillport.simulator import retention, together
from tillport.simulator.account import Account
from tillport.simulator.accounts import PREFIX, PrivateAccounts, Snapshot
from tillport.simulator.clock import Clock, RealClock, fork_clock
from tillport.simulator.deliveries import LIVE_RETRIES, Attempt
from tillport.simulator.errors import ApiError
from tillport.simulator.faults import Fault, Faults
from tillport.simulator.forking import forked
from tillport.simulator.journal import Journal
from tillport.simulator.operations import OPERATIONS, Operations
from tillport.simulator.people import People
from tillport.simulator.wire import Key, Request, Response, Wire, key_of

SECRET_KEY = "sk_test_tillportsimulator"  # noqa: S105 - a fake's key, printed at every start
PUBLISHABLE_KEY = "pk_test_tillportsimulator"

CONTROL = "/_sim/"

Sink = Callable[[Attempt], int | None]


class Simulator(People):
    """A fake Stripe account with keys, a clock, a seed and faults.

    `clock` is real time by default; hand in a `ManualClock` for virtual time. The same seed and the same serial calls
    (with the clock at the same times) give the same bytes: ids, order, signatures. `settle_seconds` is how long
    asynchronous capture takes to book a charge (`charge.updated`); `retry_seconds` the waits between delivery attempts.
    Calls are serialised by a lock, so threads may share one simulator. `journal` keeps a log of so many changes;
    `retain` forgets all but so many of the newest payments (and half as many more). `private_accounts` makes further
    accounts beside this one.

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

    _origin: Snapshot | None = None

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
        journal: int | None = None,
        retain: int | None = None,
        name: str = "",
    ) -> None:
        self.lock = RLock()
        self.clock: Clock = RealClock() if clock is None else clock
        self._own_clock = False

        def begin() -> Account:
            return Account(
                clock=self.clock,
                seed=seed,
                faults=Faults() if faults is None else faults,
                secret_key=secret_key,
                publishable_key=publishable_key,
                retry_seconds=retry_seconds,
                settle_seconds=settle_seconds,
                name=name,
            )

        self._set_up(begin, journal, retain)

    def _set_up(self, begin: Callable[[], Account], journal: int | None, retain: int | None) -> None:
        if retain is not None and retain < 1:
            raise ValueError("a simulator retains at least one payment")
        self._begin = begin
        self.journal_keep = journal
        self.retain = retain
        self._install(begin())
        # Called after whatever may have made something due: a server's deliverer wakes up by it.
        self.on_change: Callable[[], None] | None = None
        self.private_accounts = PrivateAccounts(self)
        self._turn = 0
        for resource, operations in OPERATIONS.items():
            setattr(self, resource, Operations(self, operations))

    def _install(self, account: Account) -> None:
        if self.journal_keep is not None:
            Journal(self.journal_keep).attach(account)
        keys = {
            account.secret_key: Key(account, publishable=False),
            account.publishable_key: Key(account, publishable=True),
        }
        self.account = account
        self.wire = Wire(account, keys.get)

    # Copies --------------------------------------------------------------------------------------------------

    @classmethod
    def begun_from(
        cls,
        snapshot: Snapshot,
        *,
        clock: Clock | None = None,
        name: str = "",
        secret_key: str | None = None,
        publishable_key: str | None = None,
    ) -> Self:
        """Return a simulator that begins where a snapshot was taken; `Snapshot.fork` is the short way."""
        made = cls.__new__(cls)
        made.lock = RLock()
        made.clock = fork_clock(snapshot.clock) if clock is None else clock
        made._own_clock = clock is None  # noqa: SLF001 - made here
        account = snapshot.account

        def begin() -> Account:
            return forked(
                account,
                clock=made.clock,
                name=name,
                secret_key=secret_key or account.secret_key,
                publishable_key=publishable_key or account.publishable_key,
            )

        made._set_up(begin, snapshot.journal_keep, snapshot.retain)  # noqa: SLF001 - the same
        made._origin = snapshot  # noqa: SLF001 - the same
        return made

    def freeze(self) -> Snapshot:
        """Keep the account as it is now; what happens here afterwards does not change the snapshot.

        Private accounts are frozen each by itself.
        """
        return Snapshot(self)

    def reset(self, snapshot: Snapshot | None = None) -> None:
        """Go back to a snapshot, or to the beginning: the state that this simulator was made with.

        The keys, the name and the private accounts stay. A clock that you handed in keeps its time (time does not run
        backwards); a fork's own clock goes back too. Attempts handed out before are forgotten.
        """
        with self.lock:
            before = self.account
            source = snapshot or self._origin
            if source is not None and self._own_clock:
                self.clock = fork_clock(source.clock)
            if snapshot is None:
                account = self._begin()
            else:
                account = forked(
                    snapshot.account,
                    clock=self.clock,
                    name=before.name,
                    secret_key=before.secret_key,
                    publishable_key=before.publishable_key,
                )
            account.base_url = before.base_url
            account.deliveries.number_after(before.deliveries.attempted)
            account.deliveries.keep_listeners(before.deliveries)
            self._install(account)
        self._changed()

    @property
    def journal(self) -> Journal:
        """The log of every change; raise RuntimeError when this simulator keeps none."""
        if self.account.journal is None:
            raise RuntimeError("this simulator keeps no journal: make it with Simulator(journal=10_000)")
        return self.account.journal

    @property
    def base_url(self) -> str:
        """Where this simulator is served: the links for people begin with it."""
        return self.account.base_url

    @base_url.setter
    def base_url(self, url: str) -> None:
        self.account.base_url = url
        for one in self.private_accounts:
            one.base_url = f"{url}{PREFIX}{one.account.name}"

    @property
    def backlog(self) -> int:
        """Count the deliveries that wait or are under way, those of the private accounts included."""
        own = self.account.deliveries.backlog
        return own + sum(one.backlog for one in self.private_accounts) if len(self.private_accounts) else own

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()

    @property
    def secret_key(self) -> str:
        """The account's secret key, `sk_test_…`."""
        return self.account.secret_key

    @property
    def publishable_key(self) -> str:
        """The account's publishable key, `pk_test_…`."""
        return self.account.publishable_key

    # The wire ------------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Response:
        """Answer one HTTP request, bytes to bytes: for this account, or for the private one that its key or path names."""
        by_path = request.path.startswith(PREFIX)
        if by_path or len(self.private_accounts):
            one, request = self.resolve(request)
            if one is not self:
                if request.path.startswith(CONTROL) and by_path:
                    from tillport.simulator.control import control

                    return control(one, request)
                return one.handle(request)
        with self.lock:
            response = self.wire.handle(request)
            if self.retain is not None and retention.is_due(self.account, self.retain):
                retention.forget(self.account, self.retain)
        if self.on_change is not None and request.method != "GET":
            self.on_change()
        return response

    def resolve(self, request: Request) -> "tuple[Simulator, Request]":
        """Return the account that a request is for, and the request as that account reads it."""
        if request.path.startswith(PREFIX):
            name, _, rest = request.path[len(PREFIX) :].partition("/")
            found = self.private_accounts.find(name)
            if found is not None:
                return found, msgspec.structs.replace(request, path=f"/{rest}")
        elif len(self.private_accounts):
            found = self.private_accounts.by_key(key_of(request, request.path.partition("?")[2]))
            if found is not None:
                return found, request
        return self, request

    # Deliveries ----------------------------------------------------------------------------------------------

    def _everybody(self) -> "list[Simulator]":
        return [self, *self.private_accounts]

    def due_deliveries(self, now: float | None = None, *, limit: int | None = None) -> list[Attempt]:
        """Do the work due by now, in the private accounts too, and return the signed webhook requests to perform.

        Each attempt is the caller's: POST its body with its headers to its url, then call `delivery_result`. `now` is
        for this account's clock alone; with private accounts each one's own clock says what is due.
        """
        if not len(self.private_accounts):
            return self.own_due(now, limit)
        self._turn += 1
        return together.due(self._everybody(), self._turn, limit)

    def own_due(self, now: float | None, limit: int | None) -> list[Attempt]:
        """Return what is due in this account alone."""
        with self.lock:
            moment = self.clock.now() if now is None else now
            self.account.run_until(moment)
            return self.account.deliveries.take_due(moment, limit)

    def delivery_result(self, attempt: Attempt, status: int | None) -> None:
        """Report what came of an attempt: the HTTP status, or None when there was no answer."""
        if attempt.account != self.account.name:
            one = self.private_accounts.find(attempt.account)
            if one is not None:
                one.delivery_result(attempt, status)
            return
        with self.lock:
            self.account.deliveries.settle(attempt, status)

    def next_due(self) -> float | None:
        """Return the time, by this account's clock, of the next work or delivery anywhere; None when nothing waits."""
        if not len(self.private_accounts):
            return self.own_next_due()
        wait = together.wait(self._everybody())
        return None if wait is None else self.clock.now() + wait

    def own_next_due(self) -> float | None:
        """Return when the next thing falls due in this account alone."""
        with self.lock:
            return self.account.next_due()

    def deliver(self, sink: Sink) -> list[tuple[Attempt, int | None]]:
        """Perform what is due now by calling `sink(attempt) -> status`; return what happened, in order.

        A sink that raises has not answered: its exception passes through, and the attempt counts as failed, with those
        of the same moment that it was not called for. All of them are tried again.
        """
        done: list[tuple[Attempt, int | None]] = []
        while attempts := self.due_deliveries():
            try:
                for attempt in attempts:
                    status = sink(attempt)
                    self.delivery_result(attempt, status)
                    done.append((attempt, status))
            except BaseException:
                # Taken from the queue and never settled, they would be lost; what is settled stays as it is.
                for attempt in attempts:
                    self.delivery_result(attempt, None)
                raise
        return done

    # Time ----------------------------------------------------------------------------------------------------

    def advance(self, seconds: float, sink: Sink | None = None) -> list[tuple[Attempt, int | None]]:
        """Move the clocks of this and the private accounts forward; raise TypeError for a clock that cannot be moved.

        With a sink, stop at every moment something is due and deliver it then.
        """
        everybody = self._everybody()
        done = together.advance(everybody, seconds, None if sink is None else lambda: self.deliver(sink))
        for one in everybody:
            with one.lock:
                one.account.run_until(one.clock.now())
        if sink is not None:
            done += self.deliver(sink)
        self._changed()
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


__all__ = ["PUBLISHABLE_KEY", "SECRET_KEY", "ApiError", "Operations", "Simulator"]
