"""What no store may be given, and that whatever else is let through."""

import msgspec
import pytest

from tillport.adapters.conformance.samples import event
from tillport.ports.event_log import EventRefused, refuse_unrecordable

NAMES = ("id", "type", "transaction_id", "payment_key", "api_version", "account", "request_key")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["a\0", "\ud83d"])
def test_no_name_holds_what_a_database_cannot(name: str, text: str) -> None:
    with pytest.raises(EventRefused):
        refuse_unrecordable(msgspec.structs.replace(event(1), **{name: text}))


def test_two_halves_in_two_names_make_no_character() -> None:
    with pytest.raises(EventRefused):
        refuse_unrecordable(event(1, id="evt_\ud83d", type="\udcb3"))


@pytest.mark.parametrize("alias", ["ch_\0", "ch_\ud83d"])
def test_no_alias_does_either(alias: str) -> None:
    with pytest.raises(EventRefused):
        refuse_unrecordable(event(1, aliases=("ch_1", alias)))


@pytest.mark.parametrize("body", [b'{"a":"\0"}', b"\xff", b'{"a":"\xed\xa0\x80"}', "é\0".encode()])
@pytest.mark.parametrize("type_", ["charge.succeeded", "charge.réussi"])
def test_a_body_is_utf8_text_without_nul(body: bytes, type_: str) -> None:
    with pytest.raises(EventRefused):
        refuse_unrecordable(event(1, body=body, type=type_))


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"created": 2**63},
        {"created": -(2**63) - 1},
        {"received_at": float("inf")},
        {"received_at": float("nan")},
    ],
)
def test_an_event_has_an_id_and_times_that_a_column_holds(changes: dict[str, object]) -> None:
    with pytest.raises(EventRefused):
        refuse_unrecordable(event(1, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"body": b"{}"},
        {"body": "💳".encode(), "type": "charge.réussi", "aliases": ()},
        {"api_version": None, "account": None, "request_key": None},
        {"created": 2**63 - 1},
        {"created": -(2**63)},
    ],
)
def test_everything_else_is_let_through(changes: dict[str, object]) -> None:
    refuse_unrecordable(event(1, **changes))
