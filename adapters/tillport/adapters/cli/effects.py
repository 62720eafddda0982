"""`tillport effects`: see what the handlers still have to do, and decide about what they gave up."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs

from tillport.adapters.cli.events import existing_database
from tillport.adapters.cli.interruptible import run_interruptible
from tillport.adapters.cli.moments import stamp
from tillport.adapters.cli.terminal import complain, paint, say
from tillport.adapters.compose import open_effect_queue, system_clock
from tillport.adapters.compose.looking import check_effects
from tillport.ports.effects import Effect, EffectQueue, EffectState

NOBODY = (
    "No handler has ever run on this database. If the effects have one of their own, name it with --database."
)


def list_effects(
    *,
    state: str,
    handler: str | None,
    payment: str | None,
    limit: int,
    as_json: bool,
    database: str | None,
    config: Path | None,
) -> int:
    """Print how each handler fares, and the effects in a state; `all` means every state."""
    states = tuple(EffectState) if state == "all" else (EffectState(state),)

    async def work(queue: EffectQueue[Any]) -> int:
        standings = await queue.standings()
        if handler is not None and not await _is_known(queue, handler):
            return 1
        if not standings:
            complain(NOBODY)
        if not as_json:
            for one in standings:
                if handler in (None, one.handler):
                    summary = f"up to {one.position}, {one.due} due, {one.dead} dead"
                    say(
                        f"{paint(f'{one.handler:24}', 'bold')} {paint(summary, 'red' if one.dead else 'dim')}"
                    )
        for effect in await queue.list(states=states, handler=handler, payment_key=payment, limit=limit):
            say(json.dumps(_columns(effect)) if as_json else _line(effect))
        return 0

    return _with_queue(work, database, config)


def show_effects(event_id: str, *, database: str | None, config: Path | None) -> int:
    """Print what each handler did about one event."""

    async def work(queue: EffectQueue[Any]) -> int:
        found = await queue.list(states=tuple(EffectState), event_id=event_id)
        if not found:
            complain(f"No handler has anything to do with {event_id!r}.")
            return 1
        for effect in found:
            for name, value in _columns(effect).items():
                say(f"{paint(f'{name:12}', 'dim')} {value}")
            say()
        return 0

    return _with_queue(work, database, config)


def retry_effects(
    event_id: str | None, *, handler: str, every: bool, database: str | None, config: Path | None
) -> int:
    """Make one dead letter of a handler due again, or every one."""
    if every == (event_id is not None):
        complain("Name the one event to retry, or say --all for every dead letter: one of the two.")
        return 2

    async def work(queue: EffectQueue[Any]) -> int:
        now, done = system_clock().now(), 0
        seen: set[str] = set()  # one that fails again at once is dead again: it has had its turn
        while letters := [event_id] if event_id else await _dead(queue, handler, seen):
            done += sum([await queue.retry(handler, one, now=now) for one in letters])
            if event_id:
                break
            seen.update(letters)
        if not done:
            if await _is_known(queue, handler):
                complain(f"{handler!r} has no such dead letter.")
            return 1
        say(f"{done} to be tried again")
        return 0

    return _with_queue(work, database, config)


def skip_effect(event_id: str, *, handler: str, database: str | None, config: Path | None) -> int:
    """Give an effect up for ever, so that what waits for it goes on."""

    async def work(queue: EffectQueue[Any]) -> int:
        if not await queue.skip(handler, event_id):
            if await _is_known(queue, handler):
                complain(f"{handler!r} has nothing left to do about {event_id!r}.")
            return 1
        say(f"{event_id} will never be handled by {handler!r}")
        return 0

    return _with_queue(work, database, config)


async def _is_known(queue: EffectQueue[Any], handler: str) -> bool:
    """Tell whether a handler of this name has ever run here, and say so to the person if none has."""
    names = [one.handler for one in await queue.standings()]
    if names and handler not in names:
        complain(f"There is no handler {handler!r} here; there is {', '.join(map(repr, names))}.")
    elif not names:
        complain(NOBODY)
    return handler in names


async def _dead(queue: EffectQueue[Any], handler: str, seen: set[str]) -> list[str]:
    found = await queue.list(handler=handler, limit=500 + len(seen))
    return [one.event_id for one in found if one.event_id not in seen]


def _with_queue(
    work: Callable[[EffectQueue[Any]], Awaitable[int]], database: str | None, config: Path | None
) -> int:
    url = existing_database(database, config, check=check_effects)

    async def opened() -> int:
        async with open_effect_queue(url) as queue:
            return await work(queue)

    return run_interruptible(opened())


def _line(effect: Effect) -> str:
    tries = f"{effect.tries} tries" if effect.tries != 1 else "1 try"
    line = f"{effect.position:>6}  {effect.state:8} {effect.handler:24} {effect.payment_key:30}  {effect.event_id}"
    return f"{line}  {tries}: {effect.error}" if effect.error else line


def _columns(effect: Effect) -> dict[str, object]:
    columns = attrs.asdict(effect)
    due = stamp(effect.due_at) if effect.due_at else None
    return {**columns, "state": effect.state.value, "due_at": due}
