"""Whether a database URL can be read, told before anybody tries to read it.

Drivers cut a URL at the first `/`, `?` or `#`, take what comes before it for the host and what comes after a colon for
the port, and quote it in their errors. A password that holds one of these characters would so be printed.
"""

import re
from typing import Final

_HOST: Final = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s/?#\[\]@:,]*)(?::[0-9]{1,5})?"
_POSTGRESQL: Final = re.compile(
    rf"[a-z0-9+]+://(?:[^/?#\[\]@]*@)?{_HOST}(?:,{_HOST})*(?:/[^\s/?#@]*)?(?:\?[\w.]+=[^\s&#]*(?:&[\w.]+=[^\s&#]*)*)?",
    re.ASCII,
)


def problem_of(database_url: str) -> tuple[str, str] | None:
    """Return what keeps a database URL from being read and what to do about it, without quoting it; None if nothing.

    The message begins in the middle of a sentence, behind the name of the URL.

    >>> problem_of("postgresql://till:secret@db.internal:5432/till?sslmode=require")
    >>> problem_of("sqlite:///till.sqlite3")
    >>> problem_of("mysql://till@db/till")
    ('has an unknown scheme.', 'Use sqlite:///file or postgresql://….')
    >>> problem_of("postgresql://till:sec/ret@db/till")[0]
    "can't be read as postgresql://user:password@host:port/database."
    """
    if not database_url:
        return "is empty.", "Use sqlite:///file or postgresql://…."
    scheme = database_url.partition(":")[0].partition("+")[0]
    if scheme not in ("sqlite", "postgresql", "postgres"):
        return "has an unknown scheme.", "Use sqlite:///file or postgresql://…."
    if scheme != "sqlite" and not _POSTGRESQL.fullmatch(database_url):
        return (
            "can't be read as postgresql://user:password@host:port/database.",
            "In the password write special characters by their codes: / as %2F, @ as %40, # as %23, ? as %3F, [ as %5B.",
        )
    return None
