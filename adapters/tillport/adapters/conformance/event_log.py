"""The laws of an event log: what every `EventLog` does, whatever keeps its events.

Takes a bench, so that each law gets a store of its own, and returns the laws that your capabilities call for. With
pytest and anyio's plugin in auto mode:

    LAWS = event_log_laws(EventLogCapabilities(housekeeping=True))

    @pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
    async def test_my_event_log(law, tmp_path):
        async with my_bench(tmp_path) as bench:
            await law(bench)

    def test_any_history_agrees_with_the_model(tmp_path):
        check_event_log_histories(lambda: my_bench(tmp_path), housekeeping=True)

A law ends quietly or raises `AssertionError`. A log may show an event a moment after it was recorded: the laws wait.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, TypeAlias, cast

import attrs

from tillport.adapters.conformance.samples import NOON, event
from tillport.ports.event_log import Event, EventLog, EventRefused, LogUnavailable, RecordedEvent
from tillport.ports.housekeeping import Housekeeping
from tillport.ports.selector import AllOf, Compare, Selector, matches

PATIENCE_SECONDS: Final = 20.0
"""How long a recorded event may take to become visible before a law gives up."""


@attrs.frozen(kw_only=True)
class EventLogCapabilities:
    """What the log under test can do; each selects laws."""

    housekeeping: bool = False
    """Its logs are `Housekeeping` too."""
    outages: bool = False
    """The bench's `outage` works."""
    several: bool = True
    """`open` may be entered a second time while the first is open, as a second process would."""


class EventLogBench(Protocol):
    """One store under test, empty at first."""

    def open(self) -> AbstractAsyncContextManager[EventLog]:
        """Open a log on the store. What was recorded there stays when it is closed."""
        ...

    def outage(self) -> AbstractAsyncContextManager[None]:
        """Make the store unreachable for as long as this lasts."""
        ...


Law: TypeAlias = Callable[[EventLogBench], Awaitable[None]]


async def visible(log: EventLog, events: Iterable[Event]) -> None:
    """Wait until each of the events can be read."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        for one in events:
            while await log.find(one.id) is None:  # noqa: ASYNC110 - the port has nothing to wait on
                await asyncio.sleep(0.01)


async def everything(log: EventLog, where: Selector | None = None, *, limit: int = 3) -> list[RecordedEvent]:
    """Read the log from its start to its end, page by page."""
    found: list[RecordedEvent] = []
    after, head = 0, await log.head()
    while after < head:
        page = await log.read(after=after, where=where, limit=limit)
        assert len(page.events) <= limit
        assert page.position > after, "a page below the head moves on"
        found += page.events
        after = page.position
    return found


async def _recorded(log: EventLog, events: Sequence[Event]) -> list[bool]:
    new = list(await log.record(events))
    await visible(log, events)
    return new


def _values(found: Iterable[RecordedEvent]) -> list[Event]:
    return [one.event for one in found]


async def an_empty_log_has_nothing(bench: EventLogBench) -> None:
    async with bench.open() as log:
        assert await log.head() == 0
        assert list(await log.record([])) == []
        page = await log.read(after=0)
        assert (page.events, page.position, page.reset) == ((), 0, False)
        assert await log.find("evt_1") is None


async def what_was_recorded_is_read_in_its_order(bench: EventLogBench) -> None:
    async with bench.open() as log:
        batches = [[event(3), event(1)], [event(2)], [event(n) for n in range(4, 9)]]
        for batch in batches:
            assert await _recorded(log, batch) == [True] * len(batch)
        found = await everything(log)
        assert _values(found) == [one for batch in batches for one in batch]
        positions = [one.position for one in found]
        assert positions == sorted(set(positions))
        assert positions[0] >= 1
        assert positions[-1] == await log.head()


async def every_field_comes_back_as_it_went_in(bench: EventLogBench) -> None:
    awkward = event(
        1,
        type="a 'type' with \"quotes\", % and ; -- and \N{SNOWMAN}\n\t\\",
        aliases=("ch_1", 'a"b', "a,b", "[1]", "\N{PILE OF POO}", "", "a\\b"),
        account="acct_1",
        api_version=None,
        request_key=None,
        livemode=True,
        created=-5,
        received_at=1_763_921_498.1234567,
        body=b'{"spaces" :  1.10,\r\n "twice":1, "twice":2, "\xf0\x9f\x92\xb3": "\\ud83d"} ',
    )
    bare = event(2, aliases=("ch_2",), body=b"", payment_key="not an alias", account="")
    async with bench.open() as log:
        await _recorded(log, [awkward, bare])
        assert _values(await everything(log)) == [awkward, bare]
        found = await log.find("evt_1")
        assert found is not None
        assert found.event == awkward


async def a_large_body_comes_back(bench: EventLogBench) -> None:
    large = event(1, body=b'{"x": "' + b"0123456789" * 100_000 + b'"}')
    async with bench.open() as log:
        await _recorded(log, [large])
        assert _values(await everything(log)) == [large]


async def a_repeated_id_is_not_new_and_the_first_body_stays(bench: EventLogBench) -> None:
    first, second = event(1), event(1, body=b'{"another": true}', type="charge.failed")
    async with bench.open() as log:
        assert await _recorded(log, [first]) == [True]
        assert await _recorded(log, [second, event(2)]) == [False, True]
        assert await _recorded(log, [event(3), event(3, body=b"{}"), second]) == [True, False, False]
        assert _values(await everything(log)) == [first, event(2), event(3)]


async def of_concurrent_recordings_of_one_id_one_is_new(bench: EventLogBench) -> None:
    async with bench.open() as log:
        calls = [log.record([event(number), event(100 + turn)]) for turn in range(8) for number in (1, 2)]
        answers = await asyncio.gather(*calls)
        assert sum(first for first, _ in answers) == 2
        await visible(log, [event(1), event(2), *(event(100 + turn) for turn in range(8))])
        assert len(await everything(log)) == 10


async def a_log_opened_again_has_everything(bench: EventLogBench) -> None:
    async with bench.open() as log:
        await log.record([event(1), event(2)])
    async with bench.open() as log:
        await visible(log, [event(1), event(2)])
        assert await _recorded(log, [event(2), event(3)]) == [False, True]
        assert _values(await everything(log)) == [event(1), event(2), event(3)]


async def two_logs_on_one_store_are_one_log(bench: EventLogBench) -> None:
    async with bench.open() as here, bench.open() as there:
        await _recorded(here, [event(1)])
        await visible(there, [event(1)])
        assert await _recorded(there, [event(1), event(2)]) == [False, True]
        await visible(here, [event(2)])
        assert await everything(here) == await everything(there)


async def no_reader_is_overtaken(bench: EventLogBench) -> None:
    """Writers at work in two logs; a reader that follows the positions sees everything once."""
    total = 60
    seen: list[RecordedEvent] = []

    async def write(log: EventLog, numbers: range) -> None:
        for number in numbers:
            await log.record([event(number)])

    async def follow(log: EventLog) -> None:
        after = 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(seen) < total:
                page = await log.read(after=after, limit=7)
                assert page.position >= after
                seen.extend(page.events)
                after = page.position
                await asyncio.sleep(0)

    async with bench.open() as here, bench.open() as there:
        await asyncio.gather(
            follow(there),
            write(here, range(20)),
            write(there, range(20, 40)),
            write(here, range(40, 60)),
        )
        assert seen == await everything(here)
        assert len({one.event.id for one in seen}) == total


async def a_page_without_hits_moves_to_the_head(bench: EventLogBench) -> None:
    async with bench.open() as log:
        await _recorded(log, [event(number) for number in range(1, 6)])
        page = await log.read(after=0, where=Compare("type", "=", "no.such"), limit=2)
        assert page.events == ()
        assert page.position == await log.head()
        beyond = await log.read(after=page.position + 1000)
        assert (beyond.events, beyond.position) == ((), page.position + 1000), "a position never goes back"


async def a_selector_finds_what_it_describes(bench: EventLogBench) -> None:
    events = [
        event(1, aliases=("ch_1", "pi_1", "re_1"), type="refund.created"),
        event(2, transaction_id="ch_1", payment_key="pi_1", aliases=("ch_1",), account="acct_1"),
        event(3, transaction_id="pi_1", payment_key="pi_1", aliases=("pi_1",), request_key=None),
        event(4, payment_key="re_1", aliases=("ch_4", "dp_4"), created=int(NOON)),
        event(5, transaction_id="' OR 1=1 --", aliases=("' OR 1=1 --",), received_at=NOON),
    ]
    fields = [
        *(
            Compare("id", "=", alias)
            for alias in ("ch_1", "pi_1", "re_1", "dp_4", "ch_4", "' OR 1=1 --", "x", "")
        ),
        *(Compare("payment_key", "=", key) for key in ("pi_1", "re_1", "%")),
        Compare("event_id", "=", "evt_3"),
        Compare("type", "=", "refund.created"),
        Compare("account", "=", "acct_1"),
        Compare("request_key", "=", "key_4"),
        Compare("request_key", "=", "\0"),
    ]
    times = [
        Compare(field, operator, value)
        for field in ("created", "received_at")
        for operator in ("=", ">=", "<")
        for value in (NOON, NOON + 2, NOON + 2.123456, NOON + 2.5, int(NOON) + 3, 1e300, -1e300, float("nan"))
    ]
    both = [AllOf((one, AllOf((other,)))) for one in fields[:3] for other in [*fields[8:], *times[::5]]]
    async with bench.open() as log:
        await _recorded(log, events)
        for where in [None, AllOf(()), *fields, *times, *both]:
            expected = [one for one in events if matches(where, one.fields(), one.aliases)]
            assert _values(await everything(log, where)) == expected, where


async def an_event_that_no_store_can_hold_is_refused_with_its_whole_call(bench: EventLogBench) -> None:
    bad = [
        event(9, body=b'{"not": "utf-8 \xff"}'),
        event(9, body=b'{"nul": "\0"}'),
        event(9, type="nul\0"),
        event(9, aliases=("ch_9", "lone \udc80 surrogate")),
        event(9, created=2**63),
        event(9, received_at=float("inf")),
        event(9, id=""),
    ]
    async with bench.open() as log:
        for one in bad:
            try:
                await log.record([event(1), one, event(2)])
            except EventRefused:
                pass
            else:
                raise AssertionError(f"{one} was not refused")
        assert await log.find("evt_1") is None
        assert await _recorded(log, [event(1), event(2)]) == [True, True]


async def an_outage_is_told_and_records_nothing(bench: EventLogBench) -> None:
    async with bench.open() as log:
        await _recorded(log, [event(1)])
        async with bench.outage():
            for call in (log.record([event(2)]), log.record([event(1)])):
                try:
                    await call
                except LogUnavailable:
                    continue
                raise AssertionError("a recording succeeded during an outage")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    new = list(await log.record([event(2)]))
                    break
                except LogUnavailable:
                    await asyncio.sleep(0.05)
        assert new == [True], "nothing of a failed call was kept"
        await visible(log, [event(2)])
        assert _values(await everything(log)) == [event(1), event(2)]


def _keeper(log: EventLog) -> Housekeeping:
    assert hasattr(log, "forget"), "a log with the capability `housekeeping` has its methods"
    assert hasattr(log, "replace_body")
    return cast("Housekeeping", log)


async def a_forgotten_event_is_never_recorded_again(bench: EventLogBench) -> None:
    old = [event(1, aliases=("ch_1", "pi_1", "re_1")), event(2)]
    kept = [event(3), event(4)]
    async with bench.open() as log:
        await _recorded(log, [*old, *kept])
        horizon = kept[0].received_at
        assert await forget(log, 2, received_before=horizon)
        assert await log.find("evt_1") is None
        assert list(await log.record([*old, event(5)])) == [False, False, True]
        await visible(log, [event(5)])
        assert _values(await everything(log)) == [*kept, event(5)]
        assert await everything(log, Compare("id", "=", "re_1")) == []


async def forget(log: EventLog, count: int, *, received_before: float, up_to: int | None = None) -> bool:
    """Forget until `count` events are gone: a store may take them away in several steps."""
    keeper = _keeper(log)
    gone = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            last = await log.head() if up_to is None else up_to
            gone += await keeper.forget(received_before=received_before, up_to=last, now=NOON)
            if gone >= count:
                return gone == count
            await asyncio.sleep(0.01)


async def retention_keeps_what_consumers_need_and_what_is_young(bench: EventLogBench) -> None:
    async with bench.open() as log:
        await _recorded(log, [event(number) for number in range(1, 7)])
        before = await everything(log)
        assert await forget(log, 2, received_before=NOON + 1000, up_to=before[1].position)
        assert await everything(log) == before[2:]
        assert await forget(log, 1, received_before=before[3].event.received_at)
        assert await everything(log) == before[3:]
        await forget(log, 0, received_before=NOON)
        assert await everything(log) == before[3:]


async def retention_stops_at_the_first_young_event(bench: EventLogBench) -> None:
    async with bench.open() as log:
        events = [event(1), event(2, received_at=NOON + 500), event(3)]
        await _recorded(log, events)
        assert await forget(log, 1, received_before=NOON + 100)
        assert _values(await everything(log)) == events[1:]


async def a_reader_behind_the_horizon_is_told(bench: EventLogBench) -> None:
    async with bench.open() as log:
        await _recorded(log, [event(number) for number in range(1, 5)])
        positions = [one.position for one in await everything(log)]
        assert not (await log.read(after=0)).reset
        assert await forget(log, 2, received_before=event(3).received_at)
        assert (await log.read(after=0)).reset
        assert (await log.read(after=positions[0])).reset
        assert (await log.read(after=positions[0], where=Compare("id", "=", "ch_4"))).reset
        assert not (await log.read(after=positions[1])).reset
        assert not (await log.read(after=positions[3])).reset


async def positions_are_never_given_twice(bench: EventLogBench) -> None:
    async with bench.open() as log:
        await _recorded(log, [event(1), event(2)])
        head = await log.head()
        assert await forget(log, 2, received_before=NOON + 1000)
        assert await log.head() == head
        await _recorded(log, [event(3)])
        (one,) = await everything(log)
        assert one.position > head


async def a_replaced_body_is_what_readers_get(bench: EventLogBench) -> None:
    async with bench.open() as log:
        await _recorded(log, [event(1), event(2)])
        before = await everything(log)
        assert await _keeper(log).replace_body("evt_1", b'{"reduced": true}', now=NOON)
        assert not await _keeper(log).replace_body("evt_9", b"{}", now=NOON)
        changed = RecordedEvent(before[0].position, attrs.evolve(event(1), body=b'{"reduced": true}'))
        assert await everything(log) == [changed, before[1]]
        assert list(await log.record([event(1)])) == [False]
        try:
            await _keeper(log).replace_body("evt_2", b"\xff", now=NOON)
        except EventRefused:
            return
        raise AssertionError("a body that is no text was taken")


_ALWAYS: Final[tuple[Law, ...]] = (
    an_empty_log_has_nothing,
    what_was_recorded_is_read_in_its_order,
    every_field_comes_back_as_it_went_in,
    a_large_body_comes_back,
    a_repeated_id_is_not_new_and_the_first_body_stays,
    of_concurrent_recordings_of_one_id_one_is_new,
    a_log_opened_again_has_everything,
    a_page_without_hits_moves_to_the_head,
    a_selector_finds_what_it_describes,
    an_event_that_no_store_can_hold_is_refused_with_its_whole_call,
)
_SEVERAL: Final[tuple[Law, ...]] = (two_logs_on_one_store_are_one_log, no_reader_is_overtaken)
_HOUSEKEEPING: Final[tuple[Law, ...]] = (
    a_forgotten_event_is_never_recorded_again,
    retention_keeps_what_consumers_need_and_what_is_young,
    retention_stops_at_the_first_young_event,
    a_reader_behind_the_horizon_is_told,
    positions_are_never_given_twice,
    a_replaced_body_is_what_readers_get,
)


def event_log_laws(capabilities: EventLogCapabilities) -> list[Law]:
    """Return the laws that a log with these capabilities must hold.

    >>> len(event_log_laws(EventLogCapabilities())) < len(
    ...     event_log_laws(EventLogCapabilities(housekeeping=True))
    ... )
    True
    """
    laws = [*_ALWAYS]
    if capabilities.several:
        laws += _SEVERAL
    if capabilities.outages:
        laws.append(an_outage_is_told_and_records_nothing)
    if capabilities.housekeeping:
        laws += _HOUSEKEEPING
    return laws
