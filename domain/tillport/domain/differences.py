"""What can differ between the ledger, the log and Stripe's books, and what to do about each.

Three records tell of one payment: the *ledger* what we asked for, the *log* what Stripe told us, Stripe's *balance
transactions* what moved. Each comparison here takes two of them as plain values and returns what does not agree.
"""

from collections.abc import Iterator
from enum import StrEnum

import attrs
import msgspec

from tillport.ports.event_log import Event
from tillport.ports.history import Movement, MovementKind
from tillport.ports.ledger import Attempt, AttemptState


class DifferenceKind(StrEnum):
    """What does not agree. The value is stable, for programs."""

    CHARGED_TWICE = "charged_twice"
    CHARGED_AGAINST_LEDGER = "charged_against_ledger"
    NOT_IN_LEDGER = "not_in_ledger"
    NOT_SETTLED = "not_settled"
    AMOUNT_DIFFERS = "amount_differs"
    NO_MOVEMENT = "no_movement"
    NO_EVENT = "no_event"
    NOT_AT_STRIPE = "not_at_stripe"
    NOT_RECORDED = "not_recorded"


REMEDIES = {
    DifferenceKind.CHARGED_TWICE: "Refund one of the two at Stripe, and tell us: this must never happen.",
    DifferenceKind.CHARGED_AGAINST_LEDGER: "The caller was told that nothing was charged. Refund the charge at Stripe, "
    "or deliver what was paid for.",
    DifferenceKind.NOT_IN_LEDGER: "Was it made by another till on this Stripe account, or was this database restored "
    "from an older copy? Then the application may not know of it: look it up at Stripe.",
    DifferenceKind.NOT_SETTLED: "A running service settles it by itself, in minutes, but for what waits for a person's approval: look at "
    "Settings > Approvals in Stripe's dashboard. If it stays, look at the service's log. Do not charge again.",
    DifferenceKind.AMOUNT_DIFFERS: "Look at the charge at Stripe: was it captured in part?",
    DifferenceKind.NO_MOVEMENT: "Stripe's books hold no line for it. Do the key and the database belong to one Stripe account?",
    DifferenceKind.NO_EVENT: "Stripe lists no event for it any more, or failed to make it, or a subscriber's filter kept it away. "
    "The application was not told: tell it by hand.",
    DifferenceKind.NOT_AT_STRIPE: "Stripe does not know this event. Is a signing secret shared with another account or a simulator? "
    "If not, roll it.",
    DifferenceKind.NOT_RECORDED: "It can't be kept. Look at it with Stripe's dashboard or CLI.",
}


@attrs.frozen(kw_only=True)
class Difference:
    """One thing that two records tell differently, with every id that is known. Names no card and no person."""

    kind: DifferenceKind
    message: str
    attempt_key: str | None = None
    charge_id: str | None = None
    payment_intent_id: str | None = None
    event_id: str | None = None
    movement_id: str | None = None

    @property
    def remedy(self) -> str:
        return REMEDIES[self.kind]

    @property
    def about(self) -> tuple[str, str]:
        """What makes it the same difference when two comparisons find it."""
        subject = self.charge_id or self.attempt_key or self.event_id or self.movement_id or ""
        if self.kind is DifferenceKind.NOT_SETTLED:
            subject = self.attempt_key or subject  # the ledger itself knows of no charge
        return self.kind.value, subject


NEVER_CHARGED = frozenset(
    {AttemptState.NOT_SENT, AttemptState.DECLINED, AttemptState.REFUSED, AttemptState.NOT_CHARGED}
)
"""States in which the caller was told that no money moved."""
UNSETTLED = frozenset({AttemptState.STARTED, AttemptState.UNKNOWN})

PROOFS = {
    MovementKind.CHARGE: ("charge.succeeded", "charge.captured"),
    MovementKind.REFUND: ("refund.", "charge.refund"),
    MovementKind.DISPUTE: ("charge.dispute.",),
}
"""Which types of event tell of a movement, by how they begin."""


def tells_of(event_type: str, kind: MovementKind) -> bool:
    """Tell whether an event of that type announces a movement of that kind.

    >>> tells_of("charge.refunded", MovementKind.REFUND), tells_of("charge.updated", MovementKind.CHARGE)
    (True, False)
    """
    return event_type.startswith(PROOFS.get(kind, ()))


def between_money_and_ledger(
    attempt_key: str, charge_id: str | None, attempt: Attempt | None, *, told_by: dict[str, str | None]
) -> Iterator[Difference]:
    """Compare a charge that happened with the attempt that it says it was made by.

    `told_by` names the witness (`event_id`, `movement_id`) for the report.
    """
    ids: dict[str, str | None] = {"attempt_key": attempt_key, "charge_id": charge_id, **told_by}
    if attempt is None:
        yield Difference(
            kind=DifferenceKind.NOT_IN_LEDGER,
            message="Stripe charged for an attempt that the ledger does not hold.",
            **ids,
        )
        return
    ids["payment_intent_id"] = attempt.outcome.payment_intent_id
    if attempt.state in NEVER_CHARGED:
        yield Difference(
            kind=DifferenceKind.CHARGED_AGAINST_LEDGER,
            message=f"Stripe charged, and the ledger says {attempt.state.value!r}.",
            **ids,
        )
    elif attempt.state in UNSETTLED:
        yield Difference(
            kind=DifferenceKind.NOT_SETTLED,
            message=f"Stripe charged, and the ledger still says {attempt.state.value!r}.",
            **ids,
        )
    elif (
        attempt.state is AttemptState.SUCCEEDED
        and charge_id
        and attempt.outcome.charge_id not in (None, charge_id)
    ):
        yield charged_twice(attempt.outcome.charge_id, **ids)


def charged_twice(other_charge_id: str | None, **ids: str | None) -> Difference:
    """Return the difference that an attempt has another charge beside the one that the ids name."""
    return Difference(
        kind=DifferenceKind.CHARGED_TWICE,
        message=f"One attempt has two charges: {other_charge_id} and this one.",
        **ids,
    )


def between_movement_and_attempt(movement: Movement, attempt: Attempt | None) -> Iterator[Difference]:
    """Compare a charge in Stripe's books with the ledger. Charges that Tillport did not make agree with anything."""
    if movement.kind is not MovementKind.CHARGE or movement.attempt_key is None:
        return
    yield from between_money_and_ledger(
        movement.attempt_key, movement.charge_id, attempt, told_by={"movement_id": movement.id}
    )
    # What settles in another currency than the card's has another amount.
    money = None if attempt is None else attempt.order.money
    if money and money.currency == movement.currency and money.amount_minor != movement.amount_minor:
        yield Difference(
            kind=DifferenceKind.AMOUNT_DIFFERS,
            message=f"The ledger says {money}; Stripe's books say {movement.amount_minor} minor units.",
            attempt_key=movement.attempt_key,
            charge_id=movement.charge_id,
            movement_id=movement.id,
        )


def without_event(charge_id: str, kind: MovementKind, **ids: str | None) -> Difference:
    """Return the difference that no event in the log tells of a movement about that charge."""
    return Difference(
        kind=DifferenceKind.NO_EVENT,
        message=f"The log holds no event that tells of this {kind.value}.",
        charge_id=charge_id,
        **ids,
    )


class _Mode(msgspec.Struct):
    livemode: bool | None = None


def is_of_the_other_mode(attempt: Attempt, *, livemode: bool) -> bool:
    """Tell whether Stripe's answer says that test money was charged where ours is live, or the other way round.

    A till that went live goes on in the database that it was tried out on.
    """
    try:
        mode = msgspec.json.decode(attempt.outcome.body, type=_Mode).livemode
    except msgspec.MsgspecError:
        return False
    return mode is not None and mode is not livemode


class _Charge(msgspec.Struct):
    id: str = ""
    captured: bool = False
    created: int = 0


class _Data(msgspec.Struct):
    object: _Charge


class _Body(msgspec.Struct):
    data: _Data


@attrs.frozen
class Taken:
    """A charge that an event says was captured: Stripe's books must hold it. `created` is the charge's own time."""

    charge_id: str
    created: int


def taken_by(event: Event) -> Taken | None:
    """Return the captured charge that an event tells of, None for every other event."""
    if event.type != "charge.succeeded":
        return None
    try:
        charge = msgspec.json.decode(event.body, type=_Body).data.object
    except msgspec.MsgspecError:
        return None  # not a charge as Stripe documents it, so nothing can be said of it
    return Taken(charge.id, charge.created) if charge.captured and charge.id else None
