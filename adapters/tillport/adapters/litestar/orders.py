"""Read an order from JSON: strictly at the native route, as the seed writes it at the seed's.

Nothing is converted that could be read in two ways, and no field is ignored: an ignored `currency` would charge the
right number in the wrong money. Amounts are judged by `Money`, so that a wrong type is told in words.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tillport.adapters.litestar.body import decode_json
from tillport.adapters.litestar.refusals import BadRequest
from tillport.domain import InvalidOrder
from tillport.ports.errors import TillportError
from tillport.ports.money import InvalidAmount, Money, UnknownCurrency, decimals
from tillport.ports.payments import ChargeOrder

_NATIVE_FIELDS = ("token", "amount_minor", "currency", "description", "metadata")
_SEED_FIELDS = ("token", "amount", "currency", "description", "metadata")
_CARD_FIELDS = frozenset({"card", "number", "card_number", "cvc", "cvv", "exp_month", "exp_year"})
_DIGITS_MAX = 15
"""More digits than the largest amount that Stripe takes; floats are exact up to there."""


class InvalidAmountField(InvalidAmount):
    """The caller's amount, with the name of the field that it stood in."""

    def __init__(self, message: str, *, remedy: str, param: str) -> None:
        super().__init__(message, remedy=remedy)
        self.param = param


def native_order(body: bytes, *, currency: str) -> ChargeOrder:
    """Return the order in a native request.

    Raises `BadRequest`, `InvalidOrder`, `InvalidAmount` and `UnknownCurrency`.

    >>> order = native_order(b'{"token":"tok_visa","amount_minor":1250}', currency="usd")
    >>> str(order.money)
    '12.50 USD'
    """
    fields = _object(decode_json(body), _NATIVE_FIELDS)
    if "amount_minor" not in fields:
        raise InvalidAmountField(
            "The amount is missing.",
            param="amount_minor",
            remedy='Send "amount_minor" in minor units: 1250 is 12.50 with two decimals.',
        )
    return _order(fields, fields["amount_minor"], param="amount_minor", currency=currency)


def seed_order(body: bytes, *, currency: str) -> ChargeOrder:
    """Return the order in a request at the seed's URLs: `{token, amount}`, or an array of exactly one of those.

    `amount` is in minor units; 1200.0 is taken, because Java's and JavaScript's numbers print so, and 12.5 is not.
    The seed's curl line has its placeholders unquoted, so a bare token is read as the text it is.

    >>> str(seed_order(b'[{"token":"tok_visa","amount":1200.0}]', currency="usd").money)
    '12.00 USD'
    >>> str(seed_order(b'{ "amount" : 1200, "token" : tok_visa }', currency="usd").money)
    '12.00 USD'
    """
    decoded = decode_json(_quote_token(body))
    if isinstance(decoded, list):
        if len(decoded) != 1:
            raise BadRequest(
                f"The array holds {len(decoded)} orders, and one request is one charge.",
                remedy='Send {"token": …, "amount": …}, or an array of exactly one of those.',
            )
        decoded = decoded[0]
    if isinstance(decoded, dict):  # SDKs add their own bookkeeping, such as ___class
        decoded = {name: value for name, value in decoded.items() if not name.startswith("___")}
    fields = _object(decoded, _SEED_FIELDS)
    if "amount" not in fields:
        raise InvalidAmountField(
            "The amount is missing.", param="amount", remedy='Send "amount" in minor units: 1250 is 12.50.'
        )
    amount = fields["amount"]
    if isinstance(amount, float):
        amount = _integral(amount, fields.get("currency", currency))
    return _order(fields, amount, param="amount", currency=currency)


_BARE_TOKEN = re.compile(rb'("token"\s*:\s*)(tok_[A-Za-z0-9_]{1,250})(\s*[,}])')


def _quote_token(body: bytes) -> bytes:
    # A bare word is never JSON, so this can't change the meaning of anything that could be read without it.
    if re.search(rb'"token"\s*:\s*tok_', body) is None:
        return body
    return _BARE_TOKEN.sub(rb'\1"\2"\3', body, count=1)


def _integral(amount: float, currency: object) -> int:
    if amount.is_integer() and abs(amount) < 10**_DIGITS_MAX:
        return int(amount)
    remedy = "Amounts are in minor units: 12.50 in a currency with two decimals is 1250."
    if isinstance(currency, str) and abs(amount) < 10**_DIGITS_MAX:
        meant = Decimal(repr(amount)).scaleb(decimals(currency))
        if meant == meant.to_integral_value() and _can_be_charged(int(meant), currency):
            remedy = (
                f"Amounts are in minor units: to charge {amount} {currency[:3].upper()}, send {int(meant)}."
            )
    raise InvalidAmountField(
        "The amount is no whole number of minor units.",
        param="amount",
        remedy=f"{remedy} Nothing is rounded.",
    )


def _can_be_charged(amount_minor: int, currency: str) -> bool:
    try:
        Money(amount_minor, currency)
    except TillportError:  # whoever followed such advice would be refused next
        return False
    return True


def _object(decoded: Any, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(decoded, dict):
        raise BadRequest(
            "The body is not a JSON object.", remedy=f'Send {{"token": "tok_…", "{known[1]}": 1250}}.'
        )
    unknown = next((name for name in decoded if name not in known), None)
    if unknown is not None:
        remedy = f"A charge has {', '.join(known)}."
        if unknown in ("amount", "amount_minor"):
            remedy = f'Here it is called "{known[1]}", in minor units: 1250 is 12.50 with two decimals.'
        elif unknown.lower() in _CARD_FIELDS:
            remedy = "Never send card data here: turn it into a token with Stripe.js or a Stripe SDK."
        # Only a name that looks like one is said back: somebody may have put a card number into it.
        name = unknown if re.fullmatch(r"[A-Za-z_]{1,40}", unknown) else None
        raise BadRequest(
            f"There is no field {name!r} here." if name else "There is a field that is not known here.",
            remedy=remedy,
            param=name,
        )
    return decoded


def _order(fields: Mapping[str, Any], amount: Any, *, param: str, currency: str) -> ChargeOrder:
    token = fields.get("token")
    if not isinstance(token, str):
        raise InvalidOrder(
            "The token is missing or is no text.",
            param="token",
            remedy="Send the tok_… that Stripe gave your client, never card data.",
        )
    named = fields.get("currency")
    description = fields.get("description")
    if description is not None and not isinstance(description, str):
        raise InvalidOrder(
            "The description is no text.", param="description", remedy="Send text, or leave it out."
        )
    return ChargeOrder(
        token=token,
        money=_money(amount, currency if named is None else named, param=param),
        description=description,
        metadata=_metadata(fields.get("metadata")),
    )


def _money(amount: Any, currency: Any, *, param: str) -> Money:
    if type(amount) is int and abs(amount) >= 10**_DIGITS_MAX:
        raise InvalidAmountField(
            "The amount has more digits than Stripe charges.", param=param, remedy="Send it in minor units."
        )
    if not isinstance(currency, str):
        raise UnknownCurrency(
            "The currency is no text.", remedy="Use a lower-case ISO 4217 code such as 'usd'."
        )
    try:
        return Money(amount, currency)
    except InvalidAmount as error:
        raise InvalidAmountField(error.message, remedy=error.remedy, param=param) from error


def _metadata(value: Any) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidOrder(
            "The metadata is not an object whose values are text.",
            param="metadata",
            remedy='Send for example {"order": "1234"}.',
        )
    return value
