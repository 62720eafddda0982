"""Housekeeping: what is taken out of the log again, by age or because a person asks for it."""

from typing import Protocol


class Housekeeping(Protocol):
    """Forget old events and rewrite bodies. Every event log that Tillport ships has these too.

    Raises `LogUnavailable` (see `tillport.ports.event_log`) from every method.
    """

    async def forget(self, *, received_before: float, up_to: int, now: float) -> int:
        """Take away the oldest events and return how many.

        Goes from the start of the log to the first event that is not older than `received_before` (Unix seconds)
        or stands after the position `up_to`, so that the log stays one stretch: `up_to` is the position that the
        slowest consumer has reached. Their ids remain: none of these events is ever recorded again. A reader that
        asks for events after a position before the last one taken is told `reset`.
        """
        ...

    async def replace_body(self, event_id: str, body: bytes, *, now: float) -> bool:
        """Put another body in the place of an event's own, and return whether that event is there.

        For erasing personal data; `now` is noted beside it. Nothing else of the event changes, and readers that
        come afterwards see the new body. Raises `EventRefused` for a body that can't be kept.
        """
        ...


class LedgerHousekeeping(Protocol):
    """Rewrite what the ledger keeps about people. Every ledger that Tillport ships has this too.

    Raises `LedgerUnavailable` (see `tillport.ports.ledger`).
    """

    async def erase_payment(self, payment_id: str) -> int:
        """Take people's words out of the final attempts that made this charge or payment intent.

        Returns how many that were not erased before. The token, the description, the metadata and Stripe's answer
        go (of the answer its `id` stays); what decides stays: key, fingerprint, amount, state and ids. So a
        repeated request still charges nobody twice, and one that was declined is told so, without the reason.
        """
        ...
