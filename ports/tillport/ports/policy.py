"""The charge policy: what this shop is willing to charge, decided on the server."""

from typing import Protocol

import attrs

from tillport.ports.access import Caller
from tillport.ports.payments import ChargeOrder


@attrs.frozen
class Refusal:
    """Why a charge is not wanted, in words that may be shown to the caller."""

    message: str
    remedy: str = ""


class ChargePolicy(Protocol):
    """Decide whether an order may be charged. Asked once per attempt, before anything is written or sent.

    A shop puts its own rules here (the price of that cart, the stock of that item, a limit per customer).
    """

    async def decide(self, order: ChargeOrder, caller: Caller) -> Refusal | None:
        """Return None to allow, or the refusal. An exception stops the charge and nothing has moved."""
        ...
