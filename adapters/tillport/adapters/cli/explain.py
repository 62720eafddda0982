"""`tillport explain`: one payment's story, for whoever is asked about it."""

import json
from pathlib import Path
from typing import Any

from tillport.adapters.cli.looking import with_effects
from tillport.adapters.cli.moments import iso, lasting, stamp
from tillport.adapters.cli.terminal import complain, paint, say
from tillport.adapters.compose import Stores
from tillport.domain.explain import Evidence, Explaining, Moment, Step, gather, story, verdict
from tillport.ports.clock import Clock
from tillport.ports.effects import EffectQueue


def explain_command(
    name: str, *, as_json: bool, database: str | None, effects_database: str | None, config: Path | None
) -> int:
    """Explain a payment; 1 if nothing is known of it."""

    async def work(stores: Stores, effects: EffectQueue[Any] | None, _clock: Clock) -> int:
        using = Explaining(log=stores.log, attempts=stores.attempts, cursors=stores.cursors, effects=effects)
        evidence = await gather(name, using)
        if evidence.empty:
            complain(
                f"Nothing is known of {name!r}. Name it as ch_…, pi_…, re_…, evt_… or by its attempt key; if Stripe "
                "knows it, `tillport reconcile` fetches what was missed."
            )
            return 1
        (_print_json if as_json else _print)(evidence)
        return 0

    return with_effects(work, database=database, effects_database=effects_database, config=config)


def _print(evidence: Evidence) -> None:
    for sentence in verdict(evidence):
        say(paint(sentence, "bold"))
    say()
    for moment in story(evidence):
        when = stamp(moment.at) if moment.at is not None else ""
        say(f"{paint(f'{when:20}', 'dim')}  {_colour(moment)}")
        for line in _details(moment):
            say(f"{'':20}    {paint(line, 'dim')}")


def _colour(moment: Moment) -> str:
    bad = moment.facts.get("state") in ("unknown", "started", "dead")
    styles = ("red",) if bad else ("cyan",) if moment.step is Step.EVENT else ()
    return paint(moment.text, *styles)


def _details(moment: Moment) -> list[str]:
    facts = moment.facts
    match moment.step:
        case Step.ATTEMPT:
            return [f"attempt {facts['attempt_key']}"]
        case Step.OUTCOME:
            ids = [facts[name] for name in ("payment_intent_id", "charge_id") if facts[name]]
            return [" ".join(ids)] if ids else []
        case Step.EFFECT:
            return [facts["error"]] if facts["error"] else []
        case Step.EVENT:
            published = "published" if facts["published"] else "not published yet"
            told = facts["told"]
            lag = lasting(facts["lag_seconds"])
            line = f"{facts['event_id']} at position {facts['position']}, {lag} after Stripe made it, {published}"
            return [line, f"an app key hears: {_short(told['data'])}"] if told else [line]
        case _:
            return []


def _short(data: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in data.items() if value is not None)


def _print_json(evidence: Evidence) -> None:
    say(
        json.dumps(
            {
                "asked": evidence.asked,
                "names": sorted(evidence.names),
                "verdict": list(verdict(evidence)),
                "relay_position": evidence.relay_position,
                "complete": not evidence.reset,
                "story": [
                    {
                        "at": None if moment.at is None else iso(moment.at),
                        "step": moment.step.value,
                        "text": moment.text,
                        **moment.facts,
                    }
                    for moment in story(evidence)
                ],
            }
        )
    )
