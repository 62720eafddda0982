"""Bank transfers as a means of payment: which there are, what is asked for one, and where the money is to go.

In test mode Stripe shows everyone bank details to which no money can go; so do these, derived from the customer's id, so
that one customer is always shown the same (docs.stripe.com/payments/bank-transfers/accept-a-payment).
"""

from hashlib import blake2b
from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.errors import invalid, parameter_missing
from tillport.simulator.params import Spec
from tillport.simulator.resources.common import Address

# The currency that each kind carries.
CURRENCIES = {
    "eu_bank_transfer": "eur",
    "gb_bank_transfer": "gbp",
    "jp_bank_transfer": "jpy",
    "mx_bank_transfer": "mxn",
    "us_bank_transfer": "usd",
}
KINDS = {currency: kind for kind, currency in CURRENCIES.items()}
# The Stripe CLI's own fixture asks for a transfer in yen under this name.
_ALIASES = {"jp_bank_account": "jp_bank_transfer"}
# Which IBANs a customer can be given, and how long they are in each country.
_IBAN_LENGTHS = {"BE": 16, "DE": 22, "ES": 24, "FR": 27, "IE": 22, "NL": 18}


class EuTransfer(msgspec.Struct, frozen=True, gc=False):
    country: str


class TransferOptions(msgspec.Struct, frozen=True, gc=False):
    type: str
    eu_bank_transfer: EuTransfer | msgspec.UnsetType = msgspec.UNSET


class BalanceOptions(msgspec.Struct, frozen=True, gc=False):
    """`payment_method_options.customer_balance`."""

    funding_type: str | None = None
    bank_transfer: TransferOptions | msgspec.UnsetType = msgspec.UNSET


NO_OPTIONS = BalanceOptions()
_kind = p.one_of(*CURRENCIES)
OPTIONS = p.hash_of(
    Spec(
        {
            "bank_transfer": p.hash_of(
                Spec(
                    {
                        "type": lambda value, name: _ALIASES.get(str(value)) or _kind(value, name),
                        "eu_bank_transfer": p.hash_of(
                            Spec({"country": p.one_of(*_IBAN_LENGTHS)}, required=("country",))
                        ),
                    },
                    required=("type",),
                    unmodelled=frozenset({"requested_address_types"}),
                )
            ),
            "funding_type": p.one_of("bank_transfer"),
            "setup_future_usage": p.one_of("none"),
        }
    )
)


def options_of(given: dict[str, Any]) -> BalanceOptions:
    """Return the options as an intent shows them."""
    transfer = given.get("bank_transfer")
    if not transfer:
        return BalanceOptions(given.get("funding_type"))
    europe = transfer.get("eu_bank_transfer")
    return BalanceOptions(
        given.get("funding_type"),
        TransferOptions(transfer["type"], EuTransfer(europe["country"]) if europe else msgspec.UNSET),
    )


def check(options: BalanceOptions, currency: str) -> TransferOptions:
    """Return what is asked of a bank transfer; raise ApiError for one that cannot be, or not in this currency."""
    within = "payment_method_options[customer_balance][bank_transfer]"
    asked = options.bank_transfer
    if asked is msgspec.UNSET:
        raise parameter_missing(f"{within}[type]")
    if CURRENCIES[asked.type] != currency:
        raise invalid(
            f"The currency {currency} cannot be paid by {asked.type}: it carries {CURRENCIES[asked.type]} only.",
            f"{within}[type]",
        )
    if asked.type == "eu_bank_transfer" and asked.eu_bank_transfer is msgspec.UNSET:
        raise parameter_missing(f"{within}[eu_bank_transfer][country]")
    return asked


class Zengin(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    account_holder_address: Address
    account_holder_name: str
    account_number: str
    account_type: str = "futsu"
    bank_address: Address
    bank_code: str = "0000"
    bank_name: str
    branch_code: str = "000"
    branch_name: str


class Iban(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    account_holder_address: Address
    account_holder_name: str
    bank_address: Address
    bic: str
    country: str
    iban: str


class SortCode(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    account_holder_address: Address
    account_holder_name: str
    account_number: str
    bank_address: Address
    sort_code: str = "000000"


class Spei(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    account_holder_address: Address
    account_holder_name: str
    bank_address: Address
    bank_code: str = "000"
    bank_name: str
    clabe: str


class InTheUs(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    account_holder_address: Address
    account_holder_name: str
    account_number: str
    account_type: str = "checking"
    bank_address: Address
    bank_name: str


class Aba(InTheUs, frozen=True, gc=False, kw_only=True):
    routing_number: str = "000000000"


class Swift(InTheUs, frozen=True, gc=False, kw_only=True):
    swift_code: str = "TESTUS00XXX"


_HOLDER = "Tillport Test"
_BANK = "Test Bank"
_BRANCH = "Test Branch"


def _digits(customer: str, kind: str, length: int) -> str:
    drawn = int.from_bytes(blake2b(f"{customer}:{kind}".encode(), digest_size=16).digest())
    return str(drawn % 10**length).zfill(length)


def addresses(asked: TransferOptions, customer: str) -> list[dict[str, Any]]:
    """Return `financial_addresses`: the accounts that this customer may send the money to."""

    def number(length: int) -> str:
        return _digits(customer, asked.type, length)

    def at(country: str) -> dict[str, Any]:
        place = Address(country=country)
        return {"account_holder_address": place, "account_holder_name": _HOLDER, "bank_address": place}

    records: list[tuple[str, msgspec.Struct, list[str]]]
    if asked.type == "jp_bank_transfer":
        record = Zengin(**at("JP"), account_number=number(7), bank_name=_BANK, branch_name=_BRANCH)
        records = [("zengin", record, ["zengin"])]
    elif asked.type == "eu_bank_transfer":
        assert asked.eu_bank_transfer is not msgspec.UNSET, "checked before"
        land = asked.eu_bank_transfer.country
        # No IBAN has the check digits 00: nobody's money can get lost there.
        iban = f"{land}00{number(_IBAN_LENGTHS[land] - 4)}"
        records = [("iban", Iban(**at(land), bic=f"TEST{land}00XXX", country=land, iban=iban), ["sepa"])]
    elif asked.type == "gb_bank_transfer":
        records = [("sort_code", SortCode(**at("GB"), account_number=number(8)), ["bacs", "fps"])]
    elif asked.type == "mx_bank_transfer":
        records = [("spei", Spei(**at("MX"), bank_name=_BANK, clabe=number(18)), ["spei"])]
    else:
        aba = Aba(**at("US"), account_number=number(12), bank_name=_BANK)
        swift = Swift(**at("US"), account_number=number(12), bank_name=_BANK)
        records = [("aba", aba, ["ach", "domestic_wire_us"]), ("swift", swift, ["swift"])]
    return [{"supported_networks": nets, "type": kind, kind: record} for kind, record, nets in records]


def arrived(currency: str, reference: str | None) -> dict[str, Any]:
    """Return what a cash balance transaction tells of a test transfer: nobody is named as its sender."""
    kind = KINDS[currency]
    sender: dict[str, dict[str, Any]] = {
        "eur": {"bic": None, "iban_last4": None, "sender_name": None},
        "gbp": {"account_number_last4": None, "sender_name": None, "sort_code": None},
        "jpy": {"sender_bank": None, "sender_branch": None, "sender_name": None},
        "usd": {"network": "ach", "sender_name": None},
    }
    told = {kind: sender[currency]} if currency in sender else {}
    return {"bank_transfer": {**told, "reference": reference, "type": kind}}
