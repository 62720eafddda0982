"""The steps of effects: begin, enlist, work, retry, bury. Against the memory queue, under a clock moved by hand."""

import attrs
import pytest

from tillport.adapters.conformance.samples import event
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.effects import MemoryEffectQueue
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.domain.effects import begin, describe, enlist_once, inline, work_once
from tillport.domain.handlers import Handler, HandlerRefused, Handlers, Retries
from tillport.ports.effects import EffectState
from tillport.ports.event_log import LogUnavailable


class Refusing(MemoryEffectQueue):
    """Its commit refuses what some handler wrote. It is away when certain effects are to be performed."""

    refuses = frozenset()
    refuses_alone = False
    keeps = False

    async def give_back(self, effects, *, now):
        if self.keeps:
            raise LogUnavailable("no connection is free")
        await super().give_back(effects, now=now)

    async def perform(self, effects, run):
        if self.refuses & {one.event_id for one in effects} and (len(effects) == 1 or not self.refuses_alone):
            raise LogUnavailable("no connection is free")
        return await super().perform(effects, run)

    def commit(self, books):
        if "spoiled" in books:
            raise ValueError("refused at the commit")
        super().commit(books)


@attrs.define
class World:
    clock: ManualClock = attrs.field(factory=ManualClock)
    log: MemoryEventLog = attrs.field(factory=MemoryEventLog)
    queue: MemoryEffectQueue = attrs.field(factory=Refusing)
    failing: set = attrs.field(factory=set)
    spoiling: set = attrs.field(factory=set)

    def handler(self, **options):
        def write(books, event):
            books.setdefault("lines", []).append(event.id)
            if event.id in self.failing:
                raise ValueError(f"no {event.id}")
            if event.id in self.spoiling:
                books["spoiled"] = True

        return Handler(**({"name": "receipts", "function": write, "from_start": True} | options))

    @property
    def lines(self):
        return self.queue.books.get("lines", [])

    async def enlist(self, handler, **options):
        position = await begin(handler, self.log, self.queue)
        while (done := await enlist_once(handler, self.log, self.queue, position=position, **options)).more:
            position = done.position

    async def work(self, handler, **options):
        return await work_once(handler, self.log, self.queue, self.clock, **options)


@pytest.fixture
def world():
    return World()


async def test_each_event_has_its_effect_once(world) -> None:
    await world.log.record([event(number) for number in range(1, 26)])
    handler = world.handler()
    for _ in range(2):
        await world.enlist(handler, batch_size=10)
        while (await world.work(handler, limit=4)).claimed:
            pass
    assert world.lines == [f"evt_{number}" for number in range(1, 26)]


async def test_a_new_handler_begins_at_the_end_unless_it_asks(world) -> None:
    await world.log.record([event(1)])
    late, all_of_it = world.handler(name="late", from_start=False), world.handler(name="all")
    for one in (late, all_of_it):
        await begin(one, world.log, world.queue)
    await world.log.record([event(2)])
    for one in (late, all_of_it):
        await world.enlist(one)
    found = await world.queue.list(states=[EffectState.DUE])
    assert [(one.handler, one.event_id) for one in found] == [
        ("all", "evt_1"),
        ("all", "evt_2"),
        ("late", "evt_2"),
    ]


async def test_a_handler_gets_the_types_it_asked_for(world) -> None:
    kinds = ["charge.succeeded", "charge.refunded", "payout.paid"]
    await world.log.record([event(number, type=kind) for number, kind in enumerate(kinds)])
    for types in ({"payout.paid"}, {"charge.succeeded", "charge.refunded"}):
        handler = world.handler(name=str(sorted(types)), types=frozenset(types))
        await world.enlist(handler)
        await world.work(handler)
    assert world.lines == ["evt_2", "evt_0", "evt_1"]


async def test_a_late_enlister_learns_where_the_handler_stands(world) -> None:
    await world.log.record([event(1), event(2)])
    handler = world.handler()
    await world.enlist(handler)
    done = await enlist_once(handler, world.log, world.queue, position=0)
    assert (done.position, done.count) == (2, 0)


async def test_what_retention_took_before_it_was_enlisted_is_told(world) -> None:
    await world.log.record([event(1), event(2)])
    handler = world.handler()
    await begin(handler, world.log, world.queue)
    await world.log.forget(received_before=event(2).received_at, up_to=9, now=0)
    assert (await enlist_once(handler, world.log, world.queue, position=0)).reset


async def test_a_failure_is_tried_again_with_growing_pauses_and_then_rests(world) -> None:
    world.failing = {"evt_1"}
    await world.log.record([event(1), event(2)])
    handler = world.handler(retries=Retries(most_tries=3, first_seconds=10, factor=2))
    await world.enlist(handler)
    told = await world.work(handler)
    assert (told.done, [one.event_id for one in told.failed]) == (1, ["evt_1"])
    world.clock.advance(9)
    assert (await world.work(handler)).claimed == 0
    world.clock.advance(1)
    assert len((await world.work(handler)).failed) == 1
    world.clock.advance(19)
    assert (await world.work(handler)).claimed == 0
    world.clock.advance(1)
    assert [one.tries for one in (await world.work(handler)).dead] == [3]
    (letter,) = await world.queue.list()
    assert letter.error == "ValueError: no evt_1"
    assert world.lines == ["evt_2"]
    world.failing = set()
    await world.queue.retry("receipts", "evt_1", now=world.clock.now())
    assert (await world.work(handler)).done == 1


async def test_what_can_not_be_committed_holds_up_nobody_else(world) -> None:
    world.spoiling = {"evt_2"}
    await world.log.record([event(1), event(2), event(3)])
    handler = world.handler()
    await world.enlist(handler)
    told = await world.work(handler)
    assert (told.done, [one.event_id for one in told.failed]) == (2, ["evt_2"])
    assert world.lines == ["evt_1", "evt_3"]


async def test_an_effect_that_kills_its_workers_is_buried_and_its_neighbours_are_done(world) -> None:
    class Killed(BaseException):
        pass

    def kill(books, event):
        if event.id == "evt_2":
            raise Killed
        books.setdefault("lines", []).append(event.id)

    await world.log.record([event(1), event(2), event(3)])
    handler = world.handler(function=kill, retries=Retries(most_tries=3))
    await world.enlist(handler)
    deaths = 0
    for _ in range(20):
        try:
            if not (await world.work(handler, lease_seconds=5)).claimed:
                world.clock.advance(5)
        except Killed:
            deaths += 1
            world.clock.advance(5)
    assert world.lines == ["evt_1", "evt_3"]
    (letter,) = await world.queue.list()
    assert letter.event_id == "evt_2"
    assert "none came back" in letter.error
    assert deaths <= 6


async def test_an_outage_of_the_log_counts_as_no_try(world) -> None:
    await world.log.record([event(1)])
    handler = world.handler(retries=Retries(most_tries=2))
    await world.enlist(handler)
    world.log.available = False
    for _ in range(10):
        with pytest.raises(LogUnavailable):
            await world.work(handler)
    world.log.available = True
    assert (await world.work(handler)).done == 1


async def test_an_outage_of_the_queue_before_anything_was_run_counts_as_no_worker_lost(world) -> None:
    await world.log.record([event(1), event(2), event(3)])
    handler = world.handler(retries=Retries(most_tries=1))
    await world.enlist(handler)
    world.queue.refuses = {"evt_1"}
    with pytest.raises(LogUnavailable):
        await world.work(handler)
    world.queue.refuses = set()
    assert (await world.work(handler)).done == 3
    assert await world.queue.list() == []


async def test_an_outage_in_the_middle_of_a_round_leaves_failures_written_and_the_rest_due(world) -> None:
    world.spoiling = {"evt_1"}  # so that they are tried one by one
    await world.log.record([event(1), event(2), event(3)])
    handler = world.handler(retries=Retries(most_tries=2))
    await world.enlist(handler)
    world.queue.refuses = {"evt_2"}
    world.queue.refuses_alone = True
    with pytest.raises(LogUnavailable):
        await world.work(handler)
    due = {one.event_id: (one.tries, one.claims) for one in await world.queue.list(states=[EffectState.DUE])}
    assert due == {"evt_1": (1, 1), "evt_2": (0, 0), "evt_3": (0, 0)}


async def test_an_outage_that_takes_nothing_back_counts_as_no_worker_lost_either(world) -> None:
    await world.log.record([event(1), event(2), event(3)])
    handler = world.handler(retries=Retries(most_tries=1))
    await world.enlist(handler)
    owed: list = []
    world.queue.refuses, world.queue.keeps = {"evt_1"}, True
    for _ in range(3):
        with pytest.raises(LogUnavailable):
            await world.work(handler, lease_seconds=5, owed=owed)
        world.clock.advance(5)
    world.queue.refuses, world.queue.keeps = set(), False
    assert (await world.work(handler, owed=owed)).done == 3
    assert await world.queue.list() == []
    assert owed == []


async def test_what_is_not_touched_in_a_round_is_given_back_once(world) -> None:
    """Given back twice, a suspect would be cleared by waiting for its turn, and never be buried."""
    await world.log.record([event(number) for number in (1, 2, 3)])
    handler = world.handler(retries=Retries(most_tries=9))
    await world.enlist(handler)
    for _ in range(2):  # two workers that never came back
        await world.queue.claim(handler.name, now=world.clock.now(), until=world.clock.now() + 5, limit=9)
        world.clock.advance(5)
    assert (await world.work(handler)).done == 1
    waiting = await world.queue.list(states=[EffectState.DUE])
    assert [one.claims for one in waiting] == [2, 2]


async def test_what_was_given_back_after_an_outage_is_not_given_back_again(world) -> None:
    """By then it may be another worker's, who must not lose it."""
    await world.log.record([event(1)])
    handler = world.handler()
    await world.enlist(handler)
    owed: list = []
    world.log.available = False
    with pytest.raises(LogUnavailable):
        await world.work(handler, owed=owed)
    world.log.available = True
    now = world.clock.now()
    assert len(await world.queue.claim(handler.name, now=now, until=now + 5, limit=9)) == 1
    assert (await world.work(handler, owed=owed)).claimed == 0


async def test_events_that_nobody_wants_are_passed_by_however_many_they_are(world) -> None:
    await world.log.record([*(event(number, type="payout.paid") for number in range(7)), event(7)])
    handler = world.handler(types=frozenset({"charge.succeeded"}))
    await world.enlist(handler, batch_size=3)
    assert (await world.work(handler)).done == 1
    assert world.lines == ["evt_7"]


async def test_effects_that_are_far_apart_in_the_log_find_their_events(world) -> None:
    await world.log.record(
        [
            event(number, type="payout.paid" if 1 < number < 40 else "charge.succeeded")
            for number in range(1, 41)
        ]
    )
    handler = world.handler(types=frozenset({"charge.succeeded"}))
    await world.enlist(handler)
    assert (await world.work(handler)).done == 2
    assert world.lines == ["evt_1", "evt_40"]


async def test_an_event_that_the_log_lost_is_a_dead_letter_at_once(world) -> None:
    await world.log.record([event(1), event(2)])
    handler = world.handler()
    await world.enlist(handler)
    await world.log.forget(received_before=event(2).received_at, up_to=9, now=0)
    told = await world.work(handler)
    assert (told.done, [one.event_id for one in told.dead]) == (1, ["evt_1"])
    assert "no longer holds" in (await world.queue.list())[0].error


async def test_payments_are_served_in_order_and_apart(world) -> None:
    world.failing = {"evt_1"}
    await world.log.record([event(number, payment_key=f"pi_{number % 2}") for number in range(1, 7)])
    handler = world.handler(in_order=True)
    await world.enlist(handler)
    while (await world.work(handler)).claimed:
        pass
    assert world.lines == ["evt_2", "evt_4", "evt_6"]
    world.failing = set()
    world.clock.advance(1)
    while (await world.work(handler)).claimed:
        pass
    assert world.lines == ["evt_2", "evt_4", "evt_6", "evt_1", "evt_3", "evt_5"]


async def test_inline_handlers_run_in_the_transaction_they_are_given(world) -> None:
    handlers = Handlers()
    handlers.add(world.handler(types=frozenset({"charge.succeeded"})))

    @handlers.on("charge.refunded", name="never")
    async def never(books, event):
        raise AssertionError

    books: dict = {}
    await inline(handlers, books, event(1))
    assert books["lines"] == ["evt_1"]
    world.failing = {"evt_1"}
    with pytest.raises(ValueError, match="no evt_1"):
        await inline(handlers, books, event(1))


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "a\0b"])
def test_a_handler_without_a_proper_name_is_refused(name) -> None:
    with pytest.raises(HandlerRefused):
        Handlers().on("charge.succeeded", name=name)(lambda _tx, _event: None)


@pytest.mark.parametrize("type_", ["*", "charge.*", "", " charge.succeeded", ("charge.succeeded",), Handler])
def test_a_handler_that_would_never_run_is_refused(type_) -> None:
    with pytest.raises(HandlerRefused, match="never run"):
        Handlers().on(type_, name="one")(lambda _tx, _event: None)


def test_a_word_is_no_set_of_types() -> None:
    """It would be for every type whose name stands in it."""
    with pytest.raises(HandlerRefused):
        Handler(name="one", function=lambda _tx, _event: None, types="charge.succeeded")


def test_a_name_is_taken_once() -> None:
    handlers = Handlers()
    handlers.on(name="one")(lambda _tx, _event: None)
    with pytest.raises(HandlerRefused, match="already"):
        handlers.on(name="one")(lambda _tx, _event: None)
    assert len(handlers) == 1


def test_any_failure_can_be_described() -> None:
    assert describe(ValueError("\ud800 \0 \x1b[31m" + "x" * 9999)).isprintable()
    assert len(describe(ValueError("x" * 9999))) == 500


async def test_a_failure_whose_text_fails_is_one_all_the_same(world) -> None:
    """It quotes an order that can't be read any more, say, as its transaction is over."""

    class Unspeakable(Exception):
        def __str__(self):
            raise RuntimeError("detached")

    def fail(books, event):
        raise Unspeakable

    await world.log.record([event(1)])
    handler = world.handler(function=fail)
    await world.enlist(handler)
    (failed,) = (await world.work(handler)).failed
    assert failed.error == "Unspeakable: (its text can't be told)"


@pytest.mark.parametrize("factor", [4.0, 1e6, 1e300])
def test_retries_never_overflow(factor) -> None:
    assert Retries(most_tries=10**6, factor=factor).due_at(10**5, 0.0) == 3600.0
