"""`tillport db`: the tables of the event log and the ledger."""

from pathlib import Path

from tillport.adapters.cli.events import existing_database
from tillport.adapters.cli.terminal import complain, say
from tillport.adapters.compose import Secret, SettingsRefused, read_settings
from tillport.adapters.compose.database import check_database, database_sql, upgrade_database
from tillport.adapters.compose.looking import check_is_there


def upgrade(*, as_sql: bool, after: str | None, database: str | None, config: Path | None) -> int:
    """Bring the tables up to date, or print the SQL of every migration, or of those after a revision."""
    url = _url(database, config)
    if as_sql:
        say(database_sql(url, after=after))
        return 0
    if after is not None:
        raise SettingsRefused(
            "--after goes with --sql.", remedy="Without both, what is missing in the database is run."
        )
    found = check_database(url)
    if _is_newer(found.revision, found.wanted):
        return 1
    upgrade_database(url)
    found = check_database(url)
    say(f"The database is at revision {found.revision}.")
    return 0


def check(*, database: str | None, config: Path | None) -> int:
    """Say whether this version of Tillport may work on the database; 1 if it may not."""
    found = check_database(existing_database(database, config, check=check_is_there))
    if found.ok and found.revision is None:
        say(
            "The tables are as this version of Tillport wants them. Whoever made them brings them up to date."
        )
        return 0
    if found.ok:
        say(f"The database is at revision {found.revision}, as this version of Tillport wants it.")
        return 0
    if _is_newer(found.revision, found.wanted):
        return 1
    complain(
        f"The database is at revision {found.revision or 'none'}. {_advice(found.revision, found.wanted)}"
    )
    for difference in found.differences:
        complain(difference)
    return 1


def _advice(revision: str | None, wanted: str) -> str:
    if revision == wanted:
        return "Its tables were changed since, and are not as this version of Tillport wants them:"
    host = ", or the host's own migrations if those make its tables" if revision is None else ""
    return f"This version of Tillport wants {wanted}. Run: tillport db upgrade{host}."


def _is_newer(revision: str | None, wanted: str) -> bool:
    """Tell whether the tables are of a later version than this program, and say so to the person if they are."""
    if revision is None or revision <= wanted:
        return False
    complain(
        f"The database is at revision {revision}, and this version of Tillport knows up to {wanted}: a newer "
        "one was here. Install that one; nothing was changed."
    )
    return True


def _url(database: str | None, config: Path | None) -> Secret:
    return Secret(database) if database is not None else read_settings(file=config).database_url
