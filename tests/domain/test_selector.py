"""The seed's selector is read exactly, and everything else is refused with an example."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillport.domain.selector import MAX_CHARACTERS, parse_selector
from tillport.ports.selector import Compare, InvalidSelector


@given(st.text(max_size=100), st.sampled_from(["", " ", "\t", "\n "]))
def test_any_text_survives_quoting(text: str, blank: str) -> None:
    quoted = text.replace("'", "''")
    assert parse_selector(f"{blank}id{blank}={blank}'{quoted}'{blank}") == Compare("id", "=", text)


@pytest.mark.parametrize(
    "text",
    ["", "id", "id = ch_1", 'id = "ch_1"', "id = 'ch_1", "id = 'a' OR 1=1", "id = 'a'; drop table x", "'a' = id",
     "colour = 'red'", "created = 'x'", "id = 'a' -- x", "id = '" + "x" * MAX_CHARACTERS + "'"],
)  # fmt: skip
def test_what_is_not_the_language_is_refused(text: str) -> None:
    with pytest.raises(InvalidSelector):
        parse_selector(text)


@given(st.text(max_size=60).filter(lambda text: "=" not in text))
def test_no_text_breaks_the_parser(text: str) -> None:
    with pytest.raises(InvalidSelector) as refused:
        parse_selector(text)
    assert refused.value.remedy


@pytest.mark.parametrize("text", ["created = '1700000000'", "received_at = '1'", "colour = 'red'"])
def test_a_refusal_advises_only_what_is_then_taken(text: str) -> None:
    with pytest.raises(InvalidSelector) as refused:
        parse_selector(text)
    advised = refused.value.remedy.removeprefix("Compare one of ").partition(" with")[0].split(", ")
    assert [parse_selector(f"{name} = 'x'").field for name in advised] == advised
