"""SEPA Direct Debit as a means of payment: what an IBAN tells, and what Stripe's test IBANs do.

A debit is slow: the bank's answer comes minutes later here, days later at Stripe. Stripe publishes the test IBANs
(docs.stripe.com/payments/sepa-debit/accept-a-payment); the Austrian and the German ones are modelled.
"""

from hashlib import blake2b
from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator import params as p
from tillport.simulator.errors import invalid, parameter_missing
from tillport.simulator.params import Spec
from tillport.simulator.resources.common import BillingDetails

AT_ONCE_SECONDS = 1.0
LATER_SECONDS = 180.0


class SepaDebit(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`payment_method.sepa_debit`."""

    bank_code: str | None
    branch_code: str | None = None
    country: str
    fingerprint: str
    generated_from: Any = None
    last4: str


class SepaPayment(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`payment_method_details.sepa_debit`: no mandate object is modelled."""

    bank_code: str | None
    branch_code: str | None
    country: str
    fingerprint: str
    last4: str
    mandate: None = None


class Course(msgspec.Struct, frozen=True, gc=False):
    """What the bank answers, and when."""

    seconds: float = AT_ONCE_SECONDS
    decline: c.Decline | None = None


_FAILS = c.Decline("insufficient_funds", None, "The customer's bank account has insufficient funds.")
_COURSES = {
    "AT321904300235473204": Course(LATER_SECONDS),
    "AT861904300235473202": Course(decline=_FAILS),
    "AT051904300235473205": Course(LATER_SECONDS, _FAILS),
    "DE08370400440532013003": Course(LATER_SECONDS),
    "DE62370400440532013001": Course(decline=_FAILS),
    "DE78370400440532013004": Course(LATER_SECONDS, _FAILS),
}


def _fingerprint(iban: str) -> str:
    return blake2b(iban.encode(), digest_size=8).hexdigest()


_BY_FINGERPRINT = {_fingerprint(iban): course for iban, course in _COURSES.items()}
# Where the bank's code stands after the country and the check digits, for the countries of the modelled test IBANs.
_BANK_DIGITS = {"AT": 5, "DE": 8}


INPUT = p.hash_of(Spec({"iban": p.string}, required=("iban",)))


def sepa_of(given: Any, owner: BillingDetails, within: str) -> SepaDebit:
    """Read an IBAN by its check digits (ISO 13616); the account's number itself is not kept.

    The owner's name and email are part of the mandate: raise ApiError without them, or for what is no IBAN.
    """
    param = f"{within}[iban]"
    if not given:
        raise parameter_missing(param)
    for name in ("name", "email"):
        if not getattr(owner, name):
            raise parameter_missing(f"billing_details[{name}]")
    iban = "".join(given["iban"].split()).upper()
    digits = (
        "".join(str(int(ch, 36)) for ch in iban[4:] + iban[:4]) if iban.isascii() and iban.isalnum() else ""
    )
    if not (15 <= len(iban) <= 34 and iban[:2].isalpha() and int(digits or "0") % 97 == 1):
        raise invalid("The IBAN you provided is invalid.", param, "invalid_bank_account_iban")
    bank = _BANK_DIGITS.get(iban[:2])
    return SepaDebit(
        bank_code=None if bank is None else iban[4 : 4 + bank],
        country=iban[:2],
        fingerprint=_fingerprint(iban),
        last4=iban[-4:],
    )


def course_of(account: SepaDebit) -> Course:
    """Return what becomes of a debit: it succeeds, unless the IBAN is one of those that fail or wait."""
    return _BY_FINGERPRINT.get(account.fingerprint, Course())


def paid_with(account: SepaDebit) -> SepaPayment:
    return SepaPayment(
        bank_code=account.bank_code,
        branch_code=account.branch_code,
        country=account.country,
        fingerprint=account.fingerprint,
        last4=account.last4,
    )
