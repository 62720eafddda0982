"""The webhook door: raw bytes in, one word out. 200 only once the event is durable.

It is an ASGI application that reads `receive` itself, because everything that a handler's framework does for it
costs more than verifying and recording. Whoever knocks is authenticated by the signature, by nothing else.
"""

import logging

from litestar.handlers import ASGIRouteHandler, asgi
from litestar.types import HTTPScope, Receive, Send

from tillport.adapters.litestar.access import header
from tillport.adapters.litestar.asgi import answer, answer_problem
from tillport.adapters.litestar.body import read_body
from tillport.adapters.litestar.door import Door
from tillport.adapters.litestar.errors import Disconnected, MethodNotAllowed
from tillport.domain import WebhookRefused

logger = logging.getLogger("tillport.http")

_RECEIVED = b'{"received":true}'


def webhook_handler(door: Door, *paths: str) -> ASGIRouteHandler:
    """Return the handler that takes Stripe's webhooks at these paths."""
    receive_event = door.till.receive
    bytes_max = door.settings.webhook_bytes_max

    @asgi(list(paths), copy_scope=False)
    async def webhook(scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Take a webhook: 200 once it is recorded, 400 if it never will be, 5xx if it should come again."""
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(allowed="POST")  # noqa: TRY301 - one place turns errors into answers
            body = await read_body(scope, receive, bytes_max=bytes_max)
            await receive_event(body, header(scope, b"stripe-signature"))
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, Stripe gets an answer, and nothing leaks
            if isinstance(error, WebhookRefused):
                logger.info("webhook refused: %s", error.code)
            await answer_problem(scope, send, error)
        else:
            await answer(send, 200, _RECEIVED, ())

    return webhook
