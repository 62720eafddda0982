"""For those who only look: the file may be another's, and must stay so; there may be no effects, which is no failure."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tillport.adapters.compose.effects import open_effect_queue
from tillport.adapters.compose.secret import Secret
from tillport.adapters.compose.settings import SettingsRefused
from tillport.adapters.compose.stores import sqlite_path
from tillport.ports.effects import EffectQueue
from tillport.ports.event_log import LogUnavailable


def check_log(database_url: Secret) -> None:
    """Refuse a SQLite file that is not there, or without a log: a store that is opened would make one in it.

    Changes nothing, in whatever file it is. Raises `SettingsRefused`.
    """
    from tillport.adapters.sql.creation import VERSION_TABLE

    _check_holds(
        database_url, VERSION_TABLE, "Is it the right file? If so, `tillport db upgrade` makes them."
    )


def check_effects(database_url: Secret) -> None:
    """The same for the tables of effects, which may be in a file of their own."""
    from tillport.adapters.sql.effects_tables import effects

    _check_holds(
        database_url,
        effects.name,
        "Is it the right file? In one for effects alone, `create_tables` of the queue makes them.",
    )


def check_is_there(database_url: Secret) -> None:
    """Refuse a SQLite file that is not there: to open it would make an empty one. Raises `SettingsRefused`."""
    if database_url.startswith("sqlite:") and not (path := sqlite_path(database_url.reveal())).exists():
        raise SettingsRefused(
            f"There is no database file {path}.",
            remedy="Name it with --database sqlite:///file, or with TILLPORT_DATABASE_URL.",
        )


def _check_holds(database_url: Secret, table: str, remedy: str) -> None:
    check_is_there(database_url)
    if not database_url.startswith("sqlite:"):
        return
    from tillport.adapters.sql.sqlite_file import tables_in

    path = sqlite_path(database_url.reveal())
    try:
        found = tables_in(path)
    except sqlite3.OperationalError:
        return  # it can't be read now: whoever opens it fails at this too, and says why
    except sqlite3.DatabaseError as error:
        raise SettingsRefused(
            f"The file {path} is no SQLite database, or a broken one ({error.sqlite_errorname}).",
            remedy="Is it the right file?",
        ) from error
    if table not in found:
        raise SettingsRefused(f"The file {path} has none of Tillport's tables (no {table}).", remedy=remedy)


@asynccontextmanager
async def open_effects_if_any(
    database_url: Secret, *, named: bool = False
) -> AsyncIterator[EffectQueue[Any] | None]:
    """Open the queue of effects that lives in a database, None only if the database has no tables of effects.

    Whatever else keeps it from being read is raised (`LogUnavailable`): whoever takes events away must not take a moment's
    failure for an empty queue, and whoever looks is not told that there are no dead letters. `named`: somebody asked for
    this very database, so that missing tables are a failure too.
    """
    async with open_effect_queue(database_url) as queue:
        yield queue if named or await _has_tables(queue) else None


async def _has_tables(queue: EffectQueue[Any]) -> bool:
    try:
        await queue.standings()
    except LogUnavailable as error:
        # PostgreSQL's name for it, or SQLite's words.
        if "42P01" not in str(error) and "no such table" not in str(error.__cause__):
            raise
        return False
    return True
