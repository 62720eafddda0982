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
from typing import Final

import attrs

from tillport.adapters.conformance.event_log_bench import (
    PATIENCE_SECONDS,
    EventLogBench,
    Law,
    everything,
    recorded,
    values,
    visible,
)
from tillport.adapters.conformance.event_log_keeping import (
    a_forgotten_event_is_never_recorded_again,
    a_reader_behind_the_horizon_is_told,
    a_replaced_body_is_what_readers_get,
    forget,
    positions_are_never_given_twice,
    retention_keeps_what_consumers_need_and_what_is_young,
    retention_stops_at_the_first_young_event,
)
from tillport.adapters.conformance.event_log_names import (
    a_selector_takes_nothing_for_what_it_is_nearly,
    events_with_nearly_the_same_id_are_different,
    forgetting_an_event_forgets_no_other_that_is_nearly_it,
)
from tillport.adapters.conformance.samples import NOON, event
from tillport.ports.event_log import EventLog, EventRefused, LogUnavailable, RecordedEvent
from tillport.ports.selector import AllOf, Compare, matches

__all__ = [
    "PATIENCE_SECONDS",
    "EventLogBench",
    "EventLogCapabilities",
    "Law",
    "event_log_laws",
    "everything",
    "forget",
    "visible",
]


@attrs.frozen(kw_only=True)
class EventLogCapabilities:
    """What the log under test can do; each selects laws."""

    housekeeping: bool = False
    """Its logs are `Housekeeping` too."""
    outages: bool = False
    """The bench's `outage` works."""
    several: bool = True
    """`open` may be entered a second time while the first is open, as a second process would."""


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
            assert await recorded(log, batch) == [True] * len(batch)
        found = await everything(log)
        assert values(found) == [one for batch in batches for one in batch]
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
        await recorded(log, [awkward, bare])
        assert values(await everything(log)) == [awkward, bare]
        found = await log.find("evt_1")
        assert found is not None
        assert found.event == awkward


async def a_large_body_comes_back(bench: EventLogBench) -> None:
    large = event(1, body=b'{"x": "' + b"0123456789" * 100_000 + b'"}')
    async with bench.open() as log:
        await recorded(log, [large])
        assert values(await everything(log)) == [large]


async def a_repeated_id_is_not_new_and_the_first_body_stays(bench: EventLogBench) -> None:
    first, second = event(1), event(1, body=b'{"another": true}', type="charge.failed")
    async with bench.open() as log:
        assert await recorded(log, [first]) == [True]
        assert await recorded(log, [second, event(2)]) == [False, True]
        assert await recorded(log, [event(3), event(3, body=b"{}"), second]) == [True, False, False]
        assert values(await everything(log)) == [first, event(2), event(3)]


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
        assert await recorded(log, [event(2), event(3)]) == [False, True]
        assert values(await everything(log)) == [event(1), event(2), event(3)]


async def two_logs_on_one_store_are_one_log(bench: EventLogBench) -> None:
    async with bench.open() as here, bench.open() as there:
        await recorded(here, [event(1)])
        await visible(there, [event(1)])
        assert await recorded(there, [event(1), event(2)]) == [False, True]
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
        await recorded(log, [event(number) for number in range(1, 6)])
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
        await recorded(log, events)
        for where in [None, AllOf(()), *fields, *times, *both]:
            expected = [one for one in events if matches(where, one.fields(), one.aliases)]
            assert values(await everything(log, where)) == expected, where


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
        assert await recorded(log, [event(1), event(2)]) == [True, True]


async def an_outage_is_told_and_records_nothing(bench: EventLogBench) -> None:
    async with bench.open() as log:
        await recorded(log, [event(1)])
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
        assert values(await everything(log)) == [event(1), event(2)]


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
    events_with_nearly_the_same_id_are_different,
    a_selector_takes_nothing_for_what_it_is_nearly,
    an_event_that_no_store_can_hold_is_refused_with_its_whole_call,
)


_SEVERAL: Final[tuple[Law, ...]] = (two_logs_on_one_store_are_one_log, no_reader_is_overtaken)


_HOUSEKEEPING: Final[tuple[Law, ...]] = (
    a_forgotten_event_is_never_recorded_again,
    forgetting_an_event_forgets_no_other_that_is_nearly_it,
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
