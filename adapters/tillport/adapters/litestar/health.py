"""Health, for whoever supervises the process: `/health` says that it runs, `/ready` that it can work."""

import msgspec
from litestar import HttpMethod, Response, route
from litestar.handlers import HTTPRouteHandler

from tillport.adapters.litestar.door import Door
from tillport.adapters.litestar.refusals import Busy
from tillport.adapters.litestar.within import within
from tillport.ports.event_log import LogUnavailable

_READ = (HttpMethod.GET, HttpMethod.HEAD)
"""Monitors of uptime ask by HEAD."""
READY_SECONDS = 5.0
"""How long the log may take to answer; supervisors give up after 1 to 10 seconds."""


def health_handlers(door: Door) -> list[HTTPRouteHandler]:
    """Return the handlers of `/health` and `/ready`. Neither needs a key."""

    @route("/health", http_method=_READ, include_in_schema=False)
    async def health() -> Response[bytes]:
        """Say that the process runs and answers."""
        return _json({"status": "ok"})

    @route("/ready", http_method=_READ, include_in_schema=False)
    async def ready() -> Response[bytes]:
        """Say that requests can be served: the log can be read, and the service is not stopping."""
        if door.streams.stopped:
            raise Busy("The service is stopping.", remedy="Send requests to another process.")
        try:
            position = await within(READY_SECONDS, door.till.log.head())
        except TimeoutError as error:
            raise LogUnavailable(
                f"The event log did not answer within {READY_SECONDS:.0f} seconds.",
                remedy="Look after the database.",
            ) from error
        return _json({"status": "ready", "position": position, "streams": len(door.streams)})

    return [health, ready]


def _json(content: object) -> Response[bytes]:
    return Response(
        msgspec.json.encode(content), headers={"Cache-Control": "no-store"}, media_type="application/json"
    )
