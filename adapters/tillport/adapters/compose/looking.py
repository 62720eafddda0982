"""The queue of effects for those who only look: it may not be there, and that is no failure."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tillport.adapters.compose.effects import open_effect_queue
from tillport.adapters.compose.secret import Secret
from tillport.ports.effects import EffectQueue
from tillport.ports.event_log import LogUnavailable


@asynccontextmanager
async def open_effects_if_any(database_url: Secret, *, named: bool) -> AsyncIterator[EffectQueue[Any] | None]:
    """Open the queue of effects that lives in a database, None if none does.

    `named`: somebody asked for this very database. Then what keeps it from being read is raised (`LogUnavailable`).
    """
    async with open_effect_queue(database_url) as queue:
        yield queue if named or await _answers(queue) else None


@asynccontextmanager
async def open_unfinished_effects(database_url: Secret) -> AsyncIterator[EffectQueue[Any] | None]:
    """Open the queue of effects, None only if the database has no tables of effects.

    Whoever takes events away must not take a moment's failure for an empty queue. Raises `LogUnavailable`.
    """
    async with open_effect_queue(database_url) as queue:
        try:
            await queue.standings()
        except LogUnavailable as error:
            if "42P01" not in str(error) and "no such table" not in str(error):
                raise
            yield None
            return
        yield queue


async def _answers(queue: EffectQueue[Any]) -> bool:
    try:
        await queue.standings()
    except LogUnavailable:
        return False  # the log in the same database answers: there are no tables of effects
    return True
