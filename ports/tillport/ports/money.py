"""Money as Stripe counts it: an integer number of minor units, and a currency.

How many minor units make one of what people write depends on the currency
(https://docs.stripe.com/currencies): two decimals for most, none for `ZERO_DECIMAL`, three for
`THREE_DECIMAL`. Two currencies are counted with two decimals although nobody pays in their cents
(`WHOLE_UNITS_ONLY`); three-decimal amounts must end in 0. Nothing here rounds, ever.
"""

from decimal import Decimal

import attrs

from tillport.ports.errors import TillportError

ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())
WHOLE_UNITS_ONLY = frozenset("isk ugx".split())
"""Counted with two decimals for compatibility; the last two digits must be 00."""

TWO_DECIMAL = frozenset(
    """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop crc
    cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr isk jmd kes kgs khr
    kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk
    php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah ugx usd
    uyu uzs wst xcd yer zar zmw
    """.split()
)
CURRENCIES = ZERO_DECIMAL | TWO_DECIMAL | THREE_DECIMAL


class UnknownCurrency(TillportError):
    """The caller named a currency that Stripe does not take."""

    code = "unknown_currency"


class InvalidAmount(TillportError):
    """The caller's amount is no amount in that currency."""

    code = "invalid_amount"


def decimals(currency: str) -> int:
    """Return how many decimal places people write in `currency` (lower case): 0, 2 or 3.

    >>> decimals("usd"), decimals("jpy"), decimals("kwd")
    (2, 0, 3)
    """
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def _check_currency(currency: object) -> None:
    if not isinstance(currency, str) or currency not in CURRENCIES:
        raise UnknownCurrency(
            f"{str(currency)[:20]!r} is not a currency that Stripe takes.",
            remedy="Use a lower-case ISO 4217 code such as 'usd'.",
        )


def _check_amount(amount_minor: object, currency: str) -> None:
    if type(amount_minor) is not int:  # bool is an int to isinstance, and never an amount
        raise InvalidAmount(
            f"An amount is an integer, not {type(amount_minor).__name__}.",
            remedy="Send it in minor units: 1250 means 12.50 in a currency with two decimals.",
        )
    if amount_minor < 0:
        raise InvalidAmount("An amount is not negative.", remedy="Send the positive amount in minor units.")
    if currency in WHOLE_UNITS_ONLY and amount_minor % 100:
        raise InvalidAmount(
            f"{currency.upper()} amounts are counted with two decimals but have no cents.",
            remedy="Send an amount that ends in 00: 500 means 5.",
        )
    if currency in THREE_DECIMAL and amount_minor % 10:
        raise InvalidAmount(
            f"{currency.upper()} amounts have three decimals, of which Stripe takes two.",
            remedy="Send an amount whose last digit is 0: 5120 means 5.120.",
        )


@attrs.frozen
class Money:
    """An exact amount: `amount_minor` minor units of `currency` (lower-case ISO 4217).

    Raises `UnknownCurrency` and `InvalidAmount`.

    >>> str(Money(1250, "usd")), str(Money(500, "jpy")), str(Money(5120, "kwd"))
    ('12.50 USD', '500 JPY', '5.120 KWD')
    """

    amount_minor: int
    currency: str

    def __attrs_post_init__(self) -> None:
        _check_currency(self.currency)
        _check_amount(self.amount_minor, self.currency)

    def decimal(self) -> Decimal:
        """Return the amount as people write it, exactly: whatever the decimal context says of precision."""
        sign, digits, _ = Decimal(self.amount_minor).as_tuple()
        return Decimal((sign, digits, -decimals(self.currency)))

    def __str__(self) -> str:
        return f"{self.decimal():f} {self.currency.upper()}"
