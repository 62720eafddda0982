"""The HTTP face, in Litestar: a service of its own, or routers for your application."""

from tillport.adapters.litestar.app import (
    WEBHOOK_PATH,
    HttpFace,
    create_app,
    create_face,
    seed_router,
    till_router,
)
from tillport.adapters.litestar.door import Door
from tillport.adapters.litestar.lane import ServerState, WebhookLane
from tillport.adapters.litestar.settings import HttpSettings

__all__ = [
    "WEBHOOK_PATH",
    "Door",
    "HttpFace",
    "HttpSettings",
    "ServerState",
    "WebhookLane",
    "create_app",
    "create_face",
    "seed_router",
    "till_router",
]
