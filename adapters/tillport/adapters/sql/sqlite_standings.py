"""How the handlers fare whose effects are in a till's own SQLite file, for who only looks: it waits for no writer."""

from collections.abc import Sequence

from tillport.adapters.sql.effects_statements import SQLITE_EFFECTS, standing_of
from tillport.adapters.sql.sqlite_file import StoreUnavailable
from tillport.adapters.sql.sqlite_store import SqliteStore
from tillport.ports.effects import Standing
from tillport.ports.event_log import LogUnavailable


async def sqlite_standings(store: SqliteStore) -> Sequence[Standing]:
    """Return what `EffectQueue.standings` does. Raises `LogUnavailable`, also where the file has no tables of effects."""
    try:
        rows = await store.read(lambda db: db.execute(SQLITE_EFFECTS.standings).fetchall())
    except StoreUnavailable as error:
        raise LogUnavailable(
            f"The effects can't be read now. {error}", remedy="Look at the database file, then try again."
        ) from error
    return [standing_of(row) for row in rows]
