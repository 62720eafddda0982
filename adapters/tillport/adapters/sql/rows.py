"""Between rows and values: one order of columns for events, one for attempts, one function each way."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement

from tillport.adapters.sql.schema import attempts, events
from tillport.ports.event_log import Event, Page, RecordedEvent
from tillport.ports.ledger import Attempt, AttemptState, Outcome
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder

EVENT_COLUMNS: Final = (
    "event_id",
    "id",
    "type",
    "payment_key",
    "key_is_alias",
    "aliases",
    "account",
    "livemode",
    "api_version",
    "request_key",
    "created",
    "received_at",
    "body",
)
"""What an insert writes, in this order."""

_READ_COLUMNS: Final = tuple(name for name in EVENT_COLUMNS if name != "key_is_alias")

EventRow = tuple[str, str, str, str, bool, str, str | None, bool, str | None, str | None, int, float, str]

_encode_text: Final = msgspec.json.Encoder().encode
_decode_aliases: Final = msgspec.json.Decoder(tuple[str, ...]).decode


class _Details(msgspec.Struct):
    description: str | None
    metadata: dict[str, str]


_decode_details: Final = msgspec.json.Decoder(_Details).decode


def event_row(event: Event) -> EventRow:
    """Return the values of `EVENT_COLUMNS`. The event passed `refuse_unrecordable`."""
    return (
        event.id,
        event.transaction_id,
        event.type,
        event.payment_key,
        event.payment_key in event.aliases,
        _encode_text(event.aliases).decode(),
        event.account,
        event.livemode,
        event.api_version,
        event.request_key,
        event.created,
        float(event.received_at),
        event.body.decode(),
    )


def more_aliases(event: Event) -> list[str]:
    """Return the aliases that the columns of the event's own row don't hold."""
    known = event.transaction_id, event.payment_key
    more = [name for name in event.aliases if name not in known]
    return list(dict.fromkeys(more)) if more else more


def event_selection(position: ColumnElement[int]) -> list[ColumnElement[Any]]:
    """Return what a statement selects for `recorded_event` to read, the position first."""
    return [position, *(events.c[name] for name in _READ_COLUMNS)]


def recorded_event(row: Sequence[Any]) -> RecordedEvent:
    """Return the event of a row that was selected by `event_selection`."""
    return RecordedEvent(
        row[0],
        Event(
            id=row[1],
            transaction_id=row[2],
            type=row[3],
            payment_key=row[4],
            aliases=_decode_aliases(row[5]),
            account=row[6],
            livemode=bool(row[7]),
            api_version=row[8],
            request_key=row[9],
            created=row[10],
            received_at=row[11],
            body=row[12].encode(),
        ),
    )


def page_of(found: Sequence[RecordedEvent], *, after: int, limit: int, head: int, horizon: int) -> Page:
    """Return what was found after a position as a page: one that is not full reaches to the log's end."""
    position = found[-1].position if found and len(found) == limit else max(after, head)
    return Page(events=tuple(found), position=position, reset=after < horizon)


ATTEMPT_COLUMNS: Final = tuple(column.name for column in attempts.columns)


def attempt_row(attempt: Attempt) -> dict[str, Any]:
    """Return the values of every column of an attempt."""
    order = attempt.order
    return {
        "key": attempt.key,
        "fingerprint": attempt.fingerprint,
        "caller_id": attempt.caller_id,
        "token": order.token,
        "amount_minor": order.money.amount_minor,
        "currency": order.money.currency,
        "details": _encode_text(_Details(order.description, dict(order.metadata))).decode(),
        "started_at": float(attempt.started_at),
        "tried_at": float(attempt.tried_at),
        "busy_until": float(attempt.busy_until),
        "tries": attempt.tries,
        **outcome_row(attempt.outcome),
    }


def outcome_row(outcome: Outcome) -> dict[str, Any]:
    """Return the columns that say what became of an attempt."""
    return {
        "state": outcome.state.value,
        "outcome_body": outcome.body.decode(),
        "payment_intent_id": outcome.payment_intent_id,
        "charge_id": outcome.charge_id,
    }


def attempt_of(row: Sequence[Any]) -> Attempt:
    """Return the attempt of a row that holds `ATTEMPT_COLUMNS`."""
    column = dict(zip(ATTEMPT_COLUMNS, row, strict=True))
    details = _decode_details(column["details"])
    return Attempt(
        key=column["key"],
        fingerprint=column["fingerprint"],
        caller_id=column["caller_id"],
        order=ChargeOrder(
            column["token"],
            Money(column["amount_minor"], column["currency"]),
            details.description,
            details.metadata,
        ),
        started_at=column["started_at"],
        tried_at=column["tried_at"],
        busy_until=column["busy_until"],
        tries=column["tries"],
        outcome=Outcome(
            state=AttemptState(column["state"]),
            body=column["outcome_body"].encode(),
            payment_intent_id=column["payment_intent_id"],
            charge_id=column["charge_id"],
        ),
    )
