"""Which amounts Stripe takes in which currency (docs.stripe.com/currencies)."""

from typing import Any

from tillport.simulator.errors import ApiError, invalid
from tillport.simulator.params import integer, string

SUPPORTED = (
    "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf "
    "chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl hrk htg "
    "huf idr ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt "
    "mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar "
    "sbd scr sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd "
    "xcg xof xpf yer zar zmw"
).split()
_SUPPORTED = {code: code for code in SUPPORTED}
ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
WHOLE_UNITS = frozenset({"isk", "ugx"})  # sent as two-decimal, the last two digits must be 00
THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())

# By settlement currency, minor units. A newer third-party table differs a little: hence a plain table.
MINIMUM = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250,
    "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300,
    "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip
# The last four for cards, as whole amounts of the currency: the page's digits and its examples disagree.
MAXIMUM = {"inr": 999_999_999, "idr": 999_999_999_999, "lbp": 99_999_999_999_999, "cop": 999_999_999_999,
           "huf": 999_999_999_999, "jpy": 9_999_999_999}  # fmt: skip
DEFAULT_MAXIMUM = 99_999_999


def currency(value: Any, name: str) -> str:
    """Read a currency, in any case; return it in lower case."""
    read = string(value, name).lower()
    known = _SUPPORTED.get(read)
    if known is None:
        raise invalid(
            f"Invalid currency: {read[:20]}. Stripe currently supports these currencies: {', '.join(SUPPORTED)}",
            name,
        )
    # Our own text, of which there is one, instead of the caller's.
    return known


def amount(value: Any, name: str) -> int:
    """Read a positive amount in minor units."""
    number = integer(value, name)
    if number < 1:
        raise invalid("This value must be greater than or equal to 1.", name, "parameter_invalid_integer")
    return number


def check_charge(amount_minor: int, code: str) -> None:
    """Refuse an amount outside Stripe's limits for a charge, or one the currency cannot be paid in."""
    if amount_minor < MINIMUM.get(code, 1):
        least = shown(MINIMUM[code], code)
        raise _amount(f"Amount must be at least {least} {code}", "amount_too_small")
    most = MAXIMUM.get(code, DEFAULT_MAXIMUM)
    if amount_minor > most:
        raise _amount(f"Amount must be no more than {shown(most, code)}", "amount_too_large")
    if code in WHOLE_UNITS and amount_minor % 100:
        raise _amount(
            f"Invalid amount: {code} has no minor unit, but is sent with two decimals: the last two digits must be 00.",
            "parameter_invalid_integer",
        )
    if code in THREE_DECIMAL and amount_minor % 10:
        raise _amount(
            f"Invalid amount: {code} has three decimals, of which the last must be 0.",
            "parameter_invalid_integer",
        )


def check_most(amount_minor: int, code: str) -> None:
    """Refuse an amount of which Stripe moves no such sum at once."""
    most = MAXIMUM.get(code, DEFAULT_MAXIMUM)
    if amount_minor > most:
        raise _amount(f"Amount must be no more than {shown(most, code)}", "amount_too_large")


def shown(amount_minor: int, code: str) -> str:
    """Return an amount as Stripe's messages write it: `$0.50`, `¥50`, `12.50`."""
    sign = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}.get(code, "")
    if code in ZERO_DECIMAL:
        return f"{sign}{amount_minor:,}"
    places = 3 if code in THREE_DECIMAL else 2
    whole, part = divmod(amount_minor, 10**places)
    return f"{sign}{whole:,}.{part:0{places}d}"


def _amount(message: str, code: str) -> ApiError:
    return invalid(message, "amount", code)
