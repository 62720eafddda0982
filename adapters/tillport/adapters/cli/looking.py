"""Open what support looks at: the log, the ledger, and the effects where there are any."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

from tillport.adapters.cli.events import existing_database, with_stores
from tillport.adapters.compose import Stores
from tillport.adapters.compose.looking import check_effects, check_is_there, open_effects_if_any
from tillport.ports.clock import Clock
from tillport.ports.effects import EffectQueue

Work: TypeAlias = Callable[[Stores, EffectQueue[Any] | None, Clock], Awaitable[int]]


def with_effects(
    work: Work, *, database: str | None, effects_database: str | None, config: Path | None
) -> int:
    """Run `work` on the stores and, where there are effects, on their queue; return its exit code."""
    named = effects_database is not None
    # In the log's own file there may be none: `with_stores` looks for the log itself.
    check = check_effects if named else check_is_there
    url = existing_database(effects_database if named else database, config, check=check)

    async def joined(stores: Stores, clock: Clock) -> int:
        await stores.log.head()  # what is the matter with their database is told of the log first
        async with open_effects_if_any(url, named=named) as effects:
            return await work(stores, effects, clock)

    return with_stores(joined, database, config)
