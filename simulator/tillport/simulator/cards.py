"""Stripe's published test cards: one row per number, with the names its tokens go by (docs.stripe.com/testing).

`tok_<name>` and `pm_card_<name>` come in pairs. A number's fingerprint identifies it on every object made of it,
so the fingerprint is also how a stored payment method finds its behaviour again.
"""

from hashlib import blake2b

import msgspec


class Decline(msgspec.Struct, frozen=True):
    """Why a bank says no: Stripe's code, the decline code beside it, and what people read."""

    code: str
    decline_code: str | None
    message: str
    param: str | None = None
    blocked: bool = False


_TEXTS = {
    "card_declined": ("Your card was declined.", None),
    "insufficient_funds": ("Your card has insufficient funds.", None),
    "expired_card": ("Your card has expired.", "exp_month"),
    "incorrect_cvc": ("Your card's security code is incorrect.", "cvc"),
    "processing_error": ("An error occurred while processing your card. Try again in a little bit.", None),
    "authentication_required": ("Your card was declined. This transaction requires authentication.", None),
}


def decline(code: str, decline_code: str | None = None, *, blocked: bool = False) -> Decline:
    text, param = _TEXTS.get(decline_code or "", _TEXTS["card_declined"])
    if code in _TEXTS and code != "card_declined":
        text, param = _TEXTS[code]
    return Decline(code, decline_code, text, param, blocked)


AUTHENTICATION_REQUIRED = decline("authentication_required", "authentication_required")


class Card(msgspec.Struct, frozen=True):
    """How one test number behaves."""

    number: str
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    names: tuple[str, ...] = ()
    # The bank's answer to a payment, and to being saved to a customer.
    declined: Decline | None = None
    declined_on_attach: Decline | None = None
    # required: a challenge; optional: only when asked for; once: until set up; frictionless; unsupported.
    three_d_secure: str | None = None
    authentication_fails: bool = False
    # What happens later: a dispute's reason, a refund's course, an early fraud warning.
    dispute: str | None = None
    dispute_count: int = 0
    refund: str | None = None
    fraud_warning: bool = False
    bypass_pending: bool = False
    risk_level: str = "normal"
    cvc_check: str = "pass"
    line1_check: str = "pass"
    postal_code_check: str = "pass"

    @property
    def last4(self) -> str:
        return self.number[-4:]


def _declined(number: str, names: str, code: str, decline_code: str | None = None) -> Card:
    no = decline(code, decline_code)
    return Card(number, names=tuple(names.split()), declined=no, declined_on_attach=no)


_GENERIC = decline("card_declined", "generic_decline")

CARDS: tuple[Card, ...] = (
    Card("4242424242424242", names=("visa", "us")),
    Card("4000056655665556", funding="debit", names=("visa_debit",)),
    Card("5555555555554444", "mastercard", names=("mastercard",)),
    Card("2223003122003222", "mastercard"),
    Card("5200828282828210", "mastercard", "debit", names=("mastercard_debit",)),
    Card("5105105105105100", "mastercard", "prepaid", names=("mastercard_prepaid",)),
    Card(
        "378282246310005",
        "amex",
        names=("amex", "amex_threeDSecureNotSupported"),
        three_d_secure="unsupported",
    ),
    Card("371449635398431", "amex", three_d_secure="unsupported"),
    Card("6011111111111117", "discover", names=("discover",)),
    Card("6011000990139424", "discover"),
    Card("6011981111111113", "discover", "debit", names=("discover_debit",)),
    Card("3056930009020004", "diners", names=("diners",)),
    Card("36227206271667", "diners", names=("diners_14digits",)),
    Card("3566002020360505", "jcb", country="JP", names=("jcb",)),
    Card("6200000000000005", "unionpay", country="CN", names=("unionpay",)),
    Card("6555900000604105", "discover", names=("bccard",)),
    Card("4000000760000002", country="BR", names=("br",)),
    Card("4000001240000000", country="CA", names=("ca",)),
    Card("4000004840008001", country="MX", names=("mx",)),
    Card("4000002760000016", country="DE", names=("de",)),
    Card("4000002500000003", country="FR", names=("fr",)),
    Card("4000008260000000", country="GB", names=("gb",)),
    Card("4000003720000005", country="IE", names=("ie",)),
    Card("4000003480000005", country="HU", names=("hu",)),
    Card("4000007560000009", country="CH", names=("ch",)),
    Card("4000003920000003", country="JP", names=("jp",)),
    Card("4000003560000008", country="IN", names=("in",)),
    Card("4000000360000006", country="AU", names=("au",)),
    Card("4000000000000077", names=("bypassPending",), bypass_pending=True),
    Card("4000003720000278", country="IE", names=("bypassPendingInternational",), bypass_pending=True),
    # Declines.
    _declined("4000000000000002", "chargeDeclined visa_chargeDeclined", "card_declined", "generic_decline"),
    _declined(
        "4000000000009995",
        "chargeDeclinedInsufficientFunds visa_chargeDeclinedInsufficientFunds",
        "card_declined",
        "insufficient_funds",
    ),
    _declined(
        "4000000000009987",
        "chargeDeclinedLostCard visa_chargeDeclinedLostCard",
        "card_declined",
        "lost_card",
    ),
    _declined(
        "4000000000009979",
        "chargeDeclinedStolenCard visa_chargeDeclinedStolenCard",
        "card_declined",
        "stolen_card",
    ),
    _declined(
        "4000000000006975",
        "chargeDeclinedVelocityLimitExceeded visa_chargeDeclinedVelocityLimitExceeded",
        "card_declined",
        "card_velocity_exceeded",
    ),
    _declined("4000000000000069", "chargeDeclinedExpiredCard visa_chargeDeclinedExpiredCard", "expired_card"),
    _declined(
        "4000000000000127", "chargeDeclinedIncorrectCvc visa_chargeDeclinedIncorrectCvc", "incorrect_cvc"
    ),
    _declined(
        "4000000000000119",
        "chargeDeclinedProcessingError visa_chargeDeclinedProcessingError",
        "processing_error",
    ),
    Card(
        "4100000000000019",
        names=("radarBlock", "chargeDeclinedFraudulent", "visa_chargeDeclinedFraudulent"),
        declined=decline("card_declined", "fraudulent", blocked=True),
        risk_level="highest",
    ),
    Card("4000000000000341", names=("chargeCustomerFail", "visa_chargeCustomerFail"), declined=_GENERIC),
    Card(
        "4000000000000341",
        names=("visa_chargeCustomerFailLostCard",),
        declined=decline("card_declined", "lost_card"),
    ),
    Card(
        "4000000000000341",
        names=("visa_chargeCustomerFailStolenCard",),
        declined=decline("card_declined", "stolen_card"),
    ),
    # Radar and checks.
    Card("4000000000004954", names=("riskLevelHighest",), risk_level="highest"),
    Card("4000000000009235", names=("riskLevelElevated",), risk_level="elevated"),
    Card("4000000000000101", names=("cvcCheckFail",), cvc_check="fail"),
    Card("4000000000000036", names=("avsZipFail",), postal_code_check="fail"),
    Card("4000000000000028", names=("avsLine1Fail",), line1_check="fail"),
    Card("4000000000000010", names=("avsFail",), line1_check="fail", postal_code_check="fail"),
    Card(
        "4000000000000044",
        names=("avsUnchecked",),
        line1_check="unavailable",
        postal_code_check="unavailable",
    ),
    Card("4000008400000407", names=("highFraudDisputeScore",)),
    Card("4000008400000159", names=("highEfwScore",)),
    # 3-D Secure.
    Card("4000002500003155", names=("authenticationRequiredOnSetup",), three_d_secure="once"),
    Card("4000002760003184", names=("authenticationRequired",), three_d_secure="required"),
    Card("4000003800000446", names=("authenticationRequiredSetupForOffSession",), three_d_secure="set_up"),
    Card(
        "4000008260003178",
        names=("authenticationRequiredChargeDeclinedInsufficientFunds",),
        three_d_secure="required",
        declined=decline("card_declined", "insufficient_funds"),
    ),
    Card("4000000000003220", names=("threeDSecure2Required",), three_d_secure="required"),
    Card("4000008400000027", names=("threeDSecureRequired",), three_d_secure="required"),
    Card(
        "4000008400001629",
        names=("threeDSecureRequiredChargeDeclined",),
        three_d_secure="required",
        declined=_GENERIC,
    ),
    Card(
        "4000008400001280",
        names=("threeDSecureRequiredProcessingError",),
        three_d_secure="required",
        authentication_fails=True,
    ),
    Card("4000000000003055", names=("threeDSecureOptional",), three_d_secure="optional"),
    Card(
        "4000000000003097",
        names=("threeDSecureOptionalProcessingError",),
        three_d_secure="optional",
        authentication_fails=True,
    ),
    Card("4000000032200000", three_d_secure="frictionless"),
    # Disputes and refunds that come later.
    Card("4000000000000259", names=("createDispute",), dispute="fraudulent", dispute_count=1),
    Card(
        "4000000000002685",
        names=("createDisputeProductNotReceived",),
        dispute="product_not_received",
        dispute_count=1,
    ),
    Card("4000000000001976", names=("createDisputeInquiry",), dispute="inquiry", dispute_count=1),
    Card("4000000000005423", names=("createIssuerFraudRecord",), fraud_warning=True),
    Card("4000000404000079", names=("createMultipleDisputes",), dispute="fraudulent", dispute_count=2),
    Card("4000000404000038", names=("createCe3EligibleDispute",), dispute="ce3", dispute_count=1),
    Card("4000008400000779", names=("createComplianceDispute",), dispute="compliance", dispute_count=1),
    Card(
        "5105008400000002",
        "mastercard",
        names=("createMastercardComplianceDispute",),
        dispute="mastercard_compliance",
        dispute_count=1,
    ),
    Card(
        "4000001000000043",
        names=("createAutoRepresentmentEligibleDispute",),
        dispute="auto_representment",
        dispute_count=1,
    ),
    Card("4000000000007726", names=("pendingRefund",), refund="pending"),
    Card("4000000000005126", names=("refundFail",), refund="fails"),
)

BY_NAME: dict[str, Card] = {name: card for card in CARDS for name in card.names}
BY_NUMBER: dict[str, Card] = {card.number: card for card in reversed(CARDS)}


def fingerprint(card: Card) -> str:
    """Return the sixteen characters that stand for a number (and, for one number, its named variants)."""
    return _BY_CARD[card]


def by_fingerprint(value: str) -> Card:
    return _BY_FINGERPRINT[value]


_BY_CARD = {
    card: blake2b((card.number + "".join(card.names)).encode(), digest_size=8).hexdigest() for card in CARDS
}
_BY_FINGERPRINT = {value: card for card, value in _BY_CARD.items()}

BRAND_NAMES = {
    "visa": "Visa",
    "mastercard": "MasterCard",
    "amex": "American Express",
    "discover": "Discover",
    "diners": "Diners Club",
    "jcb": "JCB",
    "unionpay": "UnionPay",
}


def luhn(number: str) -> bool:
    """Tell whether a card number's check digit is right."""
    total = 0
    for i, ch in enumerate(reversed(number)):
        digit = int(ch) * (1 + i % 2)
        total += digit - 9 if digit > 9 else digit
    return total % 10 == 0
