"""Group commit: who shares a commit, who is answered when, and whose failure it is."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest

from tillport.adapters.conformance.event_log import EventLogCapabilities, event_log_laws
from tillport.adapters.conformance.event_log_histories import check_event_log_histories
from tillport.adapters.conformance.samples import event
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.runtime.group_commit import GroupCommit
from tillport.ports.event_log import Event, EventContended, EventRefused, LogOverloaded, LogUnavailable

LAWS = event_log_laws(EventLogCapabilities(outages=True))


@attrs.define
class SlowLog(MemoryEventLog):
    """A memory log whose commits wait at a gate, and that notes what came together."""

    gate: asyncio.Event = attrs.field(factory=asyncio.Event)
    batches: list[list[str]] = attrs.field(factory=list)
    refuses: Callable[[Event], bool] = lambda _: False
    holds: Callable[[Event], bool] = lambda _: False
    at_once: int = 0
    at_once_most: int = 0

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        self.batches.append([one.id for one in events])
        self.at_once += 1
        self.at_once_most = max(self.at_once_most, self.at_once)
        try:
            await self.gate.wait()
            if any(map(self.refuses, events)):
                raise EventRefused("no")
            if any(map(self.holds, events)):
                raise EventContended("held")
            return await MemoryEventLog.record(self, events)
        finally:
            self.at_once -= 1


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def begin(group: GroupCommit, *numbers: int) -> list[asyncio.Task]:
    return [asyncio.ensure_future(group.record([event(number)])) for number in numbers]


@attrs.define
class Bench:
    log: MemoryEventLog = attrs.field(factory=MemoryEventLog)

    @asynccontextmanager
    async def open(self):
        group = GroupCommit(self.log)
        try:
            yield group
        finally:
            await group.aclose()

    @asynccontextmanager
    async def outage(self):
        self.log.available = False
        yield
        self.log.available = True


@asynccontextmanager
async def new_bench():
    yield Bench()


@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_a_group_commit_is_an_event_log(law) -> None:
    await law(Bench())


def test_any_history_agrees_with_the_model() -> None:
    check_event_log_histories(new_bench)


async def test_a_lone_request_commits_at_once() -> None:
    log = SlowLog()
    group = GroupCommit(log)
    log.gate.set()
    assert await group.record([event(1)]) == [True]
    assert log.batches == [["evt_1"]]


async def test_what_arrives_during_a_commit_forms_the_next_batch() -> None:
    log = SlowLog()
    group = GroupCommit(log)
    first = begin(group, 1)
    await turns()
    rest = begin(group, 2, 3, 4)
    await turns()
    assert log.batches == [["evt_1"]]
    assert group.waiting == 3
    log.gate.set()
    assert await asyncio.gather(*first, *rest) == [[True]] * 4
    assert log.batches == [["evt_1"], ["evt_2", "evt_3", "evt_4"]]
    assert log.at_once_most == 1


async def test_a_batch_takes_half_of_what_waits_and_was_just_answered() -> None:
    log = SlowLog()
    group = GroupCommit(log)
    senders = begin(group, *range(9))
    await turns()
    senders += begin(group, *range(10, 33))
    log.gate.set()
    await asyncio.gather(*senders)
    assert [len(batch) for batch in log.batches] == [9, 16, 7]


async def test_after_a_commit_that_failed_all_who_wait_are_told_by_the_next() -> None:
    log = SlowLog()
    group = GroupCommit(log)
    senders = begin(group, *range(9))
    await turns()
    senders += begin(group, *range(10, 33))
    log.available = False
    log.gate.set()
    assert {type(one) for one in await asyncio.gather(*senders, return_exceptions=True)} == {LogUnavailable}
    assert [len(batch) for batch in log.batches] == [9, 23]


async def test_groups_of_senders_become_equal_whatever_they_were() -> None:
    """As many senders as there were stay equal: who is answered comes again while the others are written."""
    log = SlowLog()
    group = GroupCommit(log)
    numbers, stopped = iter(range(1, 10_000)), False

    async def sender() -> None:
        while not stopped:
            await group.record([event(next(numbers))])

    first = [asyncio.ensure_future(sender()) for _ in range(5)]
    await turns()
    rest = [asyncio.ensure_future(sender()) for _ in range(27)]
    for _ in range(20):
        await turns(20)
        log.gate.set()
        log.gate = asyncio.Event()
    stopped = True
    log.gate.set()
    await asyncio.gather(*first, *rest)
    assert [len(batch) for batch in log.batches][4:20] == [16] * 16


async def test_nobody_is_answered_before_its_own_commit() -> None:
    log = SlowLog()
    group = GroupCommit(log)
    first = begin(group, 1)
    await turns()
    second = begin(group, 2)
    log.gate.set()
    log.gate = asyncio.Event()  # for the next commit
    await asyncio.gather(*first)
    await turns()
    assert log.batches == [["evt_1"], ["evt_2"]]
    assert not second[0].done(), "its commit is in flight"
    assert await log.find("evt_2") is None
    log.gate.set()
    assert await second[0] == [True]


async def test_a_batch_has_a_bound_and_calls_stay_together() -> None:
    log = SlowLog()
    group = GroupCommit(log, batch_events_max=4)
    calls = [
        asyncio.ensure_future(group.record([event(n), event(n + 1), event(n + 2)])) for n in (10, 20, 30)
    ]
    calls += begin(group, 40, 41)
    log.gate.set()
    await asyncio.gather(*calls)
    assert [len(batch) for batch in log.batches] == [3, 3, 4, 1]


async def test_a_call_larger_than_every_bound_is_taken_when_nothing_waits() -> None:
    log = SlowLog()
    log.gate.set()
    group = GroupCommit(log, batch_events_max=2, waiting_events_max=2, waiting_bytes_max=10)
    assert await group.record([event(number) for number in range(1, 6)]) == [True] * 5


async def test_past_the_bound_callers_are_sent_away_and_the_others_served() -> None:
    log = SlowLog()
    group = GroupCommit(log, waiting_events_max=3, retry_after_seconds=7)
    in_flight = begin(group, 1)
    await turns()
    waiting = begin(group, 2, 3, 4)
    await turns()
    with pytest.raises(LogOverloaded) as refused:
        await group.record([event(5)])
    assert refused.value.retry_after_seconds == 7
    log.gate.set()
    assert await asyncio.gather(*in_flight, *waiting) == [[True]] * 4
    assert await group.record([event(5)]) == [True], "there is room again"
    assert group.waiting == 0


async def test_waiting_bodies_have_a_bound_in_bytes() -> None:
    log = SlowLog()
    group = GroupCommit(log, waiting_bytes_max=1000)
    tasks = begin(group, 1)
    await turns()
    tasks.append(asyncio.ensure_future(group.record([event(2, body=b"x" * 900)])))
    await turns()
    with pytest.raises(LogOverloaded):
        await group.record([event(3, body=b"x" * 101)])
    log.gate.set()
    await asyncio.gather(*tasks)


async def test_bytes_that_no_longer_wait_leave_room_for_others() -> None:
    log = SlowLog()
    group = GroupCommit(log, waiting_bytes_max=1000)
    for number in range(1, 9, 2):
        log.gate.clear()
        tasks = begin(group, number)
        await turns()
        tasks += [asyncio.ensure_future(group.record([event(number + 1, body=b"x" * 900)]))]
        await turns()
        tasks += [asyncio.ensure_future(group.record([event(number + 100, body=b"x" * 100)]))]
        await turns()
        log.gate.set()
        assert await asyncio.gather(*tasks) == [[True]] * 3


async def test_a_refused_event_fails_alone() -> None:
    log = SlowLog(refuses=lambda one: one.id in ("evt_4", "evt_7"))
    group = GroupCommit(log)
    tasks = begin(group, *range(1, 10))
    log.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [number for number, one in enumerate(answers, start=1) if isinstance(one, EventRefused)]
    assert refused == [4, 7]
    assert [one for one in answers if not isinstance(one, EventRefused)] == [[True]] * 7
    assert await log.head() == 7


async def test_an_event_that_another_transaction_holds_fails_alone() -> None:
    log = SlowLog(holds=lambda one: one.id in ("evt_3", "evt_6"))
    group = GroupCommit(log)
    tasks = begin(group, 0)
    await turns()
    tasks += begin(group, *range(1, 8))
    await turns()
    tasks[5].cancel()
    log.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    failed = {number for number, answer in enumerate(answers) if isinstance(answer, EventContended)}
    assert failed == {3, 6}
    assert isinstance(answers[5], asyncio.CancelledError)
    assert [answers[number] for number in (0, 1, 2, 4, 7)] == [[True]] * 5
    log.holds = lambda _: False
    assert await group.record([event(3)]) == [True], "it is taken once nobody holds it"


async def test_where_everything_is_held_nobody_waits_for_each_in_turn() -> None:
    log = SlowLog(holds=lambda _: True)
    group = GroupCommit(log)
    log.gate.set()
    tasks = begin(group, *range(200))
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, EventContended) for one in answers)
    assert len(log.batches) < 20
    assert log.at_once_most <= 4


async def test_an_event_that_no_store_can_hold_never_enters_a_batch() -> None:
    log = SlowLog()
    log.gate.set()
    group = GroupCommit(log)
    good = begin(group, 1, 2)
    with pytest.raises(EventRefused):
        await group.record([event(3, body=b"\xff")])
    assert await asyncio.gather(*good) == [[True], [True]]
    assert log.batches == [["evt_1", "evt_2"]]


async def test_a_failed_commit_fails_exactly_its_own_requests() -> None:
    log = SlowLog()
    group = GroupCommit(log)
    first = begin(group, 1, 2)
    await turns()
    second = begin(group, 3, 4)
    await turns()
    log.available = False
    log.gate.set()
    log.gate = asyncio.Event()  # for the next commit
    failures = await asyncio.gather(*first, return_exceptions=True)
    log.available = True
    log.gate.set()
    assert all(isinstance(one, LogUnavailable) for one in failures)
    assert failures[0] is not failures[1]
    assert await asyncio.gather(*second) == [[True], [True]]
    assert [one.event.id for one in (await log.read(after=0)).events] == ["evt_3", "evt_4"]


async def test_an_unforeseen_failure_is_told_as_not_recorded_and_stops_nobody() -> None:
    log = SlowLog(refuses=lambda one: one.id == "evt_1" and 1 / 0)
    log.gate.set()
    group = GroupCommit(log)
    with pytest.raises(LogUnavailable) as failed:
        await group.record([event(1)])
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert await group.record([event(2)]) == [True]


async def test_a_cancelled_request_harms_nobody() -> None:
    log = SlowLog()
    group = GroupCommit(log)
    in_flight = begin(group, 1, 2)
    await turns()
    waiting = begin(group, 3, 4, 5)
    await turns()
    in_flight[0].cancel()
    waiting[1].cancel()
    await turns()
    log.gate.set()
    answers = await asyncio.gather(*in_flight, *waiting, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in answers] == [True, False, False, True, False]
    assert log.batches == [["evt_1", "evt_2"], ["evt_3", "evt_5"]], (
        "who left before its commit began is left out"
    )
    assert group.waiting == 0


async def test_duplicates_in_one_batch_are_new_once() -> None:
    log = SlowLog()
    group = GroupCommit(log)
    tasks = begin(group, 1, 1, 1)
    log.gate.set()
    assert sorted(await asyncio.gather(*tasks)) == [[False], [False], [True]]


async def test_closing_drains_and_then_takes_nothing() -> None:
    log = SlowLog()
    group = GroupCommit(log, batch_events_max=2)
    tasks = begin(group, 1)
    await turns()
    tasks += begin(group, 2, 3, 4, 5)
    await turns()
    closing = asyncio.ensure_future(group.aclose())
    await turns()
    assert not closing.done()
    with pytest.raises(LogUnavailable):
        await group.record([event(6)])
    log.gate.set()
    await closing
    assert [task.result() for task in tasks] == [[True]] * 5


async def test_one_commit_is_under_way_at_a_time() -> None:
    log = SlowLog()
    group = GroupCommit(log, batch_events_max=1)
    tasks = begin(group, 1, 2, 3)
    await turns()
    log.gate.set()
    await asyncio.gather(*tasks)
    assert log.at_once_most == 1


async def test_nobody_waits_for_ever_when_the_loop_ends() -> None:
    log = SlowLog()
    group = GroupCommit(log)
    tasks = begin(group, 1)
    await turns()
    tasks += begin(group, 2)
    await turns()
    assert group._committing is not None
    group._committing.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, LogUnavailable) for one in answers)


async def test_the_bell_rings_once_for_a_commit_that_held_something_new() -> None:
    log = SlowLog()
    bell = LocalDoorbell(ManualClock())
    group = GroupCommit(log, doorbell=bell)
    tasks = begin(group, 1, 2, 3)
    await turns()
    assert bell.rings == 0, "not before the commit"
    log.gate.set()
    await asyncio.gather(*tasks)
    assert bell.rings == 1
    await group.record([event(1)])
    assert bell.rings == 1, "nothing new, nothing to say"
    assert await asyncio.gather(*begin(group, 1, 4, 2)) == [[False], [True], [False]]
    assert bell.rings == 2, "something new among what was there"
