"""Erase one person's data from the record, on request, and keep what the books need.

A recorded event that speaks of the person is reduced to what an accountant may keep: which event about which payment,
when, how much, and how it ended. That is an allow-list: whatever Stripe adds tomorrow is gone too. Event ids, order and
places in the log stay, so that nothing is recorded or told a second time.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import attrs
import msgspec

from tillport.ports.event_log import Event, EventLog
from tillport.ports.housekeeping import Housekeeping, LedgerHousekeeping
from tillport.ports.selector import Compare

_PAGE: Final = 500
_PAGES_PER_WORD: Final = 100

_ENVELOPE: Final = frozenset("id object type created livemode api_version account pending_webhooks".split())
_OBJECT: Final = frozenset(
    """
    id object created livemode status currency amount amount_captured amount_refunded amount_received
    amount_capturable net fee paid captured refunded disputed payment_intent charge latest_charge
    balance_transaction failure_code reason type capture_method confirmation_method
    """.split()
)


class ErasableLog(EventLog, Housekeeping, Protocol):
    """An event log that can be rewritten."""


@attrs.frozen
class Erased:
    """What was erased: how many events and attempts, and which payments they were about."""

    events: int
    attempts: int
    payments: frozenset[str]


def speaks_of(event: Event, person_id: str) -> bool:
    """Tell whether an event mentions an id: a customer's (`cus_…`), or that of a payment made as a guest.

    The whole id, as a value anywhere in the body or as an alias; `cus_1` is not found in `cus_12`.
    """
    if person_id in event.aliases or person_id == event.payment_key:
        return True
    if person_id.encode() not in event.body:
        return False  # ids are plain ASCII and never escaped
    try:
        return _holds(msgspec.json.decode(event.body), person_id)
    except msgspec.DecodeError:
        return True  # it is no JSON that we can look into, and the id stands in it: better too much


def reduced(body: bytes) -> bytes:
    """Return a body with nothing personal left in it.

    >>> reduced(b'{"id": "evt_1", "data": {"object": {"id": "ch_1", "amount": 5, "receipt_email": "a@b.c"}}}')
    b'{"id":"evt_1","data":{"object":{"id":"ch_1","amount":5}},"tillport_erased":true}'
    """
    try:
        whole = msgspec.json.decode(body)
    except msgspec.DecodeError:
        whole = {}
    if not isinstance(whole, dict):
        whole = {}
    data = whole.get("data")
    about = data.get("object") if isinstance(data, dict) else None
    kept = {
        **_kept(whole, _ENVELOPE),
        "data": {"object": _kept(about, _OBJECT) if isinstance(about, dict) else {}},
        "tillport_erased": True,
    }
    return msgspec.json.encode(kept)


async def erase(
    person_id: str,
    log: ErasableLog,
    ledger: LedgerHousekeeping | None = None,
    *,
    now: float,
    tell: Callable[[int, int], None] | None = None,
) -> Erased:
    """Erase what log and ledger know of a customer, or of one payment. `now` is noted beside it, Unix seconds.

    Reads the whole log once, and what it holds of the payments found again. Calls `tell` with the position and the log's
    end now and then. Safe to repeat, and to be broken off and begun again. Raises `LogUnavailable` and
    `LedgerUnavailable`; what was erased until then stays erased.
    """
    events, payments = 0, set[str]()
    after, head, pages = 0, await log.head(), 0
    while after < head:
        page = await log.read(after=after, limit=_PAGE)
        for recorded in page.events:
            if speaks_of(recorded.event, person_id):
                payments.update((recorded.event.transaction_id, recorded.event.payment_key))
                events += await _reduce(recorded.event, log, now=now)
        after, pages = page.position, pages + 1
        if tell is not None and (pages % _PAGES_PER_WORD == 0 or after >= head):
            tell(min(after, head), head)
    for payment in sorted(payments):
        events += await _reduce_all_about(payment, log, up_to=head, now=now)
    attempts = 0
    if ledger is not None:
        # The log may not hold their events, any more or yet.
        for payment in sorted(payments | {person_id}):
            attempts += await ledger.erase_payment(payment)
    return Erased(events, attempts, frozenset(payments))


async def _reduce(event: Event, log: ErasableLog, *, now: float) -> bool:
    less = reduced(event.body)
    return less != event.body and await log.replace_body(event.id, less, now=now)


async def _reduce_all_about(payment: str, log: ErasableLog, *, up_to: int, now: float) -> int:
    """Reduce what names a payment and not the person: a dispute holds evidence about a customer, and no customer's id."""
    events, after = 0, 0
    while after < up_to:
        page = await log.read(after=after, where=Compare("id", "=", payment), limit=_PAGE)
        for recorded in page.events:
            events += await _reduce(recorded.event, log, now=now)
        after = page.position
    return events


def _kept(fields: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in names:
            continue
        plain = value.get("id") if isinstance(value, dict) else value  # of an expanded object, its id
        if plain is None or isinstance(plain, str | int | bool):
            kept[name] = plain
    return kept


def _holds(value: Any, wanted: str) -> bool:
    if isinstance(value, dict):
        return any(_holds(one, wanted) for one in value.values())
    if isinstance(value, list):
        return any(_holds(one, wanted) for one in value)
    return bool(value == wanted)
