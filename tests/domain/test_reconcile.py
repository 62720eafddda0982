"""The walk's own decisions: where in the log it begins, how it cuts time, what it takes from a list."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillport.adapters.conformance.samples import NOON, event
from tillport.adapters.memory.attempts import MemoryAttempts
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.memory.ledger import MemoryLedger
from tillport.domain.differences import DifferenceKind
from tillport.domain.listed import listed_events, unlisted
from tillport.domain.reconcile import DISORDER_SECONDS, Phase, Reconciliation, Reconciling
from tillport.domain.sync import run
from tillport.domain.window import SLICE_SECONDS_MAX, SLICE_SECONDS_MIN, next_slice_seconds, window
from tillport.ports.history import EventPage, MovementPage

DAY = 86_400.0


BODY = b'{"id":"evt_%d","object":"event","type":"a.b","created":%d,"livemode":false,"data":{"object":{}}}'


class QuietHistory:
    """A Stripe on which nothing ever happened, but for one event perhaps."""

    def __init__(self, number: int = 0, *, created: float | None = None) -> None:
        self.number, self.created = number, created

    async def events(self, *, since, until, **_):
        if self.created is None or not since <= int(self.created) < until:
            return EventPage(events=(), cursor=None)
        return EventPage(events=(BODY % (self.number, self.created),), cursor=None)

    async def movements(self, **_):
        return MovementPage(movements=(), cursor=None)


def reconciling(log: MemoryEventLog, history: QuietHistory) -> Reconciling:
    ledger, clock = MemoryLedger(), ManualClock(NOON)
    return Reconciling(
        history=history,
        log=log,
        ledger=ledger,
        attempts=MemoryAttempts(ledger),
        doorbell=LocalDoorbell(clock),
        clock=clock,
        livemode=False,
    )


async def walked(log: MemoryEventLog, *, days: float = 2, history: QuietHistory | None = None):
    using = reconciling(log, history or QuietHistory())
    reconciliation = Reconciliation(using, window(since=NOON - days * DAY, now=NOON))
    while not reconciliation.report.complete:
        await reconciliation.step()
    return reconciliation.report


@given(
    old=st.integers(0, 3000),
    new=st.integers(0, 700),
    gaps=st.integers(1, 3),
    late=st.lists(st.integers(0, 2999), max_size=5),
)
def test_a_long_log_is_entered_where_the_time_begins(old: int, new: int, gaps: int, late: list[int]) -> None:
    """Only events from the time asked for are foreign to Stripe; thousands of older ones are not even read.

    It lists the last one: a log of which it lists nothing is another account's.
    """
    log = MemoryEventLog()
    begins = NOON - 2 * DAY
    ages = [begins - DISORDER_SECONDS - 10 - (old - number) * gaps for number in range(old)]
    for number in late:  # hours out of order, as behind a host's long transaction
        if number < old:
            ages[number] += DISORDER_SECONDS / 2 if ages[number] + DISORDER_SECONDS / 2 < begins else 0
    times = [*ages, *(begins + 10 + number for number in range(new))]
    run(
        log.record(
            [event(n, received_at=at, created=int(at), request_key=None) for n, at in enumerate(times)]
        )
    )
    history = QuietHistory(len(times) - 1, created=times[-1]) if times else QuietHistory()
    report = run(walked(log, history=history))
    assert len(report.differences) == max(0, new - 1)
    assert {one.kind for one in report.differences} <= {DifferenceKind.NOT_AT_STRIPE}
    assert report.logged <= new + 1500


async def test_nothing_anywhere_agrees() -> None:
    report = await walked(MemoryEventLog())
    assert report.agrees
    assert (report.listed, report.logged, report.movements, report.attempts) == (0, 0, 0, 0)


async def test_a_step_after_the_end_does_nothing() -> None:
    using = reconciling(MemoryEventLog(), QuietHistory())
    reconciliation = Reconciliation(using, window(since=NOON - DAY, now=NOON))
    while reconciliation.report.phase is not Phase.DONE:
        await reconciliation.step()
    before = attrs.asdict(reconciliation.report)
    await reconciliation.step()
    assert attrs.asdict(reconciliation.report) == before


@given(seconds=st.floats(SLICE_SECONDS_MIN, SLICE_SECONDS_MAX), count=st.integers(0, 10_000))
def test_slices_stay_within_their_bounds(seconds: float, count: int) -> None:
    following = next_slice_seconds(seconds, count)
    assert SLICE_SECONDS_MIN <= following <= SLICE_SECONDS_MAX


def test_a_list_is_turned_round_and_what_is_no_event_is_set_aside() -> None:
    bodies = [
        BODY % (2, 1),
        b"[]",
        b'{"id":"evt_x","object":"charge"}',
        BODY.replace(b"false", b"true") % (9, 1),
        BODY % (1, 1),
    ]
    events, refused = listed_events(bodies, livemode=False, received_at=5.0)
    assert [(one.id, one.received_at) for one in events] == [("evt_1", 5.0), ("evt_2", 5.0)]
    assert [one.event_id for one in refused] == [None, "evt_x", "evt_9"]
    assert {one.kind for one in refused} == {DifferenceKind.NOT_RECORDED}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, True),
        ({"account": "acct_1"}, False),
        ({"created": int(NOON) - 60}, False),
        ({"created": int(NOON - 9 * DAY)}, False),
        ({"id": "evt_listed"}, False),
    ],
    ids=["foreign", "a connected account's", "too young to judge", "before the time", "listed"],
)
def test_only_what_stripe_should_list_is_missed_there(change, told) -> None:
    logged = event(1, **{"created": int(NOON - DAY), **change})
    span = window(since=NOON - 7 * DAY, now=NOON)
    assert bool(list(unlisted([logged], {"evt_listed"}, span))) is told


@pytest.mark.parametrize("transaction_id", ["ch_card", "py_debit", "cus_1"])
def test_what_is_missed_names_its_charge_however_it_was_paid(transaction_id) -> None:
    logged = event(1, created=int(NOON - DAY), transaction_id=transaction_id)
    (missed,) = unlisted([logged], set(), window(since=NOON - 7 * DAY, now=NOON))
    assert missed.charge_id == (None if transaction_id == "cus_1" else transaction_id)
