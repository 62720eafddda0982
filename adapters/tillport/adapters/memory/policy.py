"""The charge policy of a shop that has no rules of its own yet: an upper limit."""

from collections.abc import Mapping

import attrs

from tillport.ports.access import Caller
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder
from tillport.ports.policy import Refusal


def _copy(limits: Mapping[str, int]) -> dict[str, int]:
    return dict(limits)


def _check_limits(
    _instance: object, _attribute: "attrs.Attribute[Mapping[str, int]]", value: Mapping[str, int]
) -> None:
    for currency, amount_minor in value.items():
        Money(amount_minor, currency)  # refuses what is no amount of that currency


@attrs.frozen
class MaximumAmount:
    """Allow charges up to a limit per currency, and none in a currency that has no limit.

    Limits are in minor units: `MaximumAmount({"usd": 100_000})` allows up to 1,000 dollars. Raises `InvalidAmount`
    and `UnknownCurrency`.
    """

    amount_minor_max: Mapping[str, int] = attrs.field(converter=_copy, validator=_check_limits)

    async def decide(self, order: ChargeOrder, caller: Caller) -> Refusal | None:  # noqa: ARG002 - the port's
        """See `ChargePolicy.decide`."""
        currency = order.money.currency
        limit = self.amount_minor_max.get(currency)
        if limit is None:
            return Refusal(
                f"Charges in {currency.upper()} are not accepted here.",
                remedy=f"Charge in {', '.join(sorted(self.amount_minor_max)) or 'no currency'}.",
            )
        if order.money.amount_minor > limit:
            return Refusal(
                f"{order.money} is more than is accepted at once.",
                remedy=f"Charge at most {Money(limit, currency)}.",
            )
        return None
