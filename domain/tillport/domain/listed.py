"""What Stripe lists, as the events that the log keeps; and what the log holds that Stripe does not list."""

from collections.abc import Iterable, Iterator

import msgspec

from tillport.domain.differences import Difference, DifferenceKind
from tillport.domain.record import event_of
from tillport.domain.verify import WebhookRefused, open_listed
from tillport.domain.window import Window
from tillport.ports.event_log import Event

_CHARGE = ("ch_", "py_")
"""How ids of charges begin; those that were not paid by card have the second form."""


def listed_events(
    bodies: Iterable[bytes], *, livemode: bool, received_at: float
) -> tuple[list[Event], list[Difference]]:
    """Return a list of Stripe's, which comes newest first, as events in the order in which they happened.

    What is no event, or is of the other mode, comes back as a difference.
    """
    events, refused = [], []
    for body in bodies:
        try:
            events.append(event_of(open_listed(body, livemode=livemode), received_at=received_at))
        except WebhookRefused as error:
            message = f"Stripe lists something that is not taken ({error.code})."
            refused.append(
                Difference(kind=DifferenceKind.NOT_RECORDED, message=message, event_id=id_of(body))
            )
    events.reverse()
    return events, refused


class _Named(msgspec.Struct):
    id: str


def id_of(body: bytes) -> str | None:
    """Return the id that a listed body names, None if it names none."""
    try:
        return msgspec.json.decode(body, type=_Named).id[:255]
    except (msgspec.DecodeError, RecursionError):
        return None


def unlisted(logged: Iterable[Event], listed_ids: set[str], window: Window) -> Iterator[Difference]:
    """Yield events of our own account that the log holds and Stripe's list does not."""
    for event in logged:
        if event.id in listed_ids or event.account is not None or not window.judges(event.created):
            continue
        yield Difference(
            kind=DifferenceKind.NOT_AT_STRIPE,
            message=f"The log holds an event of type {event.type!r} that Stripe does not list.",
            event_id=event.id,
            charge_id=event.transaction_id if event.transaction_id.startswith(_CHARGE) else None,
        )
