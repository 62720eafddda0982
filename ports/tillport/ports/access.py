"""Who calls: API keys and what kind of caller each one makes."""

from enum import StrEnum
from typing import Protocol

import attrs


class CallerKind(StrEnum):
    """An `APP` key ships in a web page or a phone and is no secret; a `SERVER` key never leaves a server."""

    APP = "app"
    SERVER = "server"


@attrs.frozen
class Caller:
    """Somebody whose API key was recognised. `id` names the key without being the key."""

    id: str
    kind: CallerKind


class KeyRing(Protocol):
    """The API keys that this installation knows."""

    def find(self, presented: str) -> Caller | None:
        """Return who presents this key, or None for a key that is unknown, empty or malformed.

        Takes time that does not depend on how much of the key is right.
        """
        ...
