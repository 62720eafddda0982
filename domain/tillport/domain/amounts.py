"""What Stripe will charge: its smallest and largest amounts (https://docs.stripe.com/currencies).

The minimum holds for the currency that an account settles in. Stripe converts before it compares, which we can't;
so a currency without a row here is left to Stripe. Where sources disagree the lower minimum stands: it is better to
let Stripe refuse than to refuse what Stripe would take.
"""

from collections.abc import Mapping

import attrs

from tillport.ports.money import InvalidAmount, Money

MINIMUM_MINOR: Mapping[str, int] = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50,
    "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300, "nzd": 50,
    "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip

MAXIMUM_MINOR: Mapping[str, int] = {
    "inr": 999_999_999,
    "idr": 999_999_999_999,
    # Stripe takes more for cards in these four. Its page tells digits and examples that disagree: the largest reading of a
    # whole amount stands, and still bounds the typos.
    "cop": 999_999_999_999,
    "huf": 999_999_999_999,
    "jpy": 999_999_999_999,
    "lbp": 99_999_999_999_999,
}
EIGHT_DIGITS = 99_999_999
"""The largest amount in every other currency."""


@attrs.frozen(kw_only=True)
class Limits:
    """Stripe's limits per currency, in minor units. Hand in another table where an account has its own."""

    minimum_minor: Mapping[str, int] = attrs.field(factory=lambda: MINIMUM_MINOR)
    maximum_minor: Mapping[str, int] = attrs.field(factory=lambda: MAXIMUM_MINOR)

    def check(self, money: Money) -> None:
        """Raise `InvalidAmount` if Stripe would refuse this amount.

        >>> Limits().check(Money(50, "usd"))
        >>> Limits().check(Money(49, "usd"))
        Traceback (most recent call last):
        tillport.ports.money.InvalidAmount: 0.49 USD is below Stripe's minimum of 0.50 USD. Charge at least that; ...
        """
        smallest = self.minimum_minor.get(money.currency, 1)
        largest = self.maximum_minor.get(money.currency, EIGHT_DIGITS)
        if money.amount_minor < smallest:
            raise InvalidAmount(
                f"{money} is below Stripe's minimum of {Money(_whole(smallest, money), money.currency)}.",
                remedy="Charge at least that; amounts are in minor units, so 1250 means 12.50 with two decimals.",
            )
        if money.amount_minor > largest:
            raise InvalidAmount(
                f"{money} is above Stripe's maximum of {largest} minor units.",
                remedy="Amounts are in minor units: was it multiplied twice?",
            )


def _whole(amount_minor: int, money: Money) -> int:
    # The smallest amount of a currency without a row is 1, which some currencies can't express.
    for unit in (1, 10, 100):
        try:
            Money(amount_minor * unit, money.currency)
        except InvalidAmount:
            continue
        return amount_minor * unit
    raise AssertionError(money.currency)
