"""`tillport status`: what waits, what is unknown, who reads how far."""

import json
from pathlib import Path
from typing import Any

import attrs

from tillport.adapters.cli.looking import with_effects
from tillport.adapters.cli.moments import lasting
from tillport.adapters.cli.terminal import paint, say
from tillport.adapters.compose import Stores
from tillport.domain.status import Status, take_status
from tillport.ports.clock import Clock
from tillport.ports.effects import EffectQueue


def status_command(
    *, as_json: bool, database: str | None, effects_database: str | None, config: Path | None
) -> int:
    """Print the status; always 0, since what is too much is for the asker to say."""

    async def work(stores: Stores, effects: EffectQueue[Any] | None, clock: Clock) -> int:
        status = await take_status(
            stores.log, stores.cursors, stores.attempts, now=clock.now(), effects=effects
        )
        if as_json:
            say(json.dumps({**attrs.asdict(status), "dead_letters": status.dead_letters}))
        else:
            _print(status)
        return 0

    return with_effects(work, database=database, effects_database=effects_database, config=config)


def _print(status: Status) -> None:
    _line("recorded", f"up to position {status.head}")
    if status.relay_position is None:
        _line("relay", "has never run on this database", bad=True)
    else:
        _line("relay", f"at position {status.relay_position}")
    waiting, oldest = status.unpublished, status.oldest_unpublished_seconds
    _line(
        "unpublished",
        f"{waiting}, the oldest since {lasting(oldest)}" if oldest is not None else "none",
        bad=(oldest or 0) > 60,
    )
    oldest = status.oldest_unknown_seconds
    _line(
        "unknown charges",
        f"{status.unknown_charges}, the oldest since {lasting(oldest)}" if oldest is not None else "none",
        bad=status.unknown_charges > 0,
    )
    for standing in status.standings or ():
        _line(
            f"effect {standing.handler}",
            f"at position {standing.position}, {standing.due} due, {standing.dead} dead",
            bad=standing.dead > 0,
        )
    for name, position in sorted(status.consumers.items()):
        _line(f"consumer {name}", f"at position {position}")


def _line(name: str, text: str, *, bad: bool = False) -> None:
    say(f"{paint(f'{name:18}', 'dim')} {paint(text, 'red') if bad else text}")
