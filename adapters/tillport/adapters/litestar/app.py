"""The service's application, and routers for somebody else's."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.types import ControllerRouterHandler

from tillport.adapters.litestar.charge import charge_handlers
from tillport.adapters.litestar.door import Door
from tillport.adapters.litestar.errors import EXCEPTION_HANDLERS
from tillport.adapters.litestar.events import events_handler
from tillport.adapters.litestar.health import health_handlers
from tillport.adapters.litestar.lane import WebhookLane
from tillport.adapters.litestar.seed import seed_handlers
from tillport.adapters.litestar.settings import HttpSettings
from tillport.adapters.litestar.signals import stopping_on_signals
from tillport.adapters.litestar.stream import stream_handlers
from tillport.adapters.litestar.webhook import webhook_handler
from tillport.domain import Till
from tillport.ports.access import KeyRing

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[None]]

WEBHOOK_PATH = "/webhooks/stripe"
_ALLOWED_HEADERS = [
    "authorization",
    "bl-execution-type",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "user-token",
]
_EXPOSED_HEADERS = ["Idempotent-Replayed", "Retry-After", "Tillport-Amount", "Tillport-Attempt"]


def till_router(door: Door, *, path: str = "/") -> Router:
    """Return the native routes, for an application of your own; its `lifespan` should have the door's at its end."""
    return Router(
        path,
        route_handlers=[
            *charge_handlers(door),
            webhook_handler(door, WEBHOOK_PATH),
            *stream_handlers(door),
            events_handler(door),
            *health_handlers(door),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
    )


def seed_router(door: Door) -> Router:
    """Return the seed's URLs. Their paths are given, so this stands at the root of your application."""
    return Router("/", route_handlers=seed_handlers(door), exception_handlers=EXCEPTION_HANDLERS)


@attrs.frozen
class HttpFace:
    """The service's application, and the lane past it for whoever runs the server too."""

    app: Litestar
    lane: WebhookLane


def create_app(
    till: Till,
    keys: KeyRing,
    *,
    settings: HttpSettings | None = None,
    lifespan: Sequence[Lifespan] = (),
    route_handlers: Sequence[ControllerRouterHandler] = (),
) -> Litestar:
    """Return the service: native routes, the seed's URLs, and errors in one shape at every address.

    `lifespan` holds what must run around it (open the stores, run the loops): it is entered first and left last,
    when the charges under way have ended. `route_handlers` are further faces. Configures no logging. Serve it with
    the access log off, or redacted: the seed's URLs hold API keys.

    Raises `ValueError` for a `default_app_key` that is no app key.
    """
    return create_face(till, keys, settings=settings, lifespan=lifespan, route_handlers=route_handlers).app


def create_face(
    till: Till,
    keys: KeyRing,
    *,
    settings: HttpSettings | None = None,
    lifespan: Sequence[Lifespan] = (),
    route_handlers: Sequence[ControllerRouterHandler] = (),
) -> HttpFace:
    """Return what `create_app` returns, with the lane that spares its webhooks the way through the server."""
    door = Door(till, keys, settings=settings)
    settings = door.settings

    @asynccontextmanager
    async def ends(app: Litestar) -> AsyncIterator[None]:
        async with door.lifespan(app):
            if not settings.stop_on_signals:
                yield
                return
            with stopping_on_signals(door.stop):
                yield

    app = Litestar(
        route_handlers=[till_router(door), seed_router(door), *route_handlers],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[*lifespan, ends],
        cors_config=_cors(settings),
        openapi_config=None,  # its pages load scripts from elsewhere; docs/reference/http.md is the reference
        logging_config=None,  # Litestar would rewrite the root logger
    )
    return HttpFace(app, WebhookLane(door, WEBHOOK_PATH))


def _cors(settings: HttpSettings) -> CORSConfig | None:
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST"],
        allow_headers=_ALLOWED_HEADERS,
        expose_headers=_EXPOSED_HEADERS,
    )
