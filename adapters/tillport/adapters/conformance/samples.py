"""Values for the suites: events and attempts that differ where they should, and strategies to draw them."""

from typing import Any, Final

import attrs
import msgspec
from hypothesis import strategies as st

from tillport.ports.event_log import Event
from tillport.ports.ledger import Attempt
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder

NOON: Final = 1_700_000_000.0
"""A moment to reckon from, Unix seconds."""

_LONG: Final = "x" * 250

NEARLY_ALIKE: Final[tuple[tuple[str, str, str], ...]] = (
    ("_1aB", "_1Ab", "_1AB"),
    (f"_{_LONG}1", f"_{_LONG}2", f"_{_LONG}3"),
    ("_1", "_1 ", " _1"),
    ("_e", "_\N{LATIN SMALL LETTER E WITH ACUTE}", "_e\N{COMBINING ACUTE ACCENT}"),
)
"""Ends of names that databases like to take for one: by case, where a column ends, by spaces, by accents."""


def event(number: int, **changes: Any) -> Event:
    """Return the event `evt_<number>`, about a payment of its own unless told otherwise."""
    plain = Event(
        id=f"evt_{number}",
        type="charge.succeeded",
        transaction_id=f"ch_{number}",
        payment_key=f"pi_{number}",
        aliases=(f"ch_{number}", f"pi_{number}"),
        created=int(NOON) + number,
        received_at=NOON + number + 0.123456,
        livemode=False,
        body=b'{"id": "evt_%d", "object": "event", "text": "\xc3\xa9\\u0000 \xf0\x9f\x92\xb3"}' % number,
        api_version="2026-05-27.dahlia",
        request_key=f"key_{number}",
    )
    return msgspec.structs.replace(plain, **changes)


def attempt(number: int, **changes: Any) -> Attempt:
    """Return the attempt `key_<number>`, at work since `NOON` and busy for a minute."""
    plain = Attempt(
        key=f"key_{number}",
        fingerprint=f"fingerprint_{number}",
        caller_id="server_1",
        order=ChargeOrder(
            f"tok_{number}", Money(1250, "usd"), "caf\N{LATIN SMALL LETTER E WITH ACUTE}\0", {"cart": "7\0"}
        ),
        started_at=NOON,
        tried_at=NOON,
        busy_until=NOON + 60,
    )
    return attrs.evolve(plain, **changes)


numbers: Final = st.integers(1, 6)
"""Few, so that histories meet."""

types: Final = st.sampled_from(["charge.succeeded", "charge.refunded", "payment_intent.succeeded"])


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Draw events of few payments, under few ids, with aliases that cross."""
    payment = draw(numbers)
    aliases = draw(st.lists(st.sampled_from(["ch_1", "pi_1", "re_1", "dp_1"]), unique=True, max_size=3))
    transaction = f"ch_{payment}"
    return event(
        draw(st.integers(1, 12)),
        type=draw(types),
        transaction_id=transaction,
        payment_key=f"pi_{payment}",
        aliases=tuple(dict.fromkeys([transaction, *aliases])),
        created=int(NOON) + draw(st.integers(0, 5)),
        account=draw(st.sampled_from([None, "acct_1"])),
        request_key=draw(st.sampled_from([None, "key_1"])),
        body=b'{"drawn": %d}' % draw(st.integers(0, 2)),
    )
