"""Throw a storm: in order, at its rate, over a few connections, and always to an end.

Workers take the next shot when its time has come. The end is certain: the storm has a bounded number of shots, each
request a time limit, and after `seconds` and one time limit more the rest stays unsent and every connection is closed.
"""

import threading
import time
from collections.abc import Callable, Mapping

import msgspec

from tillport.simulator.chaos.loopback import Answer, Connection, Target, target_of
from tillport.simulator.chaos.report import Outcome, Report, judge
from tillport.simulator.chaos.storm import Shot, storm

Application = Callable[[bytes, dict[str, str]], int]
Effects = Callable[[], Mapping[str, int]]


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much, how fast, how long; raise ValueError for more than a machine should bear."""

    seconds: float = 10.0
    rate: float = 40.0
    connections: int = 4
    timeout_seconds: float = 10.0
    slow_seconds: float = 2.0
    tolerance_seconds: int = 300

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seconds", 0.05, 600), ("rate", 0.5, 2_000), ("connections", 1, 64), ("timeout_seconds", 0.05, 60),
            ("slow_seconds", 0.001, 60), ("tolerance_seconds", 1, 86_400),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie between {low:g} and {high:g}")

    @property
    def shots(self) -> int:
        return max(2, min(int(self.seconds * self.rate), 50_000))


def throw(
    target: str | Application,
    secret: str,
    *,
    seed: int | str = 0,
    bounds: Bounds | None = None,
    effects: Effects | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Throw a storm at a webhook and report what broke.

    `target` is a URL on this machine (anything else raises `NotLoopback`), or a function `(body, headers) -> status`
    that calls the application in this process, one shot after the other; an exception of its counts as a crash.
    `secret` is the endpoint's signing secret; it appears in no report. `effects`, asked once at the end, returns how
    often the application acted on each event id: then the report also tells effects that came twice, never, or for a
    forged event. The same seed, bounds and second give the same storm.

    >>> report = throw(lambda body, headers: 200, "whsec_test", seed=1)
    >>> report.broken
    True
    >>> [finding.code for finding in report.findings][:2]
    ['forgery_accepted', 'stale_accepted']
    """
    if not secret:
        raise ValueError("no signing secret: give the endpoint's own, whsec_…")
    bounds = Bounds() if bounds is None else bounds
    where = target_of(target) if isinstance(target, str) else None
    shots = storm(seed=seed, count=bounds.shots, now=time.time(), tolerance_seconds=bounds.tolerance_seconds)
    thrower = _Thrower(shots, secret, bounds, on_progress)
    started = time.monotonic()
    if where is None:
        assert not isinstance(target, str)
        thrower.call(target)
    else:
        thrower.post(where)
    return judge(
        target=target if isinstance(target, str) else "the application in this process",
        seed=seed,
        outcomes=thrower.outcomes(),
        planned=len(shots),
        seconds=time.monotonic() - started,
        slow_seconds=bounds.slow_seconds,
        timeout_seconds=bounds.timeout_seconds,
        effects=None if effects is None else effects(),
    )


class _Thrower:
    def __init__(
        self, shots: list[Shot], secret: str, bounds: Bounds, on_progress: Callable[[int, int], None] | None
    ) -> None:
        self._shots = shots
        self._secret = secret
        self._bounds = bounds
        self._on_progress = on_progress
        self._answers: dict[int, Answer] = {}
        self._next = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def outcomes(self) -> list[Outcome]:
        answers = dict(self._answers)
        return [Outcome(shot, answers[shot.number]) for shot in self._shots if shot.number in answers]

    # In this process -----------------------------------------------------------------------------------------

    def call(self, application: Application) -> None:
        """Call the application with one shot after the other, as fast as it answers."""
        end = time.monotonic() + self._bounds.seconds + self._bounds.timeout_seconds
        for shot in self._shots:
            if time.monotonic() > end:
                return
            started = time.monotonic()
            try:
                status: int | None = application(shot.body, shot.headers(self._secret, time.time()))
                why, detail = "", ""
            except Exception as error:  # noqa: BLE001 - whatever the application raises is a finding
                status, why, detail = None, "raised", type(error).__name__
            self._answers[shot.number] = Answer(status, time.monotonic() - started, why, detail)  # type: ignore[arg-type] # one of the two words

    # Over HTTP -----------------------------------------------------------------------------------------------

    def post(self, where: Target) -> None:
        """Send the first shot alone, the storm over all connections, and the last shot alone again."""
        bounds = self._bounds
        first = Connection(where, bounds.timeout_seconds)
        self._send(first, self._shots[0])
        if self._answers[0].why == "unreachable":
            return
        self._next = 1
        started = time.monotonic()
        connections = [
            first,
            *(Connection(where, bounds.timeout_seconds) for _ in range(bounds.connections - 1)),
        ]
        workers = [
            threading.Thread(target=self._work, args=(one, started), name="tillport-chaos", daemon=True)
            for one in connections
        ]
        for worker in workers:
            worker.start()
        end = started + bounds.seconds + bounds.timeout_seconds
        try:
            for worker in workers:
                worker.join(max(0.0, end - time.monotonic()))
        finally:
            # Also on Ctrl-C: nobody sends on.
            self._stopped.set()
            for connection in connections:
                connection.close()
        for worker in workers:
            worker.join(1.0)
        last = Connection(where, bounds.timeout_seconds)
        self._send(last, self._shots[-1])
        last.close()

    def _work(self, connection: Connection, started: float) -> None:
        while not self._stopped.is_set():
            with self._lock:
                number = self._next
                if number >= len(self._shots) - 1:
                    return
                self._next += 1
            shot = self._shots[number]
            due = started + (number - shot.behind_twin) / self._bounds.rate
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                return
            self._send(connection, shot)

    def _send(self, connection: Connection, shot: Shot) -> None:
        answer = connection.post(shot.body, shot.headers(self._secret, time.time()))
        if not self._stopped.is_set() or shot is self._shots[-1]:
            self._answers[shot.number] = answer
        if self._on_progress is not None:
            self._on_progress(len(self._answers), len(self._shots))
