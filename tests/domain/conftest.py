"""What the tests of the core share: events as Stripe would send them, verified and ready to record."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tillport.ports.event_log import Event

MakeEvent = Callable[..., Event]


@pytest.fixture
def make_event() -> MakeEvent:
    """Return a maker of events: `make_event("evt_1", charge="ch_1", intent="pi_1")`."""

    def make(
        id: str,  # noqa: A002 - the field's name at Stripe
        *,
        type: str = "charge.succeeded",  # noqa: A002 - the field's name at Stripe
        charge: str = "ch_1",
        intent: str = "pi_1",
        request_key: str | None = None,
        **about: Any,
    ) -> Event:
        shown = {"id": charge, "object": "charge", "payment_intent": intent, "status": "succeeded"} | about
        body = {
            "id": id, "object": "event", "type": type, "created": 1_700_000_000, "livemode": False,
            "data": {"object": shown},
        }  # fmt: skip
        return Event(
            id=id, type=type, transaction_id=charge, payment_key=intent, aliases=(charge, intent),
            created=1_700_000_000, received_at=1_700_000_000.5, livemode=False,
            body=json.dumps(body).encode(), request_key=request_key,
        )  # fmt: skip

    return make
