"""What the HTTP face itself refuses, before the core is asked. `errors` says with which status."""

from tillport.ports.errors import TillportError


class BadRequest(TillportError):
    """The caller's request can't be read."""

    code = "bad_request"

    def __init__(self, message: str, *, remedy: str, param: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.param = param


class Disconnected(BadRequest):
    """The client went away before its body was here. Nobody is left to be answered."""

    code = "disconnected"


class BodyTooLarge(TillportError):
    """The caller's body is larger than any honest one."""

    code = "body_too_large"


class Unauthorized(TillportError):
    """The caller presented no API key that we know."""

    code = "unauthorized"


class NotFound(TillportError):
    """There is no such thing, or none that this caller may know of."""

    code = "not_found"


class MethodNotAllowed(TillportError):
    """The address is right and the method is not."""

    code = "method_not_allowed"

    def __init__(self, *, allowed: str) -> None:
        super().__init__(f"This address takes {allowed} requests only.", remedy=f"Send a {allowed} request.")
        self.allowed = allowed


class Busy(TillportError):
    """Ours: no room for another stream, or the service is stopping."""

    code = "busy"
