"""Read the table `StripeEvents`, page by page, in the log's order."""

from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from tillport.adapters.litestar.access import caller_of, query, server_only
from tillport.adapters.litestar.door import Door
from tillport.adapters.litestar.refusals import BadRequest
from tillport.adapters.litestar.replies import AnyRequest
from tillport.adapters.litestar.stream import position_of, selector_of, shown, without_client_secret_of
from tillport.ports.event_log import Page, RecordedEvent

LIMIT_DEFAULT = 100
LIMIT_MAX = 1_000


def events_handler(door: Door) -> HTTPRouteHandler:
    """Return the handler of `GET /events`."""

    @get("/events", include_in_schema=False)
    async def events(request: AnyRequest) -> Response[bytes]:
        """Return recorded events after a position."""
        server_only(caller_of(request.scope, door.keys))
        fields = query(request.scope)
        unknown = next((name for name in fields if name not in ("after", "limit", "selector")), None)
        if unknown is not None:
            raise BadRequest(
                "The query has a field that is not known here.", remedy="It has after, limit, selector."
            )
        after = position_of(fields.get("after"), name="after")
        page = await door.till.log.read(
            after=after, where=selector_of(request.scope), limit=_limit(fields.get("limit"))
        )
        if not page.events and after > await door.till.log.head():
            # A position of another log: all of this one is new.
            page = Page(events=(), position=0, reset=True)
        return Response(
            msgspec.json.encode(
                {
                    "events": [row(recorded) for recorded in page.events],
                    "position": page.position,
                    "reset": page.reset,
                }
            ),
            headers={"Cache-Control": "no-store"},
            media_type="application/json",
        )

    return events


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT_DEFAULT
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 4 and 1 <= int(text) <= LIMIT_MAX):
        raise BadRequest("limit is no such number.", remedy=f"Send 1 to {LIMIT_MAX}.", param="limit")
    return int(text)


def row(recorded: RecordedEvent) -> dict[str, Any]:
    """Return one row of `StripeEvents`; `id` is the transaction's, as in the seed, and `event_id` the event's."""
    event = recorded.event
    return {
        "position": recorded.position,
        "id": event.transaction_id,
        "type": event.type,
        "event_id": event.id,
        "payment_key": event.payment_key,
        "aliases": event.aliases,
        "created": event.created,
        "received_at": event.received_at,
        "livemode": event.livemode,
        "api_version": event.api_version,
        "account": event.account,
        "request_key": event.request_key,
        "body": msgspec.Raw(shown(event, without_client_secret_of)),
    }
