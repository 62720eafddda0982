"""Moments and stretches of time, as people write and read them."""

import re
from datetime import UTC, datetime

from tillport.adapters.compose import SettingsRefused

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,9})([smhdw])")


def moment(text: str, *, now: float) -> float:
    """Return the Unix seconds that a text means: `7d` (so long ago), an ISO 8601 time, or seconds.

    A time without a zone is UTC. Raises `SettingsRefused`.

    >>> moment("2h", now=10_000.0), moment("1970-01-02", now=0.0), moment("1970-01-01T01:00+01:00", now=0.0)
    (2800.0, 86400.0, 0.0)
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        if text.strip().isascii() and text.strip().isdigit() and len(text) > 8:
            return float(text)
        when = datetime.fromisoformat(text.strip())
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise SettingsRefused(
            f"{text[:40]!r} is no time.",
            remedy="Write how long ago (7d, 12h, 30m) or when (2026-11-20, 2026-11-20T14:00Z).",
        ) from None


def stamp(seconds: float) -> str:
    """Return a moment as a person reads it, in UTC.

    >>> stamp(0.0), stamp(10**18)
    ('1970-01-01 00:00:00Z', '1000000000000000000')
    """
    when = _utc(seconds)
    return str(seconds) if when is None else when.strftime("%Y-%m-%d %H:%M:%SZ")


def iso(seconds: float) -> str:
    """Return a moment as programs and `--since` read it.

    >>> iso(0.25)
    '1970-01-01T00:00:00.250Z'
    """
    when = _utc(seconds)
    return str(seconds) if when is None else when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _utc(seconds: float) -> datetime | None:
    """Return the moment; None beyond the years that a date has. An event says what it likes, and is listed all the same."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OSError, OverflowError, ValueError):
        return None


def lasting(seconds: float) -> str:
    """Return how long something took or is ago, in the one unit that tells it.

    >>> [lasting(one) for one in (0.0421, 3.5, 200, 7300, 200000)]
    ['42 ms', '3.5 s', '3 min', '2.0 h', '2.3 d']
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"
