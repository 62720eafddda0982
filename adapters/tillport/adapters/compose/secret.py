"""A text that must not be seen."""

import attrs


@attrs.frozen(repr=False, order=False)
class Secret:
    """Hold a secret, show it to nobody by accident: only `reveal` returns it.

    >>> Secret("sk_test_4eC39H")
    Secret('…')
    >>> f"{Secret('sk_test_4eC39H')}"
    "Secret('…')"
    """

    _text: str

    def reveal(self) -> str:
        """Return the secret itself, for the one who needs it."""
        return self._text

    def startswith(self, *prefixes: str) -> bool:
        """Tell whether it begins in one of these ways. Kinds of key are told by their prefix, which is no secret."""
        return self._text.startswith(prefixes)

    def __repr__(self) -> str:
        return "Secret('…')"
