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


class Card(msgspec.Struct, frozen=True, cache_hash=True):
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
        """The last four digits of its number."""
        return self.number[-4:]


def _declined(number: str, names: str, code: str, decline_code: str | None = None) -> Card:
    no = decline(code, decline_code)
    return Card(number, names=tuple(names.split()), declined=no, declined_on_attach=no)


_GENERIC = decline("card_declined", "generic_decline")

# Cards of other countries: two letters, then the number; digits seven to nine are the country's own number.
_ABROAD = (
    "ae 4000007840000001 ar 4000000320000021 at 4000000400000008 au 4000000360000006 be 4000000560000004 "
    "bg 4000001000000000 br 4000000760000002 by 4000001120000005 ca 4000001240000000 ch 4000007560000009 "
    "cl 4000001520000001 cn 4000001560000002 co 4000001700000003 cr 4000001880000005 cy 4000001960000008 "
    "cz 4000002030000002 de 4000002760000016 dk 4000002080000001 ec 4000002180000000 ee 4000002330000009 "
    "es 4000007240000007 fi 4000002460000001 fr 4000002500000003 gb 4000008260000000 gi 4000002920000005 "
    "gr 4000003000000030 hk 4000003440000004 hr 4000001910000009 hu 4000003480000005 ie 4000003720000005 "
    "in 4000003560000008 it 4000003800000008 jp 4000003920000003 li 4000004380000004 lt 4000004400000000 "
    "lu 4000004420000006 lv 4000004280000005 mt 4000004700000007 mx 4000004840008001 my 4000004580000002 "
    "nl 4000005280000002 no 4000005780000007 nz 4000005540000008 pa 4000005910000000 pe 4000006040000068 "
    "pl 4000006160000005 pt 4000006200000007 py 4000006000000066 ro 4000006420000001 sa 4000006820000007 "
    "se 4000007520000008 sg 4000007020000003 si 4000007050000006 sk 4000007030000001 tw 4000001580000008 "
    "uy 4000008580000003"
).split()

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
    *(
        Card(number, country=code.upper(), names=(code,))
        for code, number in zip(_ABROAD[::2], _ABROAD[1::2], strict=True)
    ),
    Card("4000058260000005", funding="debit", country="GB", names=("gb_debit",)),
    Card("5555558265554449", "mastercard", country="GB", names=("gb_mastercard",)),
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
    # What Radar makes of these depends on an account's rules; with none of its own the first only looks risky.
    Card("4000008400001017", names=("radarDynamicRiskThreshold",), risk_level="elevated"),
    Card(
        "4001858821843804",
        names=("freeTrialAbuseBlock",),
        declined=decline("card_declined", "fraudulent", blocked=True),
        risk_level="highest",
    ),
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
        "4000000001000043",
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
