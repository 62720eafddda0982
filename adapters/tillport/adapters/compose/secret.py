"""A text that must not be seen."""

from collections.abc import Iterable
from typing import NoReturn


class Secret:
    """Hold a secret, show it to nobody by accident: only `reveal` returns it.

    A plain class on purpose: what turns values into dictionaries or bytes (attrs, msgspec, pickle) finds no fields.

    >>> Secret("sk_test_4eC39H")
    Secret('…')
    >>> f"{Secret('sk_test_4eC39H')}"
    "Secret('…')"
    """

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """Return the secret itself, for the one who needs it."""
        return self.__text

    def startswith(self, *prefixes: str) -> bool:
        """Tell whether it begins in one of these ways. Kinds of key are told by their prefix, which is no secret."""
        return self.__text.startswith(prefixes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.__text == other.reveal()

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __repr__(self) -> str:
        return "Secret('…')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled or copied: reveal() it where it is needed.")


def as_secret(value: Secret | str) -> Secret:
    """Return what was handed in as a secret: a plain text would be shown by the next `repr`.

    >>> as_secret("sk_test_4eC39H")
    Secret('…')
    """
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret(value)
    raise TypeError(f"a secret is a text, not {type(value).__name__}")


def as_secrets(values: Iterable[Secret | str]) -> tuple[Secret, ...]:
    """Return several as secrets; a text by itself is one.

    >>> as_secrets(["whsec_1", Secret("whsec_2")]), as_secrets("whsec_1")
    ((Secret('…'), Secret('…')), (Secret('…'),))
    """
    return (as_secret(values),) if isinstance(values, Secret | str) else tuple(map(as_secret, values))
