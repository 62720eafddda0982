"""Stripe's limits, at their edges."""

import pytest

from tillport.domain.amounts import MINIMUM_MINOR, Limits
from tillport.ports.money import CURRENCIES, InvalidAmount, Money


@pytest.mark.parametrize(("currency", "minimum"), sorted(MINIMUM_MINOR.items()))
def test_the_minimum_is_taken_and_one_unit_less_is_not(currency: str, minimum: int) -> None:
    Limits().check(Money(minimum, currency))
    with pytest.raises(InvalidAmount, match="minimum"):
        Limits().check(Money(minimum - 1, currency))


@pytest.mark.parametrize(
    ("currency", "maximum"),
    [
        ("usd", 99_999_999),
        ("inr", 999_999_999),
        ("idr", 999_999_999_999),
        ("lbp", 99_999_999_999_999),
    ],
)
def test_the_maximum_is_taken_and_one_unit_more_is_not(currency: str, maximum: int) -> None:
    Limits().check(Money(maximum, currency))
    with pytest.raises(InvalidAmount, match="maximum"):
        Limits().check(Money(maximum + 1, currency))


@pytest.mark.parametrize("currency", sorted(CURRENCIES))
def test_zero_is_never_charged(currency: str) -> None:
    with pytest.raises(InvalidAmount, match="minimum"):
        Limits().check(Money(0, currency))


def test_an_account_with_limits_of_its_own_hands_them_in() -> None:
    Limits(minimum_minor={"usd": 1}).check(Money(1, "usd"))
