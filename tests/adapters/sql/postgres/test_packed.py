"""What is packed into one text comes out of PostgreSQL as the values that went in."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillport.adapters.sql.packed import NOTHING, SEPARATOR, pack

CUT = "SELECT string_to_array($1, $2, $3)"
VALUES = st.none() | st.text(
    st.sampled_from([SEPARATOR, NOTHING, "a", "\N{LATIN SMALL LETTER E WITH ACUTE}", "!"])
    | st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    max_size=4,
)
COLUMNS = st.integers(1, 5).flatmap(
    lambda rows: st.lists(st.lists(VALUES, min_size=rows, max_size=rows), min_size=1, max_size=3)
)


async def cut(store, packed):
    """Return what the server makes of packed columns, without the end of each."""
    found = [(await store.fetch(CUT, text, packed.separator, packed.nothing))[0][0] for text in packed.texts]
    assert all(column.pop() == "" for column in found)
    return found


@pytest.mark.parametrize(
    "column", [[""], [None], ["", ""], [None, ""], [SEPARATOR], [NOTHING, None, SEPARATOR * 2]]
)
async def test_what_is_easily_mistaken_comes_back(store, column) -> None:
    assert await cut(store, pack([column])) == [column]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=COLUMNS)
async def test_any_columns_come_back(store, columns) -> None:
    assert await cut(store, pack(columns)) == columns


async def test_with_a_separator_that_is_in_a_value_they_would_not(store) -> None:
    """The control: what `pack` looks for is what would go wrong."""
    column = [f"a{SEPARATOR}b", "c"]
    packed = pack([column])
    assert packed.separator != SEPARATOR
    careless = packed._replace(separator=SEPARATOR, texts=[SEPARATOR.join(column) + SEPARATOR])
    assert await cut(store, careless) == [["a", "b", "c"]]
