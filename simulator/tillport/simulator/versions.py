"""Which texts are API versions: a day and, since 2024, the name of the release that the day belongs to."""

import re
from datetime import date
from functools import lru_cache

_SHAPE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:\.([a-z_]{1,40}))?", re.ASCII)
# The first version of each release (docs.stripe.com/changelog), and the first day that is another one's.
_RELEASES = {
    "acacia": ("2024-09-30", "2025-03-31"),
    "basil": ("2025-03-31", "2025-09-30"),
    "clover": ("2025-09-30", "2026-03-25"),
    "dahlia": ("2026-03-25", "2026-09-30"),
    "endive": ("2026-09-30", "9999-12-31"),
}


@lru_cache(maxsize=64)
def is_version(text: str) -> bool:
    """Tell whether this may be an API version; what came after the last one known here is believed.

    >>> is_version("2026-10-28.endive"), is_version("2026-10-28.acacia"), is_version("2026-13-01")
    (True, False, False)
    """
    shaped = _SHAPE.fullmatch(text)
    if shaped is None:
        return False
    day, name = shaped.groups()
    try:
        date.fromisoformat(day)
    except ValueError:
        return False
    first, end = _RELEASES.get(name, ("", "9999-12-31"))
    return first <= day < end
