"""What a storm has shown: findings with words on what to do, as text for people and as JSON for programs."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tillport.simulator.chaos.loopback import Answer
from tillport.simulator.chaos.storm import KINDS, Shot, everything, variants


class Outcome(msgspec.Struct, frozen=True):
    """A shot and what came back."""

    shot: Shot
    answer: Answer

    @property
    def taken(self) -> bool:
        """Whether the answer was a 2xx."""
        return self.answer.status is not None and 200 <= self.answer.status < 300

    @property
    def crashed(self) -> bool:
        """Whether the answer was a 5xx, or the application raised."""
        return self.answer.why == "raised" or (self.answer.status is not None and self.answer.status >= 500)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that broke (`broken`), or is worth knowing."""

    code: str
    broken: bool
    count: int
    of: int
    words: str
    variants: dict[str, int]
    examples: list[str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a storm; `broken` says whether anything failed."""

    target: str
    seed: int | str
    planned: int
    sent: int
    seconds: float
    latency_ms: dict[str, float]
    answers: dict[str, dict[str, int]]
    findings: list[Finding]

    @property
    def broken(self) -> bool:
        """Whether any law was broken."""
        return any(finding.broken for finding in self.findings)

    def json(self) -> bytes:
        """Return the report as JSON, with `broken` in it."""
        return msgspec.json.format(
            msgspec.json.encode({"broken": self.broken, **msgspec.to_builtins(self)}), indent=2
        )

    def text(self) -> str:
        """Return the report for people."""
        lines = [
            f"Chaos on {self.target}: {self.sent} of {self.planned} requests in {self.seconds:.1f} s, seed {self.seed}",
            (
                f"  answers: median {self.latency_ms['p50']:.1f} ms, p99 {self.latency_ms['p99']:.1f} ms, "
                f"slowest {self.latency_ms['max']:.1f} ms"
            ),
            "",
            f"  {'what was sent':<16}{'2xx':>7}{'3xx':>7}{'4xx':>7}{'5xx':>7}{'none':>7}   and what should come",
        ]
        should = {"accept": "2xx", "refuse": "4xx", "survive": "2xx or 4xx", "note": "either"}
        for kind, row in self.answers.items():
            cells = "".join(f"{row.get(column, 0):>7}" for column in ("2xx", "3xx", "4xx", "5xx", "none"))
            lines.append(f"  {kind:<16}{cells}   {should[KINDS[kind]]}")
        for finding in self.findings:
            lines += [
                "",
                f"{'BROKEN' if finding.broken else 'note  '}  {finding.code}: {finding.count} of {finding.of}",
            ]
            lines.append(f"  {finding.words}")
            named = [f"{name} ({n})" for name, n in list(finding.variants.items())[:6]]
            more = len(finding.variants) - len(named)
            lines.append("  With: " + "; ".join(named) + (f"; and {more} more" if more > 0 else ""))
            lines += [f"    {example}" for example in finding.examples]
        count = sum(finding.broken for finding in self.findings)
        untried = any(finding.code == "untried" for finding in self.findings)
        nothing = "Nothing broke of what was tried." if untried else "Nothing broke."
        lines += ["", f"{count} kind{'s' * (count > 1)} of breakage." if count else nothing]
        return "\n".join(lines)


# What may be found --------------------------------------------------------------------------------------------------

Test = Callable[[Outcome], bool]


def _of(*kinds: str) -> Test:
    return lambda outcome: outcome.shot.kind in kinds


_FORGED = _of("forged", "forged rubbish")
_REFUSED: Test = lambda o: not o.taken and not o.crashed and o.answer.status is not None  # noqa: E731 - a table's word

# (code, broken, which shots it is about, what is wrong with one, words)
_LAWS: tuple[tuple[str, bool, Test, Test, str], ...] = (
    ("unreachable", True, lambda _: True, lambda o: o.answer.why == "unreachable",
     "Nothing listens there. Is the application running, and is this its port?"),
    ("forgery_accepted", True, _FORGED, lambda o: o.taken,
     ("A stranger's event was taken for Stripe's. Verify Stripe-Signature over the raw body with the endpoint's secret, in "
     "constant time, and answer 400 when it does not fit.")),
    ("stale_accepted", True, _of("stale"), lambda o: o.taken,
     "An old signature was accepted, so whoever overheard a delivery can repeat it. Refuse a `t` more than 300 seconds away."),
    ("crash_on_forgery", True, _FORGED, lambda o: o.crashed,
     "A request that anybody can send made the handler fail. Answer 400 to whatever cannot be verified."),
    ("crash_on_rubbish", True, _of("signed rubbish"), lambda o: o.crashed,
     "A body that is no event made the handler fail. Answer 400 with words; a 5xx makes Stripe repeat it for days."),
    ("valid_refused", True, _of("valid"), lambda o: not o.taken and o.answer.why != "unreachable",
     "A good event was not taken. If all were refused: is this the secret of this endpoint, and is the raw body verified?"),
    ("duplicate_refused", True, _of("duplicate"), lambda o: not o.taken,
     "An event that came before was not answered with 2xx. Stripe sends events more than once: acknowledge and do nothing."),
    ("reordered_refused", True, _of("reordered"), lambda o: not o.taken,
     "Events out of order were not taken. Stripe promises no order: record what comes and read it when it is needed."),
    ("late_refused", True, _of("late"), lambda o: not o.taken,
     "A retry of an event three days old, freshly signed, was not taken. Judge the signature's `t`, not the event's `created`."),
    ("rotation_refused", True, _of("rotated"), lambda o: not o.taken,
     "A header with several signatures, one of them right, was refused. While a secret rolls, Stripe signs with both."),
    ("unknown_refused", True, _of("unknown"), _REFUSED,
     "An event of an unknown type or shape was refused. Stripe adds types and fields: acknowledge what you do not know."),
    ("unknown_crashed", True, _of("unknown"), lambda o: o.crashed,
     "An event of an unknown type or shape made the handler fail. Acknowledge what you do not know with 2xx."),
    ("stale_crashed", True, _of("stale", "future"), lambda o: o.crashed,
     "A signature from another time made the handler fail. Answer 400."),
    ("dropped", True, lambda _: True, lambda o: o.answer.why == "dropped",
     "The connection was closed without an answer: the handler died, or its server did."),
    ("timeout", True, lambda _: True, lambda o: o.answer.why == "timeout",
     "No answer came in time. Record the event, answer, and do the work afterwards."),
    ("future_accepted", False, _of("future"), lambda o: o.taken,
     "A signature from the future was accepted (Stripe's own SDKs do so too). Only who knows the secret can make one."),
)  # fmt: skip


def judge(
    *,
    target: str,
    seed: int | str,
    outcomes: list[Outcome],
    planned: int,
    seconds: float,
    slow_seconds: float,
    timeout_seconds: float,
    effects: Mapping[str, int] | None = None,
) -> Report:
    """Weigh what came back against the laws of the shots."""
    findings = [
        found
        for code, broken, about, wrong, words in _LAWS
        if (found := _found(code, broken, [o for o in outcomes if about(o)], wrong, words)) is not None
    ]
    slow = f"Slower than {slow_seconds:g} s. Stripe asks for a quick 2xx before any work (docs.stripe.com/webhooks)."
    answered = [o for o in outcomes if o.answer.status is not None]
    if (found := _found("slow", True, answered, lambda o: o.answer.seconds > slow_seconds, slow)) is not None:
        findings.append(found)
    if outcomes and not outcomes[-1].taken and outcomes[0].taken:
        words = (
            "The first good event was taken and the last was not: the storm has left the application unwell."
        )
        findings += [f for f in [_found("dead_afterwards", True, outcomes[-1:], lambda _: True, words)] if f]
    if len(outcomes) < planned and not any(f.code == "unreachable" for f in findings):
        findings.append(_unsent(planned - len(outcomes), planned, timeout_seconds))
    missed = everything() - {(o.shot.kind, o.shot.variant) for o in outcomes}
    if missed and not any(f.code == "unreachable" for f in findings):
        findings.append(_untried(missed))
    if effects is not None:
        findings += _effects(outcomes, effects)
    return Report(
        target=target,
        seed=seed,
        planned=planned,
        sent=len(outcomes),
        seconds=round(seconds, 3),
        latency_ms=_latency(answered),
        answers=_table(outcomes),
        findings=findings,
    )


def _found(code: str, broken: bool, about: list[Outcome], wrong: Test, words: str) -> Finding | None:
    bad = [outcome for outcome in about if wrong(outcome)]
    if not bad:
        return None
    return Finding(
        code=code,
        broken=broken,
        count=len(bad),
        of=len(about),
        words=words,
        variants=dict(Counter(f"{o.shot.kind}: {o.shot.variant}" for o in bad).most_common()),
        examples=[_example(outcome) for outcome in bad[:3]],
    )


def _example(outcome: Outcome) -> str:
    shot, answer = outcome.shot, outcome.answer
    came = (
        str(answer.status)
        if answer.status is not None
        else f"no answer ({answer.why} {answer.detail}".rstrip() + ")"
    )
    return (
        f"#{shot.number} {shot.kind}, {shot.variant}{f', {shot.event_id}' if shot.event_id else ''} -> {came}"
    )


def _unsent(count: int, planned: int, timeout_seconds: float) -> Finding:
    words = f"The storm ended before they were sent: answers came too slowly (time limit {timeout_seconds:g} s each)."
    return Finding(
        code="unsent",
        broken=False,
        count=count,
        of=planned,
        words=words,
        variants={"not sent": count},
        examples=[],
    )


def _untried(missed: set[tuple[str, str]]) -> Finding:
    words = (
        f"These were not tried, so nothing is known of them. A storm that tries everything sends {variants() + 60} requests "
        "or more: give it more seconds or a higher rate."
    )
    return Finding(
        code="untried",
        broken=False,
        count=len(missed),
        of=len(everything()),
        words=words,
        variants={f"{kind}: {name}": 1 for kind, name in sorted(missed)},
        examples=[],
    )


def _effects(outcomes: list[Outcome], effects: Mapping[str, int]) -> list[Finding]:
    """Compare what the application did with what it was told by Stripe, and by others."""
    told = {
        o.shot.event_id for o in outcomes if o.shot.law == "accept" and o.taken and o.shot.kind != "unknown"
    }
    lies = {o.shot.event_id for o in outcomes if o.shot.law == "refuse"}
    last = {o.shot.event_id: o for o in outcomes}
    known = [last[event_id] for event_id in sorted(x for x in told if x)]
    strange = [last[event_id] for event_id in sorted(x for x in lies - told if x)]

    def times(outcome: Outcome) -> int:
        return effects.get(outcome.shot.event_id or "", 0)

    found = [
        _found("effect_twice", True, known, lambda o: times(o) > 1, "The application acted more than once on one event."),
        _found("effect_missing", True, known, lambda o: times(o) < 1, "An event was answered with 2xx, and nothing was done."),
        _found("effect_forged", True, strange, lambda o: times(o) > 0, "The application acted on an event that Stripe never sent."),
    ]  # fmt: skip
    return [finding for finding in found if finding is not None]


def _table(outcomes: list[Outcome]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for outcome in outcomes:
        status = outcome.answer.status
        row = table.setdefault(outcome.shot.kind, {})
        column = "none" if status is None else f"{status // 100}xx"
        row[column] = row.get(column, 0) + 1
    return {kind: table[kind] for kind in KINDS if kind in table}


def _latency(answered: list[Outcome]) -> dict[str, float]:
    times: list[Any] = sorted(o.answer.seconds * 1000 for o in answered) or [0.0]
    at = {"p50": times[len(times) // 2], "p99": times[int(len(times) * 0.99)], "max": times[-1]}
    return {name: round(value, 3) for name, value in at.items()}
