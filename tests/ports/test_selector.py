"""The selector tree refuses what events do not have, and selects by any alias."""

from typing import Any

import pytest

from tillport.adapters.sql.sqlite import SqliteEventLog
from tillport.adapters.sql.sqlite_store import SqliteStore
from tillport.domain.access import may_hear
from tillport.ports.access import Caller, CallerKind
from tillport.ports.selector import AllOf, Compare, InvalidSelector, matches

FIELDS = {"type": "charge.succeeded", "created": 1_700_000_000, "account": None}


def test_id_matches_any_alias_and_nothing_else() -> None:
    assert matches(Compare("id", "=", "pi_1"), FIELDS, ("ch_1", "pi_1"))
    assert not matches(Compare("id", "=", "ch_"), FIELDS, ("ch_1", "pi_1"))


def test_all_parts_must_hold() -> None:
    both = AllOf((Compare("id", "=", "ch_1"), Compare("type", "=", "charge.succeeded")))
    assert matches(both, FIELDS, ("ch_1",))
    assert not matches(both, {**FIELDS, "type": "charge.failed"}, ("ch_1",))
    assert matches(AllOf(()), FIELDS, ())
    assert matches(None, FIELDS, ())


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        (">=", 1_700_000_000, True),
        (">=", 1_700_000_001, False),
        ("<", 1_700_000_001, True),
        ("<", 1_700_000_000, False),
    ],
)
def test_times_are_compared_as_numbers(operator: str, value: int, expected: bool) -> None:
    assert matches(Compare("created", operator, value), FIELDS, ()) is expected  # type: ignore[arg-type] # parametrised


def test_a_missing_field_matches_nothing() -> None:
    assert not matches(Compare("account", "=", "acct_1"), FIELDS, ())
    assert not matches(Compare("received_at", ">=", 0), FIELDS, ())


@pytest.mark.parametrize(
    "bad",
    [
        ("colour", "=", "red"),
        ("id", "<", "ch_1"),
        ("created", "=", "today"),
        ("type", "=", 5),
        ("body", "=", "x"),
    ],
)
def test_what_events_do_not_have_is_refused(bad: tuple[str, str, object]) -> None:
    with pytest.raises(InvalidSelector):
        Compare(*bad)  # type: ignore[arg-type] # what a parser could hand over


async def test_text_that_nobody_parsed_is_refused_and_selects_nothing_in_silence(tmp_path) -> None:
    text: Any = "id = 'ch_1'"
    with pytest.raises(TypeError, match="parse_selector"):
        matches(text, {}, [])
    with pytest.raises(TypeError, match="parse_selector"):
        may_hear(Caller("shop", CallerKind.SERVER), text)
    store = SqliteStore(tmp_path / "till.sqlite3")
    try:
        with pytest.raises(TypeError, match="parse_selector"):
            await SqliteEventLog(store).read(after=0, where=text)
    finally:
        await store.aclose()
