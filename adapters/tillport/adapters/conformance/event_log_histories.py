"""Any history of an event log, drawn by Hypothesis and compared with a model that fits on a page."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tillport.adapters.conformance.event_log import EventLogBench, everything, forget, visible
from tillport.adapters.conformance.histories import run_histories
from tillport.adapters.conformance.samples import NOON, events
from tillport.ports.event_log import Event, EventLog, RecordedEvent
from tillport.ports.selector import AllOf, Compare, matches

_WORDS = st.sampled_from([f"{kind}_{number}" for kind in ("ch", "pi", "re") for number in (1, 2, 3)])
_COMPARISONS = st.one_of(
    st.builds(Compare, st.just("id"), st.just("="), _WORDS),
    st.builds(Compare, st.just("payment_key"), st.just("="), _WORDS),
    st.builds(
        Compare, st.just("type"), st.just("="), st.sampled_from(["charge.succeeded", "charge.refunded"])
    ),
    st.builds(
        Compare,
        st.just("created"),
        st.sampled_from(["=", ">=", "<"]),
        st.integers(int(NOON), int(NOON) + 5) | st.floats(NOON, NOON + 5),
    ),
)
_SELECTORS = (
    st.none() | _COMPARISONS | st.lists(_COMPARISONS, max_size=3).map(lambda parts: AllOf(tuple(parts)))
)


def check_event_log_histories(
    new_bench: Callable[[], AbstractAsyncContextManager[EventLogBench]],
    *,
    housekeeping: bool = False,
    examples: int = 30,
    steps: int = 15,
    shrink: bool = True,
) -> None:
    """Run `examples` histories, each on a bench of its own. Call it from a plain function, not from a coroutine.

    Raises what Hypothesis raises: the shortest history that the log and the model tell differently.
    """

    class Histories(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.runner = asyncio.Runner()
            self.stack = AsyncExitStack()
            self.bench: EventLogBench = self.run(self.stack.enter_async_context(new_bench()))
            self.opened = self.bench.open()
            self.log: EventLog = self.run(self.opened.__aenter__())
            self.known: set[str] = set()
            self.kept: list[Event] = []
            self.handed_out = 0
            self.seen: list[RecordedEvent] = []

        def run(self, step: Any) -> Any:
            return self.runner.run(step)

        @rule(batch=st.lists(events(), max_size=5))
        def record(self, batch: list[Event]) -> None:
            expected = []
            for one in batch:
                expected.append(one.id not in self.known)
                if expected[-1]:
                    self.kept.append(one)
                self.known.add(one.id)
            assert list(self.run(self.log.record(batch))) == expected
            self.run(visible(self.log, [one for one, new in zip(batch, expected, strict=True) if new]))

        @rule(where=_SELECTORS, limit=st.integers(1, 4))
        def read_all(self, where: Any, limit: int) -> None:
            found = self.run(everything(self.log, where, limit=limit))
            assert [one.event for one in found] == [
                one for one in self.kept if matches(where, one.fields(), one.aliases)
            ]

        @rule(limit=st.integers(1, 4))
        def follow(self, limit: int) -> None:
            page = self.run(self.log.read(after=self.handed_out, limit=limit))
            assert page.position >= self.handed_out
            if page.reset:
                self.seen.clear()
            self.seen += page.events
            self.handed_out = page.position
            if page.position == self.run(self.log.head()):
                missed = [one for one in self.kept if one not in [seen.event for seen in self.seen]]
                assert not missed

        @rule()
        def open_again(self) -> None:
            self.run(self.opened.__aexit__(None, None, None))
            self.opened = self.bench.open()
            self.log = self.run(self.opened.__aenter__())

        @precondition(lambda self: housekeeping and self.kept)
        @rule(data=st.data())
        def forget_some(self, data: st.DataObject) -> None:
            count = data.draw(st.integers(0, len(self.kept)), label="how many to forget")
            positions = [one.position for one in self.run(everything(self.log))]
            up_to = positions[count - 1] if count else 0
            assert self.run(forget(self.log, count, received_before=NOON + 1000, up_to=up_to))
            if count:
                self.seen = [one for one in self.seen if one.position > up_to]
            del self.kept[:count]

        def teardown(self) -> None:
            self.run(self.opened.__aexit__(None, None, None))
            self.run(self.stack.aclose())
            self.runner.close()

    run_histories(Histories, examples=examples, steps=steps, shrink=shrink)
