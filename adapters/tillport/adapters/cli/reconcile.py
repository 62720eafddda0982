"""`tillport reconcile`: record what was missed, and hold ledger, log and Stripe's books together."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from tillport.adapters.cli.events import existing_database
from tillport.adapters.cli.interruptible import run_interruptible
from tillport.adapters.cli.moments import iso, moment, stamp
from tillport.adapters.cli.terminal import complain, paint, say
from tillport.adapters.compose import Settings, read_settings, system_clock
from tillport.adapters.compose.catch_up import PAUSES_SECONDS, drive, open_reconciling
from tillport.domain.differences import Difference
from tillport.domain.reconcile import Phase, Reconciliation, Report
from tillport.domain.window import window
from tillport.ports.clock import Clock
from tillport.ports.errors import TillportError

PLAIN_LINE_SECONDS = 5.0
"""How often progress is told where nobody watches a terminal."""


def reconcile_command(
    *, since: str, undelivered: bool, as_json: bool, database: str | None, config: Path | None
) -> int:
    """Reconcile; 0 if everything agrees now, 1 if something does not or it could not be finished."""
    settings = attrs.evolve(read_settings(file=config), database_url=existing_database(database, config))
    given = {"--undelivered": undelivered, "--database": database, "--config": config}
    return run_interruptible(
        reconcile(
            settings,
            since=since,
            undelivered=undelivered,
            as_json=as_json,
            clock=system_clock(),
            options=[name for name, value in given.items() if value],
        )
    )


async def reconcile(
    settings: Settings,
    *,
    since: str,
    clock: Clock,
    undelivered: bool = False,
    as_json: bool = False,
    stripe_http_client: Any = None,
    pauses_seconds: tuple[float, ...] = PAUSES_SECONDS,
    options: Sequence[str] = (),
) -> int:
    """Do it and tell of it; return the exit code. `stripe_http_client` as in `open_service`.

    `options` are the names of those that whoever goes on gives again; their values may hold a password.
    """
    now = clock.now()
    span = window(since=moment(since, now=now), now=now)
    if span.cut:
        complain(
            f"Stripe lists events of the last 30 days alone, so this begins at {stamp(span.since)}; "
            "what is older can't be caught up."
        )
    async with open_reconciling(settings, clock=clock, stripe_http_client=stripe_http_client) as using:
        reconciliation = Reconciliation(using, span, undelivered=undelivered)
        progress = _Progress()
        try:
            ended_by = await drive(reconciliation, clock, tell=progress.tell, pauses_seconds=pauses_seconds)
        except asyncio.CancelledError:  # Ctrl-C
            progress.end()
            _how_to_go_on(reconciliation.report, options)
            raise
        progress.end()
    report = reconciliation.report
    if as_json:
        _print_json(report, ended_by)
    else:
        _print(report, ended_by, options)
    return 0 if report.agrees else 1


class _Progress:
    """Tell how far it is, on standard error: a line that is rewritten where somebody looks, else one now and then."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._phase: Phase | None = None
        self._told_at = 0.0

    def tell(self, report: Report) -> None:
        line = _progress_line(report)
        if self._live:
            sys.stderr.write(f"\r\033[K{line}")
            sys.stderr.flush()
        elif report.phase is not self._phase or time.monotonic() - self._told_at >= PLAIN_LINE_SECONDS:
            self._phase, self._told_at = report.phase, time.monotonic()
            sys.stderr.write(f"{line}\n")

    def end(self) -> None:
        if self._live:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def _progress_line(report: Report) -> str:
    recorded = sum(report.recorded.values())
    events = f"{report.listed} events read, {recorded} recorded"
    if report.phase is Phase.EVENTS:
        return f"events {report.fraction:4.0%}, up to {stamp(report.caught_up_to)}: {events}"
    return (
        f"{report.phase.value}: {events}; {report.logged} in the log, {report.movements} movements and "
        f"{report.attempts} attempts compared, "
        f"{len(report.differences)} differences"
    )


def _print(report: Report, ended_by: TillportError | None, options: Sequence[str]) -> None:
    span = report.window
    say(f"From {stamp(span.since)} to {stamp(span.until)}")
    say(f"  {report.listed:>7}  events listed by Stripe")
    say(f"  {sum(report.recorded.values()):>7}  of them were missing, and are recorded now")
    for type_, count in sorted(report.recorded.items(), key=lambda pair: (-pair[1], pair[0])):
        say(f"  {'':7}  {paint(f'{count} {type_}', 'dim')}")
    say(f"  {report.logged:>7}  events in the log compared")
    say(f"  {report.movements:>7}  movements in Stripe's books compared")
    say(f"  {report.attempts:>7}  attempts in the ledger compared")
    if report.log_begins is not None and report.log_begins > span.since:
        say(
            f"The log begins at {stamp(report.log_begins)}: whether it was told of what is older can't be compared."
        )
    for difference in report.differences:
        say()
        say(f"{paint(difference.kind.value, 'red', 'bold')}: {difference.message}")
        for name, value in _ids(difference).items():
            say(f"  {name:18} {value}")
        say(f"  {paint(difference.remedy, 'dim')}")
    say()
    if ended_by is not None or not report.complete:
        complain(f"Not finished: {ended_by}")
        _how_to_go_on(report, options)
    elif report.differences:
        say(paint(f"{len(report.differences)} differences remain.", "red"))
    else:
        say(paint("Ledger, log and Stripe's books agree.", "green"))


def _how_to_go_on(report: Report, options: Sequence[str]) -> None:
    same = f" (and the same {', '.join(options)})" if options else ""
    if report.caught_up_to > report.window.listed_from:
        complain(f"Everything that Stripe lists before {stamp(report.caught_up_to)} is recorded.")
    complain(f"Go on with: tillport reconcile --since {_resume(report)}{same}")
    if _resume(report) != iso(report.window.since):
        complain(
            "That records the rest, and compares from there on alone. What is older is compared as well by: "
            f"tillport reconcile --since {iso(report.window.since)}{same}"
        )


def _resume(report: Report) -> str:
    """Return where recording goes on: what was recorded stays. Who is past that compares the time as a whole."""
    events_done = report.phase is not Phase.EVENTS
    return iso(report.window.since if events_done else max(report.window.since, report.caught_up_to))


def _print_json(report: Report, ended_by: TillportError | None) -> None:
    say(
        json.dumps(
            {
                "since": iso(report.window.since),
                "until": iso(report.window.until),
                "cut_to_30_days": report.window.cut,
                "complete": report.complete,
                "agrees": report.agrees,
                "listed": report.listed,
                "recorded": report.recorded,
                "logged": report.logged,
                "movements": report.movements,
                "attempts": report.attempts,
                "log_begins": None if report.log_begins is None else iso(report.log_begins),
                "differences": [
                    {
                        "kind": one.kind.value,
                        "message": one.message,
                        "remedy": one.remedy,
                        **_ids(one),
                    }
                    for one in report.differences
                ],
                "ended_by": None if ended_by is None else ended_by.code,
                "resume_since": None if report.complete else _resume(report),
            }
        )
    )


def _ids(difference: Difference) -> dict[str, str]:
    named = {
        "attempt_key": difference.attempt_key,
        "charge_id": difference.charge_id,
        "payment_intent_id": difference.payment_intent_id,
        "event_id": difference.event_id,
        "movement_id": difference.movement_id,
    }
    return {name: value for name, value in named.items() if value is not None}
