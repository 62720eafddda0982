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
    status: str | None = None

    @property
    def is_unpaid_charge(self) -> bool:
        return self.object == "charge" and self.status in ("pending", "failed")


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
_KINDS_OF_TYPES = {
    "charge": MovementKind.CHARGE,
    "payment": MovementKind.CHARGE,
    "refund": MovementKind.REFUND,
    "payment_refund": MovementKind.REFUND,
}
_FAILURE_REFUND = "payment_failure_refund"
"""What takes a bank debit that failed out of the books again. No refund was made, so no event tells of one."""


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
        events, cursor = await self._page("/v1/events", asked)
        return EventPage(events=events, cursor=cursor)

    async def movements(
        self, *, since: float, until: float | None = None, cursor: str | None = None
    ) -> MovementPage:
        """Return one page of balance transactions. See `PaymentHistory.movements`."""
        asked = {**_window(since, until, cursor), "expand": ["data.source"]}
        lines, cursor = await self._page("/v1/balance_transactions", asked)
        try:
            movements = tuple(_movement(msgspec.json.decode(line, type=_Line)) for line in lines)
        except msgspec.MsgspecError:
            pass
        else:
            return MovementPage(movements=movements, cursor=cursor)
        raise _unreadable()

    async def aclose(self) -> None:
        """Close the connection."""
        await self.connection.aclose()

    async def _page(self, path: str, asked: dict[str, Any]) -> tuple[tuple[bytes, ...], str | None]:
        failed: GatewayError
        try:
            page = msgspec.json.decode(await self.connection.get(path, asked), type=_Page)
            ids = [msgspec.json.decode(raw, type=_Named).id for raw in page.data]
            if ids or not page.has_more:
                return tuple(map(bytes, page.data)), ids[-1] if page.has_more else None
            failed = _unreadable()  # an empty page with more to come: the end would be a guess
        except CallFailed as call:
            message = f"Stripe could not be asked: {call.failure}."
            if call.failure.status in (401, 403) and call.failure.error is not None:
                failed = GatewayMisconfigured(
                    message,
                    remedy="The operator checks the key. A restricted one must be allowed to read Events, Balance and "
                    "Balance transaction sources.",
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


def _movement(line: _Line) -> Movement:
    source = line.source if isinstance(line.source, _Source) else None
    if source is not None:
        kind = _KINDS.get(source.object, MovementKind.OTHER)
        charge_id = source.id if kind is MovementKind.CHARGE else source.charge
        # A bank debit is in the books from its beginning, days before it is known whether it succeeds
        # (docs.stripe.com/reports/balance-transaction-types).
        if source.is_unpaid_charge or line.type == _FAILURE_REFUND:
            kind = MovementKind.OTHER
    else:  # not expanded: the line's own type tells what its source is
        kind = _KINDS_OF_TYPES.get(line.type, MovementKind.OTHER)
        charge_id = line.source if kind is MovementKind.CHARGE and isinstance(line.source, str) else None
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
