"""Where settings come from: the environment first, then a TOML file, then the defaults."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tillport.adapters.compose.settings import Settings, SettingsRefused

PREFIX = "TILLPORT_"
NAMES = tuple(field.name for field in attrs.fields(Settings))


def variable(name: str) -> str:
    """Return the environment variable of a setting.

    >>> variable("signing_secrets")
    'TILLPORT_SIGNING_SECRETS'
    """
    return PREFIX + name.upper()


def read_settings(
    environment: Mapping[str, str] | None = None,
    *,
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings, and raise `SettingsRefused` for any that can't be read; the value is never quoted.

    `overrides` (from a command line, say) win over the environment, which wins over the file. Whether the settings
    are enough to start with is `Settings.check`.

    >>> read_settings({"TILLPORT_CURRENCY": "EUR", "TILLPORT_PORT": "8080"}).currency
    'eur'
    """
    environment = os.environ if environment is None else environment
    raw: dict[str, tuple[str, object]] = {}
    if file is not None:
        raw |= {name: (f"{name} in {file}", value) for name, value in _table(file).items()}
    for name in NAMES:
        given = environment.get(variable(name))
        if given is not None and given.strip():  # set to nothing is how a shell unsets
            raw[name] = (variable(name), given)
    raw |= {name: (name, value) for name, value in (overrides or {}).items()}
    problems = _slips(environment)
    values: dict[str, Any] = {}
    for name, (place, value) in raw.items():
        try:
            values[name] = getattr(attrs.fields(Settings), name).metadata["parse"](value)
        except ValueError as error:
            problems.append(f"{place}: {error}.")
    if problems:
        raise SettingsRefused(
            "\n".join(["These settings can't be read:", *(f"  - {line}" for line in problems)])
        )
    return Settings(**values)


def _table(file: Path) -> dict[str, object]:
    try:
        table = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsRefused(f"The settings file {file} can't be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        # The parser's own words may quote a line, and lines hold secrets; its last words say where it stopped.
        where = (
            str(error).rpartition("(")[2].rstrip(")")
            if isinstance(error, tomllib.TOMLDecodeError)
            else "no UTF-8"
        )
        raise SettingsRefused(f"The settings file {file} is no TOML ({where}).") from None
    except (ValueError, RecursionError):
        raise SettingsRefused(
            f"The settings file {file} can't be read: a number is too long, or lists are too deep."
        ) from None
    unknown = [name for name in table if name not in NAMES]
    if unknown:
        raise SettingsRefused(
            "\n".join(
                [
                    f"The settings file {file} has settings that Tillport does not know:",
                    *map(_unknown, unknown),
                ]
            )
        )
    return table


def _slips(environment: Mapping[str, str]) -> list[str]:
    """Find variables that are nearly ours: a slip of the pen in `TILLPORT_SIGNING_SECRET` must not pass unseen."""
    known = {variable(name) for name in NAMES}
    others = [name for name in environment if name.startswith(PREFIX) and name not in known]
    found = []
    for name in others:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        if near:
            found.append(f"{name} is no setting; was {near[0]} meant?")
    return found


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, NAMES, n=1)
    return f"  - {name[:40]!r}" + (f": was {near[0]} meant?" if near else "")
