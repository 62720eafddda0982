"""Any history of a charge ledger, drawn by Hypothesis and compared with a model of its states."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tillport.adapters.conformance.histories import run_histories
from tillport.adapters.conformance.ledger import LedgerBench, outcome
from tillport.adapters.conformance.samples import NOON, attempt
from tillport.ports.ledger import Attempt, AttemptState, ChargeLedger

_LEASE_SECONDS = 60.0
_keys = st.integers(1, 3)
_RESUMED = {
    AttemptState.STARTED: AttemptState.UNKNOWN,
    AttemptState.UNKNOWN: AttemptState.UNKNOWN,
    AttemptState.NOT_SENT: AttemptState.STARTED,
}


def check_ledger_histories(
    new_bench: Callable[[], AbstractAsyncContextManager[LedgerBench]],
    *,
    examples: int = 30,
    steps: int = 25,
    shrink: bool = True,
) -> None:
    """Run `examples` histories, each on a bench of its own. Call it from a plain function, not from a coroutine."""

    class Histories(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.runner = asyncio.Runner()
            self.stack = AsyncExitStack()
            bench: LedgerBench = self.run(self.stack.enter_async_context(new_bench()))
            self.ledger: ChargeLedger = self.run(self.stack.enter_async_context(bench.open()))
            self.model: dict[str, Attempt] = {}
            self.now = NOON

        def run(self, step: Any) -> Any:
            return self.runner.run(step)

        @rule(seconds=st.sampled_from([1.0, 30.0, 61.0]))
        def time_passes(self, seconds: float) -> None:
            self.now += seconds

        @rule(number=_keys)
        def open_one(self, number: int) -> None:
            fresh = attempt(
                number, started_at=self.now, tried_at=self.now, busy_until=self.now + _LEASE_SECONDS
            )
            opened = self.run(self.ledger.open(fresh))
            assert opened.new == (fresh.key not in self.model)
            assert opened.attempt == self.model.setdefault(fresh.key, fresh)

        @rule(number=_keys, seen_tries=st.integers(1, 3))
        def take_over(self, number: int, seen_tries: int) -> None:
            key, until = f"key_{number}", self.now + _LEASE_SECONDS
            taken = self.run(
                self.ledger.take_over(key, seen_tries=seen_tries, now=self.now, busy_until=until)
            )
            held = self.model.get(key)
            may = (
                held is not None
                and not held.state.final
                and held.busy_until <= self.now
                and held.tries == seen_tries
            )
            if not may:
                assert taken is None
                return
            assert held is not None
            self.model[key] = attrs.evolve(
                held,
                tries=seen_tries + 1,
                tried_at=self.now,
                busy_until=until,
                outcome=attrs.evolve(held.outcome, state=_RESUMED[held.state]),
            )
            assert taken == self.model[key]

        @rule(number=_keys, state=st.sampled_from(list(AttemptState)), tries=st.integers(1, 3))
        def settle(self, number: int, state: AttemptState, tries: int) -> None:
            key = f"key_{number}"
            held = self.model.get(key)
            if held is None:
                return
            settled = self.run(self.ledger.settle(key, outcome(state), tries=tries))
            if settled != held:
                assert not held.state.final
                assert (state.final and state is not AttemptState.REFUSED) or tries == held.tries
                assert (held.state, state) != (AttemptState.UNKNOWN, AttemptState.NOT_SENT)
                assert settled.outcome == outcome(state)
            elif not held.state.final:
                refused_late = state is AttemptState.REFUSED and tries != held.tries
                assert not state.final or refused_late or held.outcome == outcome(state)
            self.model[key] = settled

        @rule(limit=st.integers(1, 3))
        def look_for_unsettled(self, limit: int) -> None:
            idle = self.run(self.ledger.unsettled(idle_at=self.now, limit=limit))
            expected = [
                one
                for one in self.model.values()
                if one.state in (AttemptState.STARTED, AttemptState.UNKNOWN) and one.busy_until <= self.now
            ]
            assert len(idle) == min(limit, len(expected))
            assert all(one in expected for one in idle)

        @rule(number=_keys)
        def find(self, number: int) -> None:
            assert self.run(self.ledger.find(f"key_{number}")) == self.model.get(f"key_{number}")

        def teardown(self) -> None:
            self.run(self.stack.aclose())
            self.runner.close()

    run_histories(Histories, examples=examples, steps=steps, shrink=shrink)
