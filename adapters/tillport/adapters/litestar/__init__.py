"""The HTTP face, in Litestar: a service of its own, or routers for your application."""

from tillport.adapters.litestar.app import WEBHOOK_PATH, create_app, seed_router, till_router
from tillport.adapters.litestar.door import Door
from tillport.adapters.litestar.settings import HttpSettings

__all__ = ["WEBHOOK_PATH", "Door", "HttpSettings", "create_app", "seed_router", "till_router"]
