"""The payment gateway over Stripe."""

import math
from collections.abc import AsyncIterator
from urllib.parse import quote

import attrs
import msgspec

from tillport.adapters.stripe.connection import CallFailed, StripeConnection
from tillport.adapters.stripe.failures import Failure, verdict
from tillport.adapters.stripe.intents import ATTEMPT, Intent, parameters, payment_of
from tillport.ports.payments import (
    ChargeOrder,
    GatewayError,
    GatewayUnavailable,
    OutcomeUnknown,
    Payment,
)

_INTENTS = "/v1/payment_intents"
_PAGE = 100
_CLOCK_SKEW_SECONDS = 300
"""How far our clock and Stripe's may be apart: as much as Stripe's own webhook tolerance."""
_WORTH = {"succeeded": 0, "requires_capture": 1, "processing": 2, "requires_action": 3}


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: bool


@attrs.define(eq=False)
class StripeGateway:
    """Charge cards at Stripe, each attempt under its own idempotency key. Implements `PaymentGateway`.

    A task that is cancelled within `charge` leaves the outcome open, as a lost answer does.

    `absence_seconds`: a request that was given up may still arrive, so that Stripe holds nothing is taken for proof
    only when that much time has passed since the last try. The default covers one try's timeout, the kernel's
    attempts to deliver (which the transport bounds by the same timeout), and a slow bank.
    """

    connection: StripeConnection
    absence_seconds: float = attrs.field(default=180.0, kw_only=True, validator=attrs.validators.ge(0))
    max_pages: int = attrs.field(default=1000, kw_only=True, validator=attrs.validators.ge(1))
    """How many pages of 100 payments `find` reads before it gives up and says so."""

    @property
    def livemode(self) -> bool:
        """Whether real money moves: the key decides."""
        return self.connection.livemode

    @property
    def longest_call_seconds(self) -> float:
        """The longest that `charge` may take: leases on attempts must be longer."""
        return self.connection.patience.longest_call_seconds

    async def charge(self, order: ChargeOrder, *, idempotency_key: str) -> Payment:
        """Charge the order by a payment intent, made and confirmed under the key. See `PaymentGateway.charge`."""
        if not (
            0 < len(idempotency_key) <= 255 and idempotency_key.isascii() and idempotency_key.isprintable()
        ):
            raise ValueError("an idempotency key is 1 to 255 printable ASCII characters")
        asked = parameters(order, attempt=idempotency_key)
        try:
            body = await self.connection.post(_INTENTS, asked, idempotency_key=idempotency_key)
        except CallFailed as call:
            failed = verdict(call.failure, in_doubt=call.in_doubt)
        else:
            return payment_of(body)
        raise failed

    async def find(self, idempotency_key: str, *, tried_from: float, tried_until: float) -> Payment | None:
        """Look for the payment that carries the key in its metadata. See `PaymentGateway.find`.

        Stripe's search is asked first: it is quick, but may lag behind, so only what it finds counts. The list of
        all payments of the time in question is consistent, and proves absence.
        """
        now = self.connection.clock.now()
        try:
            found = await self._search(idempotency_key)
            if found is None:
                found = await self._listed(idempotency_key, tried_from=tried_from, tried_until=tried_until)
        except CallFailed as call:
            failed = _not_found_out(call.failure)
        else:
            if found is not None:
                return payment_of(found)
            if now >= tried_until + self.absence_seconds:
                return None
            failed = OutcomeUnknown(
                "Stripe holds no such payment yet, and it is too early to be sure.",
                remedy=f"Ask again {self.absence_seconds:.0f} seconds after the last try.",
            )
        raise failed

    async def holds(self, payment_intent_id: str) -> bool:
        """Ask for the payment by its id. See `PaymentGateway.holds`."""
        try:
            body = await self.connection.get(f"{_INTENTS}/{quote(payment_intent_id, safe='')}", {})
            if msgspec.json.decode(body, type=Intent).id == payment_intent_id:
                return True
            failed = _not_found_out("Stripe answered with another payment")
        except CallFailed as call:
            if call.failure.status == 404 and call.failure.code == "resource_missing":
                return False
            failed = _not_found_out(call.failure)
        except msgspec.MsgspecError:
            failed = _not_found_out("Stripe's answer could not be read")
        raise failed

    async def aclose(self) -> None:
        """Close the connection."""
        await self.connection.aclose()

    async def _search(self, idempotency_key: str) -> bytes | None:
        quoted = idempotency_key.replace("\\", "\\\\").replace("'", "\\'")
        try:
            answer = await self.connection.get(
                f"{_INTENTS}/search", {"query": f"metadata['{ATTEMPT}']:'{quoted}'", "limit": 10}
            )
            hits = [msgspec.json.decode(raw, type=Intent) for raw in _page(answer).data]
        except CallFailed as call:
            if call.failure.error is None:
                raise  # Stripe is not to be had: the list would fare no better
            return None  # not every account and region has search: the list decides
        except msgspec.MsgspecError:
            return None
        hits = [hit for hit in hits if hit.attempt == idempotency_key]
        if not hits:
            return None
        # What search shows may be old: the payment itself is asked.
        first = min(hits, key=_worth)
        return await self.connection.get(f"{_INTENTS}/{first.id}", {"expand": ["latest_charge"]})

    async def _listed(self, idempotency_key: str, *, tried_from: float, tried_until: float) -> bytes | None:
        best: tuple[int, bytes] | None = None
        window = {
            "gte": math.floor(tried_from) - _CLOCK_SKEW_SECONDS,
            "lte": math.ceil(tried_until + self.absence_seconds) + _CLOCK_SKEW_SECONDS,
        }
        async for intent, raw in self._intents(window):
            if intent.attempt == idempotency_key and (best is None or _worth(intent) < best[0]):
                best = _worth(intent), raw
        return best[1] if best else None

    async def _intents(self, window: dict[str, int]) -> AsyncIterator[tuple[Intent, bytes]]:
        asked: dict[str, object] = {"created": window, "limit": _PAGE, "expand": ["data.latest_charge"]}
        for _ in range(self.max_pages):
            try:
                page = _page(await self.connection.get(_INTENTS, asked))
                intents = [(msgspec.json.decode(raw, type=Intent), bytes(raw)) for raw in page.data]
            except msgspec.MsgspecError:
                break
            for found in intents:
                yield found
            if not page.has_more:
                return
            if not intents:
                break
            asked["starting_after"] = intents[-1][0].id
        raise OutcomeUnknown(
            "The list of Stripe's payments could not be read to its end.",
            remedy="Look for the attempt in the Stripe dashboard, by its metadata.",
        )


def _page(body: bytes) -> _Page:
    return msgspec.json.decode(body, type=_Page)


def _worth(intent: Intent) -> int:
    """Order payments under one key, should there ever be several: where money moved comes first."""
    return _WORTH.get(intent.status, len(_WORTH))


def _not_found_out(failure: Failure | str) -> GatewayError:
    return GatewayUnavailable(
        f"Stripe could not be asked what became of the charge: {failure}.", remedy="Ask later."
    )
