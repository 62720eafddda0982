"""The database's tables, brought up to date and compared, wherever a database URL points.

Needs Alembic, which is imported when it is needed: a till on SQLite makes its tables without it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tillport.adapters.compose.secret import Secret
from tillport.adapters.compose.settings import SettingsRefused
from tillport.adapters.compose.stores import readable, sqlite_path
from tillport.ports.errors import TillportError

if TYPE_CHECKING:
    from tillport.adapters.sql.migrate import Check

__all__ = ["DatabaseUnavailable", "check_database", "database_sql", "upgrade_database"]

T = TypeVar("T")

_HELD_UP: Final = ("55P03", "SQLITE_BUSY")
_IS_THERE: Final = "42P07"


class DatabaseUnavailable(TillportError):
    """The database can't be reached, or refuses what was asked. Nothing was changed."""

    code = "database_unavailable"


def upgrade_database(database_url: Secret) -> None:
    """Run the migrations that are missing, in one transaction. Safe while writers are at work, and twice."""
    from tillport.adapters.sql.migrate import upgrade

    _on(database_url, upgrade)


def check_database(database_url: Secret) -> "Check":
    """Compare the database with what this version of Tillport needs. Changes nothing."""
    from tillport.adapters.sql.migrate import check

    return _on(database_url, check)


def database_sql(database_url: Secret, *, after: str | None = None) -> str:
    """Return the SQL of every migration, or of those after a revision, for people who run it themselves.

    Reaches no database. Raises `SettingsRefused` for a revision that there is not.
    """
    from tillport.adapters.sql.migrate import revisions, sql

    dialect = _dialect(database_url)
    if after is None:
        return sql(dialect)
    if after not in (known := revisions()):
        raise SettingsRefused(
            f"There is no revision {after[:40]!r}; there is {', '.join(known)}.",
            remedy="`tillport db check` says at which one a database is.",
        )
    return sql(dialect, start=after)


def _dialect(database_url: Secret) -> str:
    return "sqlite" if readable(database_url).startswith("sqlite") else "postgresql"


def _on(database_url: Secret, work: Callable[[Any], T]) -> T:
    from tillport.adapters.sql.migrate import on_database

    if _dialect(database_url) == "sqlite":
        sqlite_path(database_url.reveal())  # refuses a URL without a file
    try:
        return on_database(database_url.reveal(), work)
    except Exception as error:  # noqa: BLE001 - the drivers' errors have no common root, and may quote the URL
        kind, remedy = type(error).__name__, _remedy(error)
    raise DatabaseUnavailable(f"The database could not be used ({kind}).", remedy=remedy)


def _remedy(error: Exception) -> str:
    cause = getattr(error, "orig", error)
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    if code in _HELD_UP:
        return (
            "Somebody has its tables in use for long: a backup, or a transaction that was left open. Nothing was changed. "
            "Try again when that is over."
        )
    if code == _IS_THERE or "already exists" in str(cause):
        return (
            "It has tables of Tillport's that `tillport db upgrade` did not make: whoever did, a host's own migrations perhaps, "
            "brings them up to date. Nothing was changed."
        )
    return "Is it there, and may this user change its tables?"
