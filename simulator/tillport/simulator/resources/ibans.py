"""Stripe's test IBANs, and what becomes of a debit from each (docs.stripe.com/payments/sepa-debit/accept-a-payment).

Each country has five of its own, which succeed, fail (either at once or three minutes later), or are disputed. The rest
are a bank's number, zeros, and one of a few tails that are the same everywhere.
"""

from functools import cache
from hashlib import blake2b

import msgspec

from tillport.simulator import cards as c

AT_ONCE_SECONDS = 1.0
LATER_SECONDS = 180.0


class Course(msgspec.Struct, frozen=True, gc=False):
    """What the bank answers, and when; `refusal` is the error of an account that cannot be debited at all."""

    seconds: float = AT_ONCE_SECONDS
    decline: c.Decline | None = None
    disputed: bool = False
    refusal: tuple[str, str] | None = None


_GOOD = Course()
# Which code a plain failure has is not published; the others' are.
_FAILS = c.Decline("insufficient_funds", None, "The customer's bank account has insufficient funds.")
_PLAIN = (
    _GOOD,
    Course(LATER_SECONDS),
    Course(decline=_FAILS),
    Course(LATER_SECONDS, _FAILS),
    Course(disputed=True),
)
_TAILS = {
    "0343434": Course(
        decline=c.Decline(
            "charge_exceeds_source_limit",
            None,
            "The payment would exceed the weekly volume limit of the customer's bank account.",
        )
    ),
    "0121212": Course(
        decline=c.Decline(
            "charge_exceeds_weekly_limit", None, "The payment would exceed your account's weekly limit."
        )
    ),
    "2222227": Course(decline=_FAILS),
    "0055555": Course(
        refusal=("sepa_debit_bank_not_supported", "The bank of this IBAN does not support SEPA Direct Debit.")
    ),
    "0066666": Course(
        refusal=("sepa_debit_debits_not_supported", "The bank account of this IBAN cannot be debited.")
    ),
}
# By country: what stands before a tail; then, without the country: success, success later, failure, failure later, dispute.
_COUNTRIES = """
AT 190430000 611904300234573201 321904300235473204 861904300235473202 051904300235473205 591904300235473203
BE 51000 62510007547061 78510007547064 68539007547034 51510007547065 08510007547063
CH 0076200000 9300762011623852957 8656663438253651553 5362200119938136497 1843597160341964438 1260378413965193069
DE 37040044000 89370400440532013000 08370400440532013003 62370400440532013001 78370400440532013004 35370400440532013002
EE 220000000 382200221020145685 222200221020145682 762200221020145680 922200221020145683 492200221020145681
ES 0012034500000 0700120345030000067890 2300120345030000067893 9121000418450200051332 9300120345030000067894 5000120345030000067892
FI 1234560 2112345600000785 3712345600000788 9112345600000786 1012345600000789 6412345600000787
FR 2004101005000000 1420041010050500013M02606 3020041010050500013M02609 8420041010050500013M02607 7920041010050500013M02600 5720041010050500013M02608
GB WEST1234560 82WEST12345698765432 98WEST12345698765435 55WEST12345698765433 71WEST12345698765436 28WEST12345698765434
GI NWBK00000000 60MPFS599327643783385 08RRNW626436291644533 41SAFA461293238477751 50LROG772261344693297 26KJBC361883934534696
HR 2402006000 7624020064583467589 6323600002337876649 2725000096983499248 6723600004878117427 8724840081455523553
IE AIBK9311520 29AIBK93115212345678 24AIBK93115212345671 02AIBK93115212345679 94AIBK93115212345672 51AIBK93115212345670
LI 0880000000 0508800636123378777 4408800387787111369 1208800143823175626 4908800356441975566 7708800125525347723
LT 100000000 121000011101001000 281000011101001003 821000011101001001 981000011101001004 551000011101001002
LU 001000000 280019400644750000 440019400644750003 980019400644750001 170019400644750004 710019400644750002
NL RABO000 39RABO0300065264 55RABO0300065267 91ABNA0417164300 28RABO0300065268 82RABO0300065266
NO 8601 9386011117947 8886011117940 6686011117948 6186011117941 3986011117949
PT 00020123000000 50000201231234567890154 66000201231234567890157 23000201231234567890155 39000201231234567890158 93000201231234567890156
SE 5000000000000 3550000000054910000003 5150000000054910000006 0850000000054910000004 2450000000054910000007 7850000000054910000005
"""


def remainder(iban: str) -> int:
    """Return an IBAN's remainder (ISO 13616): 1 for one whose check digits are right.

    >>> remainder("DE89370400440532013000")
    1
    """
    return int("".join(str(int(ch, 36)) for ch in iban[4:] + iban[:4])) % 97


def fingerprint(iban: str) -> str:
    """Return what stands for an account wherever its number is not told."""
    return blake2b(iban.encode(), digest_size=8).hexdigest()


@cache
def published() -> dict[str, Course]:
    """Return the published test IBANs."""
    found = {}
    for line in _COUNTRIES.strip().splitlines():
        country, bank, *plain = line.split()
        for tail, course in _TAILS.items():
            check = 98 - remainder(f"{country}00{bank}{tail}")
            found[f"{country}{check:02}{bank}{tail}"] = course
        found |= {country + rest: course for rest, course in zip(plain, _PLAIN, strict=True)}
    return found


@cache
def _by_fingerprint() -> dict[str, Course]:
    return {fingerprint(iban): course for iban, course in published().items()}


def course(print_: str) -> Course:
    """Return what becomes of debits from an account, by its fingerprint: they succeed, unless Stripe says otherwise."""
    return _by_fingerprint().get(print_, _GOOD)
