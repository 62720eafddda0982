"""Money is exact: integers in, the same integers out, and what is no amount is refused with words."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillport.ports.money import (
    CURRENCIES,
    THREE_DECIMAL,
    WHOLE_UNITS_ONLY,
    ZERO_DECIMAL,
    InvalidAmount,
    Money,
    UnknownCurrency,
    decimals,
)


def unit_of(currency: str) -> int:
    return 100 if currency in WHOLE_UNITS_ONLY else 10 if currency in THREE_DECIMAL else 1


@given(st.sampled_from(sorted(CURRENCIES)), st.integers(0, 10**12))
def test_what_people_write_is_the_amount_and_nothing_else(currency: str, units: int) -> None:
    amount_minor = units * unit_of(currency)
    money = Money(amount_minor, currency)
    assert money.decimal() * 10 ** decimals(currency) == amount_minor
    written, code = str(money).split()
    assert Decimal(written) == money.decimal()
    assert len(written.partition(".")[2]) == decimals(currency)
    assert code == currency.upper()


@pytest.mark.parametrize("amount", ["100", 100.0, 1e3, True, None, float("nan"), Decimal(5), [1]])
def test_only_an_integer_is_an_amount(amount: object) -> None:
    with pytest.raises(InvalidAmount, match="integer"):
        Money(amount, "usd")  # type: ignore[arg-type] # what an untyped caller does


def test_the_decimal_context_rounds_nothing() -> None:
    with localcontext(prec=3):
        assert str(Money(123_456_789, "usd")) == "1234567.89 USD"


def test_a_negative_amount_is_refused() -> None:
    with pytest.raises(InvalidAmount, match="negative"):
        Money(-1, "usd")


@pytest.mark.parametrize("currency", ["USD", "", "us", "xxx", "btc", None, 5, "usd "])
def test_an_unknown_currency_is_refused_and_the_way_out_is_named(currency: object) -> None:
    with pytest.raises(UnknownCurrency, match="ISO 4217"):
        Money(100, currency)  # type: ignore[arg-type] # what an untyped caller does


@pytest.mark.parametrize(
    ("currency", "taken", "refused"),
    [("isk", 500, 501), ("ugx", 100, 10), ("kwd", 5120, 5125), ("bhd", 10, 9)],
)
def test_amounts_that_stripe_would_round_are_refused(currency: str, taken: int, refused: int) -> None:
    assert Money(taken, currency).amount_minor == taken
    with pytest.raises(InvalidAmount):
        Money(refused, currency)


def test_the_tables_do_not_overlap() -> None:
    assert not ZERO_DECIMAL & THREE_DECIMAL
    assert not WHOLE_UNITS_ONLY & (ZERO_DECIMAL | THREE_DECIMAL)
    assert len(CURRENCIES) > 130
