"""A text that must not be seen."""

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
