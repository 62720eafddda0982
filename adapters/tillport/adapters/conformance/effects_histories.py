"""Any history of an effect queue, drawn by Hypothesis and compared with a model of it.

The model keeps a dictionary of effects and a list of what must have been written; it says before each step what must
come of it. Time is a number, so claims end and retries fall due at moments that Hypothesis chooses.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tillport.adapters.conformance.effects import HANDLER, EffectsBench, Queue, writer
from tillport.adapters.conformance.histories import run_histories
from tillport.adapters.conformance.samples import NOON
from tillport.ports.effects import Effect, EffectState

_OPEN = (EffectState.DUE, EffectState.DEAD)
_events = st.integers(1, 8)
_handlers = st.sampled_from([HANDLER, "in order"])


def check_effects_histories(
    new_bench: Callable[[], AbstractAsyncContextManager[EffectsBench]],
    *,
    examples: int = 30,
    steps: int = 30,
    shrink: bool = True,
) -> None:
    """Run `examples` histories, each on a bench of its own. Call it from a plain function, not from a coroutine."""

    class Histories(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.runner = asyncio.Runner()
            self.stack = AsyncExitStack()
            self.bench: EffectsBench = self.run(self.stack.enter_async_context(new_bench()))
            self.queue: Queue = self.run(self.stack.enter_async_context(self.bench.open()))
            self.now = NOON
            self.model: dict[tuple[str, str], Effect] = {}
            self.places: dict[str, int] = {}
            self.written: list[str] = []
            self.taken: list[list[Effect]] = []

        def run(self, step: Any) -> Any:
            return self.runner.run(step)

        @rule(seconds=st.sampled_from([1.0, 5.0, 10.0]))
        def time_passes(self, seconds: float) -> None:
            self.now += seconds

        @initialize(payments=st.integers(1, 2), count=st.integers(0, 4))
        def something_to_do(self, payments: int, count: int) -> None:
            for handler in (HANDLER, "in order"):
                self.begin(handler, 0)
                self.enlist(handler, None, count, payments)

        @rule(handler=_handlers, position=st.integers(0, 2))
        def begin(self, handler: str, position: int) -> None:
            place = self.places.setdefault(handler, position)
            assert self.run(self.queue.begin(handler, position=position)) == place

        @rule(
            handler=_handlers,
            after=st.integers(0, 8) | st.none(),
            count=st.integers(0, 3),
            payments=st.integers(1, 3),
        )
        def enlist(self, handler: str, after: int | None, count: int, payments: int) -> None:
            start = after if after is not None else self.places.get(handler, 0)
            new = [
                Effect(
                    handler=handler,
                    event_id=f"evt_{position}",
                    position=position,
                    payment_key=f"pi_{position % payments}",
                    in_order=handler != HANDLER,
                )
                for position in range(start + 1, start + 1 + count)
            ]
            moved = self.run(self.queue.enlist(handler, new, after=start, position=start + count))
            assert moved == (self.places.get(handler) == start)
            if moved:
                self.places[handler] = start + count
                for effect in new:
                    assert (handler, effect.event_id) not in self.model
                    self.model[handler, effect.event_id] = effect

        @rule(handler=_handlers, limit=st.integers(1, 4), seconds=st.sampled_from([0.0, 5.0, 10.0]))
        def claim(self, handler: str, limit: int, seconds: float) -> None:
            until = self.now + seconds
            claimed = list(self.run(self.queue.claim(handler, now=self.now, until=until, limit=limit)))
            due = sorted(
                (one for one in self.model.values() if one.handler == handler and self.is_due(one)),
                key=lambda one: (one.due_at, one.position),
            )[:limit]
            expected = [attrs.evolve(one, due_at=until, claims=one.claims + 1) for one in due]
            assert claimed == sorted(expected, key=lambda one: one.position)
            for one in claimed:
                self.put(one)
            if claimed:
                self.taken.append(claimed)

        @rule(data=st.data(), failing=st.sets(_events, max_size=3))
        def perform(self, data: st.DataObject, failing: set[int]) -> None:
            """Perform an old claim, however stale: what is due of it is done."""
            if not self.taken:
                return
            batch = data.draw(st.sampled_from(self.taken))
            names = [f"evt_{number}" for number in failing]
            told = self.run(self.queue.perform(batch, writer(self.bench, failing=names)))
            assert [one.effect for one in told] == batch
            for one in told:
                found = self.model.get((one.effect.handler, one.effect.event_id))
                if found is None or found.state is not EffectState.DUE:
                    assert (one.done, one.failure) == (False, None)
                elif one.effect.event_id in names:
                    assert not one.done
                    assert one.failure is not None
                else:
                    assert one.done
                    self.put(attrs.evolve(found, state=EffectState.DONE))
                    self.written.append(f"{found.handler} {found.event_id}")

        @rule(data=st.data(), seconds=st.sampled_from([0.0, 7.0]) | st.none())
        def postpone(self, data: st.DataObject, seconds: float | None) -> None:
            if not self.taken:
                return
            one = data.draw(st.sampled_from(data.draw(st.sampled_from(self.taken))))
            due_at = None if seconds is None else self.now + seconds
            self.run(self.queue.postpone(one, error="no", due_at=due_at))
            found = self.model.get((one.handler, one.event_id))
            if found is not None and found.state is EffectState.DUE:
                self.put(
                    attrs.evolve(
                        found,
                        tries=found.tries + 1,
                        error="no",
                        state=EffectState.DEAD if due_at is None else EffectState.DUE,
                        due_at=found.due_at if due_at is None else due_at,
                    )
                )

        @rule(data=st.data())
        def give_back(self, data: st.DataObject) -> None:
            if not self.taken:
                return
            batch = data.draw(st.sampled_from(self.taken))
            self.run(self.queue.give_back(batch, now=self.now))
            for one in batch:
                found = self.model.get((one.handler, one.event_id))
                if found is not None and found.state is EffectState.DUE:
                    self.put(attrs.evolve(found, due_at=self.now, claims=max(found.claims - 1, 0)))

        @rule(handler=_handlers, number=_events)
        def retry(self, handler: str, number: int) -> None:
            found = self.model.get((handler, f"evt_{number}"))
            can = found is not None and found.state is EffectState.DEAD
            assert self.run(self.queue.retry(handler, f"evt_{number}", now=self.now)) == can
            if can and found is not None:
                self.put(attrs.evolve(found, state=EffectState.DUE, tries=0, claims=0, due_at=self.now))

        @rule(handler=_handlers, number=_events)
        def skip(self, handler: str, number: int) -> None:
            found = self.model.get((handler, f"evt_{number}"))
            can = found is not None and found.state in _OPEN
            assert self.run(self.queue.skip(handler, f"evt_{number}")) == can
            if can and found is not None:
                self.put(attrs.evolve(found, state=EffectState.SKIPPED))

        @rule(up_to=st.integers(0, 6))
        def forget(self, up_to: int) -> None:
            gone = [
                key for key, one in self.model.items() if one.position <= up_to and one.state not in _OPEN
            ]
            assert self.run(self.queue.forget(up_to=up_to)) == len(gone)
            for key in gone:
                del self.model[key]

        @rule()
        def look(self) -> None:
            found = self.run(self.queue.list(states=tuple(EffectState), limit=100))
            assert list(found) == sorted(self.model.values(), key=lambda one: (one.position, one.handler))
            for one in self.run(self.queue.standings()):
                open_ = [
                    each
                    for each in self.model.values()
                    if each.handler == one.handler and each.state in _OPEN
                ]
                assert one.position == self.places[one.handler]
                assert one.due + one.dead == len(open_)
                assert one.oldest_position == min((each.position for each in open_), default=None)

        @invariant()
        def what_is_committed_is_what_was_told(self) -> None:
            assert sorted(self.run(self.bench.lines())) == sorted(self.written)

        def is_due(self, one: Effect) -> bool:
            return (
                one.state is EffectState.DUE
                and one.due_at <= self.now
                and not (
                    one.in_order
                    and any(
                        other.handler == one.handler
                        and other.payment_key == one.payment_key
                        and other.position < one.position
                        and other.state in _OPEN
                        for other in self.model.values()
                    )
                )
            )

        def put(self, one: Effect) -> None:
            self.model[one.handler, one.event_id] = one

        def teardown(self) -> None:
            self.run(self.stack.aclose())
            self.runner.close()

    run_histories(Histories, examples=examples, steps=steps, shrink=shrink)
