"""How the suites run their state machines: each history on a store of its own, the shortest failure told."""

from typing import Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

_FINDING: Final = (Phase.explicit, Phase.reuse, Phase.generate)


def run_histories(machine: type[RuleBasedStateMachine], *, examples: int, steps: int, shrink: bool) -> None:
    """Run a machine; `shrink` says whether a failure is worth the time to find its shortest story."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,  # stores wait for disks
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            phases=(*_FINDING, Phase.shrink) if shrink else _FINDING,
        ),
    )
