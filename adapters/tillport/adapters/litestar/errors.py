"""What goes wrong, as HTTP tells it: one status, one JSON shape, and always a word on what to do.

Natively `{"error": {"code", "message", "remedy", …}}`. At the seed's URLs the shape is Backendless' own,
`{"code": <number>, "message": "<text>"}`, because its SDKs read `message` and nothing else; the native facts are
added there as `errorData`.

502 is never sent: the Backendless SDK replaces its message by "No connection with server", and proxies send it of
their own accord, so it could not be told from an answer of ours.
"""

import logging
import re
import traceback
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap, HTTPScope

from tillport.adapters.litestar.refusals import (
    BadRequest,
    BodyTooLarge,
    Busy,
    MethodNotAllowed,
    NotFound,
    Unauthorized,
)
from tillport.domain import (
    ChargeInProgress,
    ChargeRefused,
    Failure,
    Forbidden,
    InvalidOrder,
    KeyReused,
    WebhookRefused,
)
from tillport.ports.errors import TillportError
from tillport.ports.event_log import EventRefused, LogOverloaded, LogUnavailable
from tillport.ports.ledger import LedgerUnavailable
from tillport.ports.money import InvalidAmount, UnknownCurrency
from tillport.ports.payments import GatewayMisconfigured
from tillport.ports.selector import InvalidSelector

logger = logging.getLogger("tillport.http")


STATUS: Mapping[type[TillportError], int] = {
    BadRequest: 400,
    InvalidOrder: 400,
    InvalidAmount: 400,
    UnknownCurrency: 400,
    InvalidSelector: 400,
    WebhookRefused: 400,
    EventRefused: 400,
    Unauthorized: 401,
    ChargeRefused: 403,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    KeyReused: 409,
    ChargeInProgress: 409,
    BodyTooLarge: 413,
    Busy: 503,
    LedgerUnavailable: 503,
    LogUnavailable: 503,
}
"""The status of each error that may leave the core; a subclass has its parent's."""

RETRY_AFTER_SECONDS = 5
MISCONFIGURED_RETRY_AFTER_SECONDS = 60
OUTCOME_STATUS: Mapping[str, int] = {
    "card_declined": 402,
    "invalid_request": 400,
    "gateway_misconfigured": 503,
    "gateway_unavailable": 503,
    "outcome_unknown": 504,
    "not_charged": 402,
}
"""The status of each `Failure.code` that a charge may end with."""


_REMEDY: Mapping[int, str] = {
    400: "Correct the request and send it again.",
    402: "Ask for another card and send its new token.",
    403: "Ask for something else, or with another key.",
    409: "Send the first request again as it was, or a new one with a new key and a new token.",
    503: "Send the same request again in a while.",
    504: "Send this very request again, or ask for its status. Do not pay again with another token or key.",
}
"""What to do where whoever raised the error did not say."""
_LEDGER_REMEDY = (
    "If this was a charge, send this very request again in a while. Do not pay again with another token or key: it may have been "
    "written down, and is made then."
)


class _Facts(msgspec.Struct, kw_only=True, omit_defaults=True):
    code: str
    message: str
    remedy: str = ""
    param: str | None = None
    reason: str | None = None
    decline_code: str | None = None
    attempt: str | None = None


class _Native(msgspec.Struct):
    error: _Facts


class _Backendless(msgspec.Struct, rename="camel"):
    code: int
    message: str
    error_data: _Facts


@attrs.frozen(kw_only=True)
class Problem:
    """An error as it leaves: a status, the facts and the headers that go with it."""

    status: int
    facts: _Facts
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def body(self, *, backendless: bool) -> bytes:
        """Return the JSON that the caller gets."""
        if not backendless:
            return msgspec.json.encode(_Native(self.facts))
        text = f"{self.facts.message} {self.facts.remedy}".rstrip()
        return msgspec.json.encode(_Backendless(self.status, text, self.facts))


def problem_of(error: Exception) -> Problem:
    """Return what the caller is told of any exception. What we did not expect is told as such and no more."""
    if isinstance(error, TillportError):
        for ancestor in type(error).__mro__:
            if ancestor in STATUS:
                return _known(error, STATUS[ancestor])
    if isinstance(error, HTTPException) and error.status_code < 500:
        return _of_framework(error)
    return Problem(
        status=500,
        facts=_Facts(
            code="internal_error",
            message="Something went wrong here that should not.",
            remedy="If this was a charge, ask for its status or send it again unchanged: it is made once.",
        ),
    )


def problem_of_failure(failure: Failure, *, attempt: str | None) -> Problem:
    """Return what the caller is told of a charge that Stripe did not make."""
    status = OUTCOME_STATUS.get(failure.code, 504)
    headers: dict[str, str] = {}
    if status in (503, 504):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    facts = _Facts(
        code=failure.code,
        message=failure.message,
        remedy=failure.remedy or _REMEDY[status],
        param=failure.param,
        reason=failure.reason,
        decline_code=failure.decline_code,
        attempt=attempt,
    )
    if failure.code == GatewayMisconfigured.code:
        # What Stripe says here is about our key: the operator's business, not the caller's.
        headers["Retry-After"] = str(MISCONFIGURED_RETRY_AFTER_SECONDS)
        facts = _Facts(
            code=failure.code,
            message="This service can't take payments at the moment. The card was not charged.",
            remedy="The operator has to mend it. Send the same request again later.",
            attempt=attempt,
        )
    return Problem(status=status, facts=facts, headers=headers)


def _known(error: TillportError, status: int) -> Problem:
    headers: dict[str, str] = {}
    message, remedy = error.message, error.remedy or _REMEDY.get(status, "")
    if isinstance(error, ChargeInProgress | LogOverloaded):
        headers["Retry-After"] = str(error.retry_after_seconds)
    elif status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    elif isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allowed
    elif isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, LedgerUnavailable):
        # What the store says is about the database: the operator's business. What the caller must hear is another thing: an
        # earlier request may have charged, and this one may be written down although the answer to that was lost.
        message, remedy = "This service can't reach its record of charges at the moment.", _LEDGER_REMEDY
    param = getattr(error, "param", None)
    if isinstance(error, UnknownCurrency):
        param = "currency"
    return Problem(
        status=status,
        facts=_Facts(
            code=error.code,
            message=message,
            remedy=remedy,
            param=param,
        ),
        headers=headers,
    )


def _of_framework(error: HTTPException) -> Problem:
    status = error.status_code
    code, message, remedy = {
        404: (
            "not_found",
            "There is nothing at this address.",
            "Check the path; docs/reference/http.md lists them.",
        ),
        405: (
            "method_not_allowed",
            "This address does not take that method.",
            "See the Allow header for those it takes.",
        ),
        413: ("body_too_large", "The body is too large.", "Send less."),
    }.get(status, ("bad_request", "The request can't be read.", "Check its method, headers and query."))
    allow = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return Problem(status=status, facts=_Facts(code=code, message=message, remedy=remedy), headers=allow)


_SEED_PATH = re.compile(r"/(?:api|[^/]+/[^/]+)/(?:services|data|messaging|users|info|rt)(?:/|$)")


def speaks_backendless(path: str) -> bool:
    """Tell whether whoever asks at this path expects Backendless' errors.

    >>> speaks_backendless("/A1/K1/services/Stripe/charge"), speaks_backendless("/api/services/Other/x")
    (True, True)
    >>> speaks_backendless("/charges")
    False
    """
    return _SEED_PATH.match(path) is not None


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer any exception; Litestar calls this."""
    problem = problem_of(error)
    if problem.status >= 500:
        log_failure(error, request.scope)
    return Response(
        problem.body(backendless=speaks_backendless(request.scope["path"])),
        status_code=problem.status,
        headers={"Cache-Control": "no-store", **problem.headers},
        media_type="application/json",
    )


def log_failure(error: Exception, scope: HTTPScope) -> None:
    """Log an error of ours: which route, what kind, where. Never its text, the URL, headers or body.

    The seed's URLs hold API keys, and an exception's text may quote what it choked on.
    """
    where = scope.get("path_template") or "?"
    if isinstance(error, TillportError):
        logger.warning("%s %s: %s", scope["method"], where, error.code)
        return
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s %s: unexpected %s\n%s", scope["method"], where, type(error).__name__, frames)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    TillportError: answer_error,
    HTTPException: answer_error,
    Exception: answer_error,
}
