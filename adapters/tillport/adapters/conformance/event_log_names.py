"""The laws of names: what differs in a single character is another event, another payment, another type.

Stripe's ids may differ in case alone, and a database may overlook that: MySQL does by default, SQLite with
`NOCASE`. An event that is taken for a repetition of another is lost.
"""

from typing import cast

from tillport.adapters.conformance.event_log_bench import (
    EventLogBench,
    everything,
    recorded,
    values,
    visible,
)
from tillport.adapters.conformance.event_log_keeping import forget
from tillport.adapters.conformance.samples import NEARLY_ALIKE, NOON, event
from tillport.ports.event_log import Event
from tillport.ports.housekeeping import Housekeeping
from tillport.ports.selector import Compare, matches


def _events() -> list[tuple[Event, Event, Event]]:
    """Return three events for each kind of likeness, with ids of up to 255 characters."""
    return [
        (event(3 * n, id=f"evt{a}"), event(3 * n + 1, id=f"evt{b}"), event(3 * n + 2, id=f"evt{c}"))
        for n, (a, b, c) in enumerate(NEARLY_ALIKE)
    ]


async def events_with_nearly_the_same_id_are_different(bench: EventLogBench) -> None:
    families = _events()
    # Two of each in one call, the third in a call of its own: a store may look for repetitions in two places.
    early = [one for family in families for one in family[:2]]
    late = [family[2] for family in families]
    async with bench.open() as log:
        for batch in (early, late):
            new = list(await log.record(batch))
            assert new == [True] * len(batch), [one.id for one in batch]
            await visible(log, batch)
        assert values(await everything(log)) == early + late
        for one in early + late:
            found = await log.find(one.id)
            assert found is not None, one.id
            assert found.event == one
            assert values(await everything(log, Compare("event_id", "=", one.id))) == [one]
        assert await recorded(log, early + late) == [False] * len(early + late)


async def a_selector_takes_nothing_for_what_it_is_nearly(bench: EventLogBench) -> None:
    def about(number: int, end: str) -> Event:
        return event(
            number,
            type=f"type{end}",
            transaction_id=f"ch{end}",
            payment_key=f"pi{end}",
            aliases=(f"ch{end}", f"pi{end}", f"re{end}"),
            account=f"acct{end}",
            request_key=f"key{end}",
        )

    # Of the third of each there is no event.
    there = [end for *two, _ in NEARLY_ALIKE for end in two]
    events = [about(number, end) for number, end in enumerate(there)]
    async with bench.open() as log:
        await recorded(log, events)
        for end in (end for family in NEARLY_ALIKE for end in family):
            for where in (
                *(Compare("id", "=", f"{kind}{end}") for kind in ("ch", "pi", "re")),
                Compare("payment_key", "=", f"pi{end}"),
                Compare("type", "=", f"type{end}"),
                Compare("account", "=", f"acct{end}"),
                Compare("request_key", "=", f"key{end}"),
            ):
                expected = [one for one in events if matches(where, one.fields(), one.aliases)]
                assert len(expected) == (end in there)
                assert values(await everything(log, where)) == expected, where


async def forgetting_an_event_forgets_no_other_that_is_nearly_it(bench: EventLogBench) -> None:
    families = _events()
    old, young, later = ([family[n] for family in families] for n in range(3))
    async with bench.open() as log:
        await recorded(log, old)
        last = await log.head()
        await recorded(log, young)
        assert not await cast("Housekeeping", log).replace_body(later[0].id, b"{}", now=NOON)
        assert await forget(log, len(old), received_before=NOON + 1000, up_to=last)
        assert list(await log.record(old)) == [False] * len(old)
        assert list(await log.record(later)) == [True] * len(later)
        await visible(log, later)
        assert values(await everything(log)) == young + later
