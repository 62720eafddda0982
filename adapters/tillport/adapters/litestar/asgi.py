"""The two messages of a plain ASGI answer, and the frame that turns exceptions into answers.

The handlers that must be fast, or that never end, are ASGI applications within Litestar: an ordinary handler costs
about 100 µs a request and one of these about 35.
"""

from litestar.types import HTTPScope, Send

from tillport.adapters.litestar.errors import log_failure, problem_of, speaks_backendless

_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")


async def answer(
    send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = (_NO_STORE,)
) -> None:
    """Send a JSON answer."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [_JSON, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def answer_problem(scope: HTTPScope, send: Send, error: Exception) -> None:
    """Send what the caller is told of an exception, and log it if it is ours."""
    problem = problem_of(error)
    if problem.status >= 500:
        log_failure(error, scope)
    headers = tuple((name.lower().encode(), value.encode()) for name, value in problem.headers.items())
    await answer(
        send,
        problem.status,
        problem.body(backendless=speaks_backendless(scope["path"])),
        (_NO_STORE, *headers),
    )
