"""The webhook door: raw bytes in, one word out. 200 only once the event is durable.

Where the path allows it, it is an ASGI application that reads `receive` itself, because everything that a framework
does for a handler costs more than verifying and recording. Litestar 2.25 routes no such application at a path with
parameters, so at the seed's first form an ordinary handler does the same. Whoever knocks is authenticated by the
signature, by nothing else.

`tillport serve` takes nearly all webhooks before they come here: see `lane`, which shares `take` with both handlers.
"""

import logging

from litestar import Response, post
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler, asgi
from litestar.types import HTTPScope, Receive, Send

from tillport.adapters.litestar.access import header
from tillport.adapters.litestar.asgi import answer, json_headers, problem_answer
from tillport.adapters.litestar.body import read_body
from tillport.adapters.litestar.door import Door
from tillport.adapters.litestar.refusals import Disconnected, MethodNotAllowed
from tillport.adapters.litestar.replies import AnyRequest
from tillport.domain import WebhookRefused
from tillport.ports.event_log import EventRefused

logger = logging.getLogger("tillport.http")

RECEIVED = b'{"received":true}'
_RECEIVED_HEADERS = json_headers(RECEIVED, ())


def webhook_handler(door: Door, path: str) -> ASGIRouteHandler:
    """Return the handler that takes Stripe's webhooks at a path without parameters."""

    @asgi(path, copy_scope=False)
    async def webhook(scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Take a webhook: 200 once it is recorded, 400 if it never will be, 5xx if it should come again."""
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(allowed="POST")  # noqa: TRY301 - one place turns errors into answers
            await _read_and_take(door, scope, receive)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, Stripe gets an answer, and nothing leaks
            await answer(send, *problem_answer(scope, error))
        else:
            await answer(send, 200, _RECEIVED_HEADERS, RECEIVED)

    return webhook


def webhook_handler_with_parameters(door: Door, path: str) -> HTTPRouteHandler:
    """Return the handler that takes Stripe's webhooks at a path with parameters, none of which it looks at."""

    @post(path, status_code=200, include_in_schema=False)
    async def webhook_with_parameters(request: AnyRequest) -> Response[bytes]:
        """Take a webhook, as its faster sister does."""
        await _read_and_take(door, request.scope, request.receive)
        return Response(RECEIVED, media_type="application/json")

    return webhook_with_parameters


async def _read_and_take(door: Door, scope: HTTPScope, receive: Receive) -> None:
    body = await read_body(scope, receive, bytes_max=door.settings.webhook_bytes_max)
    await take(door, body, header(scope, b"stripe-signature"))


async def take(door: Door, body: bytes, signature: str | None) -> None:
    """Verify and record a webhook. Raises what `Till.receive` raises; a refusal is logged."""
    try:
        await door.till.receive(body, signature)
    except Exception as error:
        note_refusal(error)
        raise


def note_refusal(error: Exception) -> None:
    """Log it if a webhook was refused, by the code alone: what it held may be anything."""
    if isinstance(error, EventRefused):  # Stripe's own, and lost for this till unless somebody looks
        logger.error("webhook refused: %s, though its signature is right; see it at Stripe", error.code)
    elif isinstance(error, WebhookRefused):
        logger.info("webhook refused: %s", error.code)
