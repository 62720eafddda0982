"""Catch up and compare: record what Stripe remembers and we do not, then hold ledger, log and Stripe's books together.

The walk, one bounded step at a time, so that whoever drives it can show progress, pause, and go on after an outage:

1. **Events.** The time asked for is cut into slices, oldest first; each slice's events are recorded in the order in
   which they happened, through the same door as webhooks.
2. **Log.** What the log holds of that time is compared with what Stripe listed, and with the ledger: one pass in the
   log's own order, which every store reads fastest.
3. **Movements.** Each balance transaction is compared with the ledger (by the key of its attempt) and with the log.
4. **Attempts.** Each attempt that says it charged must have moved money and must have been told of.
5. **A second look** at what was missing: a webhook may have been on its way.

Everything it writes is what a webhook would have written, so it may run at any time, beside a running service, and any number of
times; a run that ended early is resumed by a run from where it stood.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

import attrs

from tillport.domain.account import check_key
from tillport.domain.charge import ATTEMPT_KEY_PREFIX
from tillport.domain.differences import (
    UNSETTLED,
    Difference,
    DifferenceKind,
    between_money_and_ledger,
    between_movement_and_attempt,
    charged_twice,
    is_of_the_other_mode,
    taken_by,
    tells_of,
    without_event,
)
from tillport.domain.listed import listed_events, unlisted
from tillport.domain.window import (
    EDGE_SECONDS,
    SLICE_EVENTS_MAX,
    SLICE_SECONDS_FIRST,
    SLICE_SECONDS_MIN,
    Window,
    next_slice_seconds,
)
from tillport.ports.attempts import AttemptBook
from tillport.ports.clock import Clock
from tillport.ports.doorbell import Doorbell
from tillport.ports.event_log import Event, EventLog, EventRefused
from tillport.ports.history import Movement, MovementKind, PaymentHistory
from tillport.ports.ledger import Attempt, AttemptState, ChargeLedger
from tillport.ports.selector import Compare

DISORDER_SECONDS = 86_400.0
"""How much later than a younger event an older one may have got its place in the log."""
_BATCH = 100
_PAGE = 500


class Phase(StrEnum):
    """Where the walk stands."""

    EVENTS = "events"
    LOG = "log"
    MOVEMENTS = "movements"
    ATTEMPTS = "attempts"
    SECOND_LOOK = "second look"
    DONE = "done"


@attrs.define(kw_only=True)
class Report:
    """What was found and done so far. `caught_up_to`: every event listed before that time is in the log."""

    window: Window
    phase: Phase = Phase.EVENTS
    caught_up_to: float
    listed: int = 0
    recorded: dict[str, int] = attrs.field(factory=dict)
    """How many events were missing and are recorded now, by type."""
    logged: int = 0
    """How many events of the log were compared."""
    movements: int = 0
    attempts: int = 0
    log_begins: float | None = None
    """When the log's first event was received, if older ones were forgotten: what was told before, nobody knows."""
    differences: list[Difference] = attrs.field(factory=list)

    @property
    def complete(self) -> bool:
        return self.phase is Phase.DONE

    @property
    def agrees(self) -> bool:
        """Whether everything was compared, and nothing differs any more."""
        return self.complete and not self.differences

    @property
    def fraction(self) -> float:
        """How much of the present phase is done, as far as that can be known: 0 to 1."""
        span = self.window.until - self.window.listed_from
        return 1.0 if self.phase is not Phase.EVENTS else (self.caught_up_to - self.window.listed_from) / span


@attrs.frozen(kw_only=True)
class Reconciling:
    """The ports that reconciling needs."""

    history: PaymentHistory
    log: EventLog
    ledger: ChargeLedger
    attempts: AttemptBook
    doorbell: Doorbell
    clock: Clock
    livemode: bool


@attrs.define(eq=False)
class Reconciliation:
    """One run of the walk. Call `step` until `report.complete`; look at `report` whenever you like.

    A step that raises (`GatewayUnavailable`, `LogUnavailable`, `LedgerUnavailable`) may be called again: it
    does its piece anew. The first raises `WrongMode` for a test key on a log of live payments, and `WrongAccount` for the key of an
    account whose events the log does not hold. With `undelivered` only events are listed that some webhook endpoint has
    not acknowledged, which is quicker after an outage and finds nothing that was acknowledged and then lost.
    """

    using: Reconciling
    window: Window
    undelivered: bool = attrs.field(default=False, kw_only=True)
    report: Report = attrs.field(init=False)
    _seconds: float = attrs.field(init=False, default=SLICE_SECONDS_FIRST)
    _page: str | None = attrs.field(init=False, default=None)
    _stretch: tuple[int, int] | None = attrs.field(init=False, default=None)
    """Where in the log the comparison stands, and where it ends."""
    _listed_ids: set[str] = attrs.field(init=False, factory=set)
    _found: set[tuple[str, str]] = attrs.field(init=False, factory=set)
    _moved: set[str] = attrs.field(init=False, factory=set)
    """Charges in Stripe's books."""
    _charge_of: dict[str, str] = attrs.field(init=False, factory=dict)
    """By attempt key: the charge that it made."""
    _taken: dict[str, str] = attrs.field(init=False, factory=dict)
    """By charge: the event that says it was captured, and must be in the books."""
    _untold: dict[tuple[str, MovementKind], Difference] = attrs.field(init=False, factory=dict)
    """What no event told of at the first look."""

    def __attrs_post_init__(self) -> None:
        self.report = Report(window=self.window, caught_up_to=self.window.listed_from)

    async def step(self) -> None:
        """Do the next piece, a second or so of work. Does nothing once the report is complete."""
        match self.report.phase:
            case Phase.EVENTS:
                await self._events()
            case Phase.LOG:
                await self._log()
            case Phase.MOVEMENTS:
                await self._movements()
            case Phase.ATTEMPTS:
                await self._attempts()
            case Phase.SECOND_LOOK:
                await self._second_look()
            case Phase.DONE:
                return

    # Events ----------------------------------------------------------------------------------------------------------

    async def _events(self) -> None:
        report = self.report
        if report.caught_up_to == self.window.listed_from:
            await check_key(
                self.using.history, self.using.log, livemode=self.using.livemode, now=self.window.until
            )
        begin, until = report.caught_up_to, self.window.until
        # Whole seconds, as Stripe counts: two slices must not share one.
        end = min(float(int(begin + self._seconds)), until)
        bodies = await self._listed(begin, end)
        if bodies is None:
            self._seconds = max(self._seconds / 4, SLICE_SECONDS_MIN)
            return
        now = self.using.clock.now()
        events, refused = listed_events(bodies, livemode=self.using.livemode, received_at=now)
        await self._record(events)
        self._note(refused)
        self._listed_ids.update(event.id for event in events if self.window.judges(event.created))
        report.listed += len(bodies)
        report.caught_up_to = end
        self._seconds = next_slice_seconds(self._seconds, len(bodies))
        if end >= until:
            report.phase = Phase.LOG

    async def _listed(self, begin: float, end: float) -> list[bytes] | None:
        """Return what Stripe lists of a slice, None if it is too much for one."""
        bodies: list[bytes] = []
        cursor: str | None = None
        while True:
            page = await self.using.history.events(
                since=begin, until=end, undelivered=self.undelivered, cursor=cursor
            )
            bodies += page.events
            cursor = page.cursor
            if cursor is None:
                return bodies
            if len(bodies) > SLICE_EVENTS_MAX and end - begin > 2 * SLICE_SECONDS_MIN:
                return None

    async def _record(self, events: Sequence[Event]) -> None:
        recorded = self.report.recorded
        for start in range(0, len(events), _BATCH):
            batch = events[start : start + _BATCH]
            new = await self._record_batch(batch)
            for event, is_new in zip(batch, new, strict=True):
                if is_new:
                    recorded[event.type] = recorded.get(event.type, 0) + 1
            if any(new):
                self.using.doorbell.ring()

    async def _record_batch(self, batch: Sequence[Event]) -> Sequence[bool]:
        try:
            return await self.using.log.record(batch)
        except EventRefused as error:
            if len(batch) == 1:
                message = f"The log refuses an event that Stripe lists: {error.message}"
                self._note(
                    [Difference(kind=DifferenceKind.NOT_RECORDED, message=message, event_id=batch[0].id)]
                )
                return [False]
        return [new for event in batch for new in await self._record_batch([event])]

    # Log -------------------------------------------------------------------------------------------------------------

    async def _log(self) -> None:
        log, report = self.using.log, self.report
        if self._stretch is None:
            head = await log.head()
            report.log_begins = await self._beginning()
            self._stretch = (await self._first_position(head), head)
            return
        position, last = self._stretch
        page = await log.read(after=position, limit=_PAGE)
        ours = [one.event for one in page.events if one.event.livemode is self.using.livemode]
        for event in ours:
            await self._judge_charge(event)
        if not self.undelivered:
            self._note(unlisted(ours, self._listed_ids, self.window))
        report.logged += len(page.events)
        self._stretch = (page.position, last)
        if len(page.events) < _PAGE or page.position >= last:
            report.phase = Phase.MOVEMENTS

    async def _beginning(self) -> float | None:
        page = await self.using.log.read(after=0, limit=1)
        if not page.reset:
            return None
        return page.events[0].event.received_at if page.events else self.window.until

    def _remembers(self, moment: float) -> bool:
        """Tell whether the log still holds what it was told of that time: retention may have taken it."""
        begins = self.report.log_begins
        return begins is None or moment >= begins + DISORDER_SECONDS

    async def _first_position(self, head: int) -> int:
        """Find where in the log the time begins, by halves: positions grow with the time when events were received.

        Not exactly, since a host's transaction may be open for long: a day is left for that.
        """
        begins = self.window.since - DISORDER_SECONDS
        low, high = 0, head
        while high - low > _PAGE:
            middle = (low + high) // 2
            page = await self.using.log.read(after=middle, limit=1)
            if page.events and page.events[0].event.received_at < begins:
                low = max(page.events[0].position, middle)
            else:
                high = middle
        return low

    async def _judge_charge(self, event: Event) -> None:
        if event.type != "charge.succeeded" or not self.window.judges(event.created):
            return
        if event.account is not None:
            return  # a connected account's: in its own books, and in its own till's ledger if it has one
        taken = taken_by(event)
        # A charge that is older than its event may stand in the books before our time.
        if taken is not None and self.window.judges(taken.created):
            self._taken[taken.charge_id] = event.id
        if event.request_key and event.request_key.startswith(ATTEMPT_KEY_PREFIX):
            attempt = await self.using.ledger.find(event.request_key)
            told_by: dict[str, str | None] = {"event_id": event.id}
            self._note(
                between_money_and_ledger(event.request_key, event.transaction_id, attempt, told_by=told_by)
            )

    # Movements -------------------------------------------------------------------------------------------------------

    async def _movements(self) -> None:
        page = await self.using.history.movements(
            since=self.window.since - EDGE_SECONDS, until=self.window.until, cursor=self._page
        )
        for movement in page.movements:
            await self._judge_movement(movement)
        self.report.movements += len(page.movements)
        self._page = page.cursor
        if page.cursor is None:
            self.report.phase = Phase.ATTEMPTS

    async def _judge_movement(self, movement: Movement) -> None:
        charge_id, key = movement.charge_id, movement.attempt_key
        if movement.kind is MovementKind.CHARGE and charge_id is not None:
            self._moved.add(charge_id)
        if not self.window.judges(movement.created):
            return
        if movement.kind is MovementKind.CHARGE and key is not None:
            attempt = await self.using.ledger.find(key)
            self._note(between_movement_and_attempt(movement, attempt))
            if charge_id is not None and (attempt is None or attempt.outcome.charge_id is None):
                self._note(self._second_charge(key, charge_id, movement.id))
        if charge_id is None or not self._remembers(movement.created):
            return
        if not await self._told(charge_id, movement.kind):
            self._untold[charge_id, movement.kind] = without_event(
                charge_id,
                movement.kind,
                attempt_key=key,
                payment_intent_id=movement.payment_intent_id,
                movement_id=movement.id,
            )

    def _second_charge(self, key: str, charge_id: str, movement_id: str) -> Iterator[Difference]:
        """Find two charges of one attempt where the ledger names neither."""
        other = self._charge_of.setdefault(key, charge_id)
        if other != charge_id:
            yield charged_twice(other, attempt_key=key, charge_id=charge_id, movement_id=movement_id)

    async def _told(self, charge_id: str, kind: MovementKind) -> bool:
        if kind is MovementKind.OTHER:
            return True
        position = 0
        while True:
            page = await self.using.log.read(after=position, where=Compare("id", "=", charge_id), limit=50)
            if any(tells_of(one.event.type, kind) for one in page.events):
                return True
            position = page.position
            if len(page.events) < 50:
                return False

    # Attempts --------------------------------------------------------------------------------------------------------

    async def _attempts(self) -> None:
        attempts = await self.using.attempts.started(
            since=self.window.since, until=self.window.until, after=self._page, limit=_BATCH
        )
        for attempt in attempts:
            await self._judge_attempt(attempt)
        self.report.attempts += len(attempts)
        self._page = attempts[-1].key if attempts else None
        if len(attempts) < _BATCH:
            self.report.phase = Phase.SECOND_LOOK

    async def _judge_attempt(self, attempt: Attempt) -> None:
        if not self.window.judges(attempt.started_at):
            return
        ids = {
            "attempt_key": attempt.key,
            "charge_id": attempt.outcome.charge_id,
            "payment_intent_id": attempt.outcome.payment_intent_id,
        }
        if attempt.state in UNSETTLED and attempt.busy_until <= self.window.until:
            message = f"The ledger says {attempt.state.value!r}: nobody knows yet whether this was charged."
            self._note([Difference(kind=DifferenceKind.NOT_SETTLED, message=message, **ids)])
        charge_id = attempt.outcome.charge_id
        if attempt.state is not AttemptState.SUCCEEDED or charge_id is None:
            return
        if is_of_the_other_mode(attempt, livemode=self.using.livemode):
            return
        if not self.window.judges(attempt.tried_at):
            return  # the try that charged may be as young as that, however old the attempt
        if charge_id not in self._moved:
            message = "The ledger says 'succeeded', and Stripe's books hold no such charge."
            self._note([Difference(kind=DifferenceKind.NO_MOVEMENT, message=message, **ids)])
        kind = MovementKind.CHARGE
        if (charge_id, kind) in self._untold or not self._remembers(attempt.started_at):
            return
        if not await self._told(charge_id, kind):
            self._untold[charge_id, kind] = without_event(
                charge_id, kind, attempt_key=attempt.key, payment_intent_id=ids["payment_intent_id"]
            )

    # The end ---------------------------------------------------------------------------------------------------------

    async def _second_look(self) -> None:
        for (charge_id, kind), difference in self._untold.items():
            if not await self._told(charge_id, kind):
                self._note([difference])
        for charge_id, event_id in self._taken.items():
            if charge_id not in self._moved:
                message = "The log says that this was charged, and Stripe's books hold no such charge."
                self._note(
                    [
                        Difference(
                            kind=DifferenceKind.NO_MOVEMENT,
                            message=message,
                            charge_id=charge_id,
                            event_id=event_id,
                        )
                    ]
                )
        self.report.phase = Phase.DONE

    def _note(self, differences: Iterable[Difference]) -> None:
        """Add what was not found before: two comparisons may see one thing, and a step may run twice."""
        for difference in differences:
            if difference.about == ("not_recorded", "") or difference.about not in self._found:
                self._found.add(difference.about)
                self.report.differences.append(difference)
