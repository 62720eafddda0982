"""Which payment an event is about, for every shape that Stripe sends."""

import hashlib
import hmac
import json
from typing import Any

import pytest

from tillport.domain.record import event_of
from tillport.domain.verify import Verifier
from tillport.ports.event_log import Event


def recorded(about: dict[str, Any], **changes: Any) -> Event:
    envelope = {"id": "evt_1", "object": "event", "type": "x.y", "created": 5, "livemode": False}
    body = json.dumps(envelope | {"data": {"object": about}} | changes).encode()
    signed = hmac.new(b"whsec_x", b"100." + body, hashlib.sha256).hexdigest()
    return event_of(Verifier(["whsec_x"]).verify(body, f"t=100,v1={signed}", now=100), received_at=100.5)


@pytest.mark.parametrize(
    ("about", "transaction", "payment", "aliases"),
    [
        ({"object": "charge", "id": "ch_1", "payment_intent": "pi_1"}, "ch_1", "pi_1", {"ch_1", "pi_1"}),
        ({"object": "charge", "id": "ch_1", "payment_intent": None}, "ch_1", "ch_1", {"ch_1"}),
        (
            {"object": "charge", "id": "ch_1", "payment_intent": {"id": "pi_1"}},
            "ch_1",
            "pi_1",
            {"ch_1", "pi_1"},
        ),
        (
            {"object": "payment_intent", "id": "pi_1", "latest_charge": "ch_1"},
            "ch_1",
            "pi_1",
            {"ch_1", "pi_1"},
        ),
        ({"object": "payment_intent", "id": "pi_1", "latest_charge": None}, "pi_1", "pi_1", {"pi_1"}),
        (
            {"object": "refund", "id": "re_1", "charge": "ch_1", "payment_intent": "pi_1"},
            "ch_1",
            "pi_1",
            {"ch_1", "pi_1", "re_1"},
        ),
        ({"object": "dispute", "id": "du_1", "charge": "ch_1"}, "ch_1", "ch_1", {"ch_1", "du_1"}),
        ({"object": "customer", "id": "cus_1"}, "cus_1", "cus_1", {"cus_1"}),
        ({"object": "balance"}, "evt_1", "evt_1", {"evt_1"}),
        ({"object": "odd", "id": 7, "charge": ["ch_1"], "payment_intent": 8}, "evt_1", "evt_1", {"evt_1"}),
        ({"object": "odd", "id": "x" * 300}, "evt_1", "evt_1", {"evt_1"}),
    ],
)
def test_an_event_knows_its_payment(
    about: dict[str, Any], transaction: str, payment: str, aliases: set[str]
) -> None:
    event = recorded(about)
    assert event.transaction_id == transaction
    assert event.payment_key == payment
    assert set(event.aliases) == aliases
    assert event.transaction_id in event.aliases


def test_the_body_is_kept_byte_for_byte_and_shown_to_nobody_by_accident() -> None:
    event = recorded({"object": "charge", "id": "ch_1", "receipt_email": "jenny@example.com"})
    assert json.loads(event.body)["data"]["object"]["receipt_email"] == "jenny@example.com"
    assert "jenny" not in repr(event)


@pytest.mark.parametrize(
    ("request_field", "key"),
    [({"id": "req_1", "idempotency_key": "k"}, "k"), ({"id": None, "idempotency_key": None}, None), (None, None), ("req_1", None)],
)  # fmt: skip
def test_the_key_of_the_request_that_caused_it_is_kept(request_field: Any, key: str | None) -> None:
    assert recorded({"id": "x"}, request=request_field).request_key == key
