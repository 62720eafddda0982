"""What a payment method shows of its card, and what its bank made of the checks."""

import msgspec

from tillport.simulator import cards as c
from tillport.simulator.resources import tokens
from tillport.simulator.resources.common import NO_BILLING_DETAILS, BillingDetails, address_of


class Checks(msgspec.Struct, frozen=True, gc=False):
    address_line1_check: str | None = None
    address_postal_code_check: str | None = None
    cvc_check: str | None = None


class Networks(msgspec.Struct, frozen=True):
    available: tuple[str, ...]
    preferred: str | None = None


class ThreeDSecureUsage(msgspec.Struct, frozen=True, gc=False):
    supported: bool = True


class CardDetails(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`payment_method.card`; one instance serves every payment method made of the same named test card."""

    brand: str
    checks: Checks
    country: str | None
    display_brand: str
    exp_month: int
    exp_year: int
    fingerprint: str
    funding: str
    generated_from: None = None
    last4: str
    networks: Networks
    regulated_status: str | None = "unregulated"
    three_d_secure_usage: ThreeDSecureUsage = ThreeDSecureUsage()
    wallet: None = None


_MAGIC: dict[str, CardDetails] = {}


def magic_details(card: c.Card) -> CardDetails:
    key = c.fingerprint(card)
    found = _MAGIC.get(key)
    if found is None:
        checks = Checks(
            # The cards whose name promises a failing address check fail it; the others were sent no address.
            address_line1_check=None if card.line1_check == "pass" else card.line1_check,
            address_postal_code_check=None if card.postal_code_check == "pass" else card.postal_code_check,
            cvc_check=card.cvc_check,
        )
        month, year = tokens.MAGIC_EXPIRY
        found = _MAGIC[key] = _details(card, month, year, checks)
    return found


def details_of(source: tokens.CardSource) -> CardDetails:
    """Return what a payment method shows of a token's card, its checks made."""
    card = c.by_fingerprint(source.fingerprint or "")
    checks = Checks(
        address_line1_check=card.line1_check if source.address_line1 or source.address_line1_check else None,
        address_postal_code_check=(
            card.postal_code_check if source.address_zip or source.address_zip_check else None
        ),
        cvc_check=card.cvc_check if source.cvc_check else None,
    )
    return _details(card, source.exp_month, source.exp_year, checks)


def _details(card: c.Card, month: int, year: int, checks: Checks) -> CardDetails:
    return CardDetails(
        brand=card.brand,
        checks=checks,
        country=card.country,
        display_brand="american_express" if card.brand == "amex" else card.brand,
        exp_month=month,
        exp_year=year,
        fingerprint=c.fingerprint(card),
        funding=card.funding,
        last4=card.last4,
        networks=Networks((card.brand,)),
    )


def billing_of(source: tokens.CardSource) -> BillingDetails:
    address = {
        "city": source.address_city,
        "country": source.address_country,
        "line1": source.address_line1,
        "line2": source.address_line2,
        "postal_code": source.address_zip,
        "state": source.address_state,
    }
    if source.name is None and not any(address.values()):
        return NO_BILLING_DETAILS
    return BillingDetails(address=address_of(address), name=source.name)


def address_checked(card: CardDetails, details: BillingDetails) -> CardDetails:
    """Return a card with its checks of the billing address, as far as one was given."""
    address = details.address
    if address.line1 is None and address.postal_code is None:
        return card
    known = c.by_fingerprint(card.fingerprint)
    line1 = known.line1_check if address.line1 else card.checks.address_line1_check
    postal_code = known.postal_code_check if address.postal_code else card.checks.address_postal_code_check
    checks = msgspec.structs.replace(
        card.checks, address_line1_check=line1, address_postal_code_check=postal_code
    )
    return msgspec.structs.replace(card, checks=checks)
