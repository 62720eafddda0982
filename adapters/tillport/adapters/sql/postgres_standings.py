"""How the handlers fare whose effects are in a till's own PostgreSQL database, for who only looks: it takes no connection more."""

from collections.abc import Sequence

from tillport.adapters.sql.effects_statements import POSTGRESQL_EFFECTS, standing_of
from tillport.adapters.sql.postgres_store import PostgresStore, StoreUnavailable, ValuesRefused
from tillport.ports.effects import Standing
from tillport.ports.event_log import LogUnavailable


async def postgres_standings(store: PostgresStore) -> Sequence[Standing]:
    """Return what `EffectQueue.standings` does. Raises `LogUnavailable`, also where the database has no tables of effects."""
    try:
        rows = await store.fetch(POSTGRESQL_EFFECTS.standings)
    except (StoreUnavailable, ValuesRefused) as error:
        raise LogUnavailable(
            f"The effects can't be read now. {error}",
            remedy="Look at the database: does it run, may this user read the tables of effects? Then try again.",
        ) from error
    return [standing_of(tuple(row)) for row in rows]
