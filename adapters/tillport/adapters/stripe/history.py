"""Stripe's own memory, for reconciliation: the events and the balance transactions that it lists."""

import math
from typing import Any

import attrs
import msgspec

from tillport.adapters.stripe.connection import CallFailed, StripeConnection
from tillport.adapters.stripe.intents import ATTEMPT
from tillport.ports.history import EventPage, Movement, MovementKind, MovementPage
from tillport.ports.payments import GatewayError, GatewayMisconfigured, GatewayUnavailable

_PAGE = 100


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: bool


class _Named(msgspec.Struct):
    id: str


class _Source(msgspec.Struct):
    """A charge, refund or dispute; `payment_intent` is an id in all of them."""

    id: str
    object: str
    charge: str | None = None
    payment_intent: str | None = None
    metadata: dict[str, str] | None = None


class _Line(msgspec.Struct):
    id: str
    type: str
    amount: int
    fee: int
    net: int
    currency: str
    created: int
    source: _Source | str | None = None


_KINDS = {
    "charge": MovementKind.CHARGE,
    "refund": MovementKind.REFUND,
    "dispute": MovementKind.DISPUTE,
}


@attrs.define(eq=False)
class StripeHistory:
    """List Stripe's events and balance transactions. Implements `PaymentHistory`. Shares the gateway's connection."""

    connection: StripeConnection

    async def events(
        self,
        *,
        since: float,
        until: float | None = None,
        undelivered: bool = False,
        cursor: str | None = None,
    ) -> EventPage:
        """Return one page of events. See `PaymentHistory.events`."""
        asked = _window(since, until, cursor)
        if undelivered:
            asked["delivery_success"] = False
        page = await self._page("/v1/events", asked)
        return EventPage(events=tuple(map(bytes, page.data)), cursor=_cursor(page))

    async def movements(
        self, *, since: float, until: float | None = None, cursor: str | None = None
    ) -> MovementPage:
        """Return one page of balance transactions. See `PaymentHistory.movements`."""
        asked = {**_window(since, until, cursor), "expand": ["data.source"]}
        page = await self._page("/v1/balance_transactions", asked)
        try:
            lines = [msgspec.json.decode(raw, type=_Line) for raw in page.data]
        except msgspec.MsgspecError:
            pass
        else:
            return MovementPage(movements=tuple(map(_movement, lines)), cursor=_cursor(page))
        raise _unreadable()

    async def aclose(self) -> None:
        """Close the connection."""
        await self.connection.aclose()

    async def _page(self, path: str, asked: dict[str, Any]) -> _Page:
        failed: GatewayError
        try:
            return msgspec.json.decode(await self.connection.get(path, asked), type=_Page)
        except CallFailed as call:
            message = f"Stripe could not be asked: {call.failure}."
            if call.failure.status in (401, 403) and call.failure.error is not None:
                failed = GatewayMisconfigured(
                    message, remedy="The operator checks the key and its permissions."
                )
            else:
                failed = GatewayUnavailable(message, remedy="Ask again later, from the same cursor.")
        except msgspec.MsgspecError:
            failed = _unreadable()
        raise failed


def _window(since: float, until: float | None, cursor: str | None) -> dict[str, Any]:
    created = {"gte": math.floor(since)}
    if until is not None:
        created["lt"] = math.ceil(until)
    asked: dict[str, Any] = {"created": created, "limit": _PAGE}
    if cursor is not None:
        asked["starting_after"] = cursor
    return asked


def _cursor(page: _Page) -> str | None:
    return msgspec.json.decode(page.data[-1], type=_Named).id if page.has_more and page.data else None


def _movement(line: _Line) -> Movement:
    source = line.source if isinstance(line.source, _Source) else None
    kind = _KINDS.get(source.object, MovementKind.OTHER) if source else MovementKind.OTHER
    charge_id = None
    if source is not None:
        charge_id = source.id if kind is MovementKind.CHARGE else source.charge
    return Movement(
        id=line.id,
        kind=kind,
        type=line.type,
        amount_minor=line.amount,
        fee_minor=line.fee,
        net_minor=line.net,
        currency=line.currency,
        created=line.created,
        charge_id=charge_id,
        payment_intent_id=source.payment_intent if source else None,
        attempt_key=(source.metadata or {}).get(ATTEMPT) if source else None,
    )


def _unreadable() -> GatewayUnavailable:
    return GatewayUnavailable(
        "Stripe's list could not be read.", remedy="Ask again later, from the same cursor."
    )
