"""The root of every error that Tillport raises on purpose."""


class TillportError(Exception):
    """An anticipated failure: says what happened, whose fault it is, and what to do about it.

    `code` is stable and meant for programs, the message for people, and `remedy` is the way out.
    Nothing secret is ever put into any of the three.
    """

    code = "error"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()
