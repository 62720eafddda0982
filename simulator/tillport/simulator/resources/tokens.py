"""Tokens: card data in, a one-time id out; and Stripe's named test tokens, which never wear out."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.errors import ApiError, invalid, missing_object, not_modelled, parameter_missing
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources.common import Call, Route

# Magic tokens and payment methods show a card that never expires within a test's virtual time.
MAGIC_EXPIRY = (12, 2034)
EXPIRY = ("exp_month", "exp_year")


class Networks(msgspec.Struct, frozen=True, gc=False):
    preferred: str | None = None


class CardSource(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A card as tokens and customers' sources show it."""

    id: str
    object: str = "card"
    address_city: str | None = None
    address_country: str | None = None
    address_line1: str | None = None
    address_line1_check: str | None = None
    address_line2: str | None = None
    address_state: str | None = None
    address_zip: str | None = None
    address_zip_check: str | None = None
    allow_redisplay: str | None = "unspecified"
    brand: str
    country: str | None
    customer: Any = msgspec.UNSET
    cvc_check: str | None = None
    dynamic_last4: str | None = None
    exp_month: int
    exp_year: int
    fingerprint: str | None
    funding: str
    last4: str
    metadata: dict[str, str] = EMPTY
    name: str | None = None
    networks: Networks = Networks()
    regulated_status: str | None = "unregulated"
    tokenization_method: str | None = None
    wallet: None = None


class Token(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    id: str
    object: str = "token"
    card: CardSource
    client_ip: str | None
    created: int
    livemode: bool = False
    type: str = "card"
    used: bool = False


CARD_FIELDS = Spec(
    {
        "number": p.string,
        "exp_month": p.string,
        "exp_year": p.string,
        "cvc": p.string,
        "name": p.string,
        "currency": p.string,
        **{f"address_{part}": p.string for part in ("city", "country", "line1", "line2", "state", "zip")},
    },
    required=("number", "exp_month", "exp_year"),
    unmodelled=frozenset({"networks", "metadata"}),
)
CREATE = Spec(
    {"card": p.hash_of(CARD_FIELDS)},
    unmodelled=frozenset({"account", "bank_account", "customer", "cvc_update", "person", "pii"}),
)


def create(account: Account, call: Call, params: dict[str, Any]) -> Token:
    """Turn card data into a token; a bad number, date or security code is a 402 here already."""
    if not params.get("card"):
        raise parameter_missing("card")
    token = Token(
        id=account.ids.own("tok_"),
        card=card_source(account, params["card"]),
        client_ip="127.0.0.1",
        created=int(account.now()),
    )
    return account.tokens.add(token)


def retrieve(account: Account, call: Call, params: dict[str, Any], token_id: str) -> Token:
    found: Token = account.tokens.get(token_id, "token")
    return found


def card_source(account: Account, given: dict[str, Any]) -> CardSource:
    """Judge raw card data and build the card."""
    card = judged(given["number"], "number")
    month, year = expiry(account, given)
    cvc = given.get("cvc")
    if cvc is not None and (not _digits(cvc) or len(cvc) != (4 if card.brand == "amex" else 3)):
        raise card_error("Your card's security code is invalid.", "invalid_cvc", "cvc")
    address: dict[str, Any] = {k: v or None for k, v in given.items() if k.startswith("address_")}
    return CardSource(
        id=account.ids.own("card_"),
        brand=c.BRAND_NAMES.get(card.brand, "Unknown"),
        country=card.country,
        # A token's checks wait for the first use; `unchecked` is what Stripe shows until then.
        cvc_check=None if cvc is None else "unchecked",
        address_line1_check="unchecked" if address.get("address_line1") else None,
        address_zip_check="unchecked" if address.get("address_zip") else None,
        exp_month=month,
        exp_year=year,
        fingerprint=c.fingerprint(card),
        funding=card.funding,
        last4=card.last4,
        name=given.get("name"),
        **address,
    )


def magic_source(account: Account, card: c.Card) -> CardSource:
    """Return the card of a named test token, its security code as if it had been sent."""
    month, year = MAGIC_EXPIRY
    return CardSource(
        id=account.ids.own("card_"),
        brand=c.BRAND_NAMES.get(card.brand, "Unknown"),
        country=card.country,
        cvc_check="unchecked",
        # The cards whose name promises a failing address check fail it; the others were sent no address.
        address_line1_check=None if card.line1_check == "pass" else card.line1_check,
        address_zip_check=None if card.postal_code_check == "pass" else card.postal_code_check,
        exp_month=month,
        exp_year=year,
        fingerprint=c.fingerprint(card),
        funding=card.funding,
        last4=card.last4,
    )


def checked(source: CardSource) -> CardSource:
    """Return a card as it stands after its first use: what was sent has been checked."""
    card = c.by_fingerprint(source.fingerprint or "")
    return msgspec.structs.replace(
        source,
        cvc_check=card.cvc_check if source.cvc_check else None,
        address_line1_check=card.line1_check if source.address_line1 or source.address_line1_check else None,
        address_zip_check=card.postal_code_check if source.address_zip or source.address_zip_check else None,
    )


def judged(number: str, param: str) -> c.Card:
    """Return the test card of a number; refuse what is no card number, or no test card's."""
    digits = number.replace(" ", "").replace("-", "")
    if not _digits(digits) or not 12 <= len(digits) <= 19:
        raise card_error("The card number is not a valid credit card number.", "invalid_number", param)
    if not c.luhn(digits):
        raise card_error("Your card number is incorrect.", "incorrect_number", param)
    card = c.BY_NUMBER.get(digits)
    if card is None:
        raise ApiError(
            402,
            "Your card was declined. Your request was in test mode, but used a non test (live) card. "
            "For a list of valid test cards, visit: https://stripe.com/docs/testing.",
            type="card_error",
            code="card_declined",
            param=param,
            decline_code="test_mode_live_card",
        )
    return card


def expiry(account: Account, given: dict[str, Any]) -> tuple[int, int]:
    """Return (month, year) in the future; two-digit years mean this century."""
    today = datetime.fromtimestamp(account.now(), UTC)
    raw_month, raw_year = given["exp_month"], given["exp_year"]
    month = int(raw_month) if _digits(raw_month) and len(raw_month) < 5 else 0
    if not 1 <= month <= 12:
        raise card_error("Your card's expiration month is invalid.", "invalid_expiry_month", "exp_month")
    year = int(raw_year) if _digits(raw_year) and len(raw_year) < 5 else 0
    if year < 100:
        year += 2000
    if not today.year <= year <= today.year + 50:
        raise card_error("Your card's expiration year is invalid.", "invalid_expiry_year", "exp_year")
    if (year, month) < (today.year, today.month):
        raise card_error("Your card's expiration month is invalid.", "invalid_expiry_month", "exp_month")
    return month, year


def card_error(message: str, code: str, param: str) -> ApiError:
    return ApiError(402, message, type="card_error", code=code, param=param)


def _digits(value: str) -> bool:
    return value.isascii() and value.isdigit()


def spend(account: Account, token_id: str, param: str) -> CardSource | c.Card:
    """Use a token up and return its card; a named test token gives its test card, as often as asked."""
    token: Token | None = account.tokens.find(token_id)
    if token is not None:
        if token.used:
            raise invalid(
                f"You cannot use a Stripe token more than once: {token_id}.", None, "token_already_used"
            )
        account.tokens.put(msgspec.structs.replace(token, used=True))
        return token.card
    if token_id.startswith("tok_"):
        card = c.BY_NAME.get(token_id[4:])
        if card is not None:
            return card
    elif token_id.startswith("btok_"):
        raise not_modelled("bank account tokens", param)
    raise missing_object("token", token_id[:255], param, status=400)


ROUTES = (
    Route("POST", "/v1/tokens", create, CREATE, publishable=True),
    Route("GET", "/v1/tokens/{token}", retrieve, publishable=True),
)
