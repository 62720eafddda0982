"""Several accounts as one: whose deliveries are due, when the next thing falls due, and clocks moved in step."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tillport.simulator.clock import end_of
from tillport.simulator.deliveries import Attempt

if TYPE_CHECKING:
    from tillport.simulator.simulator import Simulator

Done = list[tuple[Attempt, int | None]]


def due(accounts: "Sequence[Simulator]", turn: int, limit: int | None) -> list[Attempt]:
    """Return the due attempts of all, beginning with another account at each turn, so that none starves."""
    out: list[Attempt] = []
    start = turn % len(accounts)
    for one in (*accounts[start:], *accounts[:start]):
        left = None if limit is None else limit - len(out)
        if left is not None and left <= 0:
            break
        out += one.own_due(None, left)
    return out


def wait(accounts: "Sequence[Simulator]") -> float | None:
    """Return in how many seconds, by its own clock, the next thing falls due anywhere; None when nothing waits."""
    waits = [
        max(0.0, moment - one.clock.now()) for one in accounts if (moment := one.own_next_due()) is not None
    ]
    return min(waits, default=None)


def advance(accounts: "Sequence[Simulator]", seconds: float, deliver: Callable[[], Done] | None) -> Done:
    """Move every clock forward by as much; stop wherever something is due, and deliver it then."""
    clocks: list[Any] = list({id(one.clock): one.clock for one in accounts}.values())
    for clock in clocks:
        if not hasattr(clock, "advance"):
            raise TypeError("this clock cannot be moved: hand the simulator a ManualClock or a RealClock")
    ends = [end_of(clock.now(), seconds) for clock in clocks]
    done: Done = []
    while deliver is not None:
        done += deliver()
        step = wait(accounts)
        if step is None or any(clock.now() + step > end for clock, end in zip(clocks, ends, strict=True)):
            break
        for clock in clocks:
            clock.advance(step)
    for clock, end in zip(clocks, ends, strict=True):
        clock.advance(max(0.0, end - clock.now()))
    return done
