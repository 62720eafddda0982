"""Stripe's error envelope as an exception, and the errors that many routes share (docs.stripe.com/api/errors)."""

from collections.abc import Sequence
from typing import Any, Self


class ApiError(Exception):
    """A refusal that the wire shows as `{"error": {…}}`; `fields` holds what Stripe would embed."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",  # noqa: A002 - Stripe's own name for it
        code: str | None = None,
        param: str | None = None,
        stored: bool = True,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        # Whether an idempotency key remembers it: Stripe forgets what failed before the work began.
        self.stored = stored
        self.headers = headers or {}
        self.fields = fields

    def body(self, request_log_url: str | None = None) -> dict[str, Any]:
        """Return the envelope, without the keys that do not apply."""
        error: dict[str, Any] = {}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = doc_url(self.code)
        error["message"] = self.message
        if self.param is not None:
            error["param"] = self.param
        if request_log_url is not None:
            error["request_log_url"] = request_log_url
        error["type"] = self.type
        error.update(self.fields)
        return {"error": error}

    @classmethod
    def told(cls, status: int, body: dict[str, Any]) -> Self:
        """Return the refusal that an envelope told, as it was."""
        error = dict(body["error"])
        for made in ("doc_url", "request_log_url"):
            error.pop(made, None)
        return cls(status, error.pop("message"), **error)


def doc_url(code: str) -> str:
    """Return the page of Stripe's that explains an error code."""
    return "https://stripe.com/docs/error-codes/" + code.replace("_", "-")


def missing_object(kind: str, object_id: str, param: str, *, status: int = 404) -> ApiError:
    """Return the 404 for an id that no object has."""
    # A body's unknown id answers 400 and a path's 404; the status in a body is second-hand.
    return ApiError(status, f"No such {kind}: '{object_id}'", code="resource_missing", param=param)


def parameter_missing(name: str) -> ApiError:
    """Return the 400 for a parameter that must be there."""
    return ApiError(
        400, f"Missing required param: {name}.", code="parameter_missing", param=name, stored=False
    )


def parameter_unknown(names: Sequence[str]) -> ApiError:
    """Return the 400 for a parameter that Stripe does not know."""
    text = f"parameter: {names[0]}" if len(names) == 1 else f"parameters: {', '.join(names)}"
    return ApiError(400, f"Received unknown {text}", code="parameter_unknown", param=names[0], stored=False)


def invalid(message: str, param: str | None, code: str | None = None) -> ApiError:
    """Build the refusal of one parameter's value."""
    return ApiError(400, message, code=code, param=param, stored=False)


def not_modelled(what: str, param: str | None = None) -> ApiError:
    """Build the answer to something real Stripe has and this simulator has not: never a made-up success."""
    return ApiError(
        400,
        f"Tillport's simulator does not model {what}. Real Stripe does: see docs/simulator.md for the scope.",
        code="simulator_not_modelled",
        param=param,
        stored=False,
    )
