"""`payment_method_options`: what is asked for one type of payment method, and which of it an intent shows.

An intent shows the options of the types that it takes, and no others. Nearly every intent takes cards only: its options
are one shared object.
"""

from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources import bank_transfers, payment_methods
from tillport.simulator.resources.payment_intents.intent import CARD_ONLY, OPTIONS, CardOptions, Options


class MixedOptions(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The options of an intent that takes more than cards; what it does not take is not shown."""

    card: Any = msgspec.UNSET
    customer_balance: Any = msgspec.UNSET
    sepa_debit: Any = msgspec.UNSET


_DEFAULTS: dict[str, Any] = {
    "card": CardOptions(),
    "customer_balance": bank_transfers.NO_OPTIONS,
    "sepa_debit": EMPTY,
}
_SPEC = p.hash_of(
    Spec(
        {
            "card": p.hash_of(
                Spec(
                    {"request_three_d_secure": p.one_of("automatic", "any", "challenge")},
                    unmodelled=frozenset(
                        "capture_method cvc_token installments mandate_options moto network "
                        "request_extended_authorization request_incremental_authorization request_multicapture "
                        "request_overcapture require_cvc_recollection setup_future_usage three_d_secure "
                        "statement_descriptor_suffix_kana statement_descriptor_suffix_kanji".split()
                    ),
                )
            ),
            "customer_balance": bank_transfers.OPTIONS,
            "sepa_debit": p.hash_of(
                Spec({}, unmodelled=frozenset({"mandate_options", "setup_future_usage", "target_date"}))
            ),
        },
        unmodelled=payment_methods.OTHER_TYPES,
    )
)


def parse(value: Any, name: str) -> Options | MixedOptions:
    """Read the options that a call gives."""
    read = _SPEC(value, name)
    card = read.get("card") if read else None
    wanted = card.get("request_three_d_secure") if card else None
    of_card = Options(CardOptions(request_three_d_secure=wanted)) if wanted else OPTIONS
    balance = read.get("customer_balance") if read else None
    if not balance:
        return of_card
    return MixedOptions(
        card=of_card.card if wanted else msgspec.UNSET, customer_balance=bank_transfers.options_of(balance)
    )


def shown(
    types: tuple[str, ...], given: Options | MixedOptions, old: Options | MixedOptions = OPTIONS
) -> Options | MixedOptions:
    """Return the options of these types: as given, else as they were, else the defaults."""

    def of(kind: str) -> Any:
        for source in (given, old):
            found = getattr(source, kind, msgspec.UNSET)
            if found is not msgspec.UNSET:
                return found
        return _DEFAULTS[kind]

    if types == CARD_ONLY:
        card = of("card")
        return OPTIONS if card == OPTIONS.card else Options(card)
    return MixedOptions(**{kind: of(kind) for kind in types})
