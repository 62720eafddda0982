"""SEPA Direct Debit as a means of payment: what a payment method and a charge tell of an IBAN."""

from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.errors import invalid, parameter_missing
from tillport.simulator.params import Spec
from tillport.simulator.resources import ibans
from tillport.simulator.resources.common import BillingDetails


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


# How long the bank's code is, after the country and the check digits; elsewhere none is told.
_BANK_DIGITS = {"AT": 5, "DE": 8}


# Who banks elsewhere, in London or Zürich say, gives an address too, a whole one from a version on
# (docs.stripe.com/changelog/endive/2026-09-30/require-sepa-direct-debit-address-fields).
_WHOLE_ADDRESS = "2026-09-30"
_EEA = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK".split()
)


INPUT = p.hash_of(Spec({"iban": p.string}, required=("iban",)))


def sepa_of(account: Account, given: Any, owner: BillingDetails, within: str) -> SepaDebit:
    """Read an IBAN by its check digits (ISO 13616); the account's number itself is not kept.

    The owner's name and email are part of the mandate, and outside the EEA the address: raise ApiError without them, or
    for what is no IBAN.
    """
    param = f"{within}[iban]"
    if not given:
        raise parameter_missing(param)
    for name in ("name", "email"):
        if not getattr(owner, name):
            raise parameter_missing(f"billing_details[{name}]")
    iban = "".join(given["iban"].split()).upper()
    shaped = iban.isascii() and iban.isalnum() and iban[:2].isalpha() and 15 <= len(iban) <= 34
    if not shaped or ibans.remainder(iban) != 1:
        raise invalid("The IBAN you provided is invalid.", param, "invalid_bank_account_iban")
    if iban[:2] not in _EEA:
        more = ("city", "postal_code") if account.version >= _WHOLE_ADDRESS else ()
        for name in ("line1", *more, "country"):
            if not getattr(owner.address, name):
                raise parameter_missing(f"billing_details[address][{name}]")
    print_ = ibans.fingerprint(iban)
    refusal = ibans.course(print_).refusal
    if refusal is not None:
        code, message = refusal
        raise invalid(message, param, code)
    bank = _BANK_DIGITS.get(iban[:2])
    return SepaDebit(
        bank_code=None if bank is None else iban[4 : 4 + bank],
        country=iban[:2],
        fingerprint=print_,
        last4=iban[-4:],
    )


def paid_with(account: SepaDebit) -> SepaPayment:
    return SepaPayment(
        bank_code=account.bank_code,
        branch_code=account.branch_code,
        country=account.country,
        fingerprint=account.fingerprint,
        last4=account.last4,
    )
