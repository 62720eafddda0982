"""The two messages of a plain ASGI answer, and the frame that turns exceptions into answers.

The handlers that must be fast, or that never end, are ASGI applications within Litestar: an ordinary handler costs
about 100 µs a request and one of these about 35.
"""

from litestar.types import HTTPScope, Send

from tillport.adapters.litestar.errors import log_failure, problem_of, speaks_backendless

Headers = tuple[tuple[bytes, bytes], ...]

_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")


def json_headers(body: bytes, further: Headers) -> Headers:
    """Return the headers of a JSON answer."""
    return (_JSON, (b"content-length", b"%d" % len(body)), *further)


def problem_answer(scope: HTTPScope, error: Exception) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of what the caller is told of an exception, and log it if it is ours."""
    problem = problem_of(error)
    if problem.status >= 500:
        log_failure(error, scope)
    body = problem.body(backendless=speaks_backendless(scope["path"]))
    further = tuple((name.lower().encode(), value.encode()) for name, value in problem.headers.items())
    return problem.status, json_headers(body, (_NO_STORE, *further)), body


async def answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send an answer whole."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body, "more_body": False})
