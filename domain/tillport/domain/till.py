"""The till: the face that joins the verbs. What every driving adapter calls, and what an embedder holds."""

from collections.abc import AsyncGenerator, Callable, Sequence

import attrs

from tillport.domain.access import may_hear
from tillport.domain.charge import ChargeAnswer, Charging, charge, charge_status
from tillport.domain.notify import Heard, follow_pages, one_by_one
from tillport.domain.record import event_of
from tillport.domain.verify import Verifier
from tillport.ports.access import Caller
from tillport.ports.doorbell import Doorbell
from tillport.ports.errors import TillportError
from tillport.ports.event_log import Event, EventLog
from tillport.ports.payments import ChargeOrder
from tillport.ports.selector import Selector


class UnsafeConfiguration(TillportError):
    """Ours, at start-up: the parts would work together, but not safely."""

    code = "unsafe_configuration"


@attrs.frozen
class Receipt:
    """What became of a webhook: the event is durable, and `new` unless it was recorded before."""

    event: Event
    new: bool


@attrs.frozen(kw_only=True)
class Till:
    """Take payments and tell what became of them. Hand in the ports; share it freely between tasks.

    `nonces` returns fresh randomness at each call (say `lambda: secrets.token_hex(16)`). `open_channel` lets app
    keys hear every payment's projection and is off by default (see `tillport.domain.access`).

    Raises `UnsafeConfiguration` when the gateway moves real money and the verifier would take test events.
    """

    charging: Charging
    verifier: Verifier
    log: EventLog
    doorbell: Doorbell
    nonces: Callable[[], str]
    open_channel: bool = False

    def __attrs_post_init__(self) -> None:
        if self.charging.gateway.livemode and self.verifier.livemode is not True:
            raise UnsafeConfiguration(
                "The gateway moves real money, but webhooks of test mode would be taken for real ones.",
                remedy="Make the verifier with livemode=True.",
            )

    async def charge(
        self, order: ChargeOrder, *, caller: Caller, idempotency_key: str | None = None
    ) -> ChargeAnswer:
        """Charge an order once; see `tillport.domain.charge.charge` for what it raises."""
        return await charge(
            order, self.charging, caller=caller, nonce=self.nonces(), idempotency_key=idempotency_key
        )

    async def charge_status(self, attempt_key: str, *, caller: Caller) -> ChargeAnswer | None:
        """Return what is known of an attempt of this caller's, None if there is none."""
        return await charge_status(attempt_key, self.charging.ledger, caller=caller)

    async def receive(self, body: bytes, signature_header: str | None) -> Receipt:
        """Verify and record a webhook. Acknowledge it (2xx) if and only if this returns.

        Raises `WebhookRefused` (answer 400: it will never be taken), `EventRefused` (likewise) and
        `LogUnavailable` (answer 5xx, so that Stripe sends it again).
        """
        event = self.accept(body, signature_header)
        (new,) = await self.log.record([event])
        if new:
            self.doorbell.ring()
        return Receipt(event, new)

    def accept(self, body: bytes, signature_header: str | None) -> Event:
        """Verify a webhook and return its event, which is not recorded yet: there is nothing to acknowledge.

        For a driver that has `log` record it without a coroutine around it. Whoever does so rings the doorbell.
        Raises `WebhookRefused`.
        """
        now = self.charging.clock.now()
        return event_of(self.verifier.verify(body, signature_header, now=now), received_at=now)

    def subscribe(
        self, selector: Selector | None, *, caller: Caller, after: int = 0, idle_seconds: float = 15.0
    ) -> AsyncGenerator[Heard, None]:
        """Hear every selected event after a position: first what is recorded, then what comes, without end.

        What is heard is a `RecordedEvent`; or `Idle`, after each `idle_seconds` in which nothing came; or `Reset`, where
        older events are gone from the log (both are in `tillport.domain.notify`). Raises `Forbidden` at once if the
        caller may not listen to that.
        """
        pages = self.subscribe_pages(selector, caller=caller, after=after, idle_seconds=idle_seconds)
        return one_by_one(pages)

    def subscribe_pages(
        self, selector: Selector | None, *, caller: Caller, after: int = 0, idle_seconds: float = 15.0
    ) -> AsyncGenerator[Sequence[Heard], None]:
        """Hear what `subscribe` tells, with what is heard at once together."""
        may_hear(caller, selector, open_channel=self.open_channel)
        return follow_pages(
            self.log,
            self.doorbell,
            self.charging.clock,
            where=selector,
            after=after,
            idle_seconds=idle_seconds,
        )
