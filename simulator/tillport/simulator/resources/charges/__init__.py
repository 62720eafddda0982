"""Charges: what a payment attempt leaves behind, good or bad; made by payment intents, or directly."""

from tillport.simulator.resources.charges.charge import (
    AUTHORISED_SECONDS,
    Charge,
    PaymentMethodDetails,
    captured,
    card_of,
    declined,
    make,
    settle,
)
from tillport.simulator.resources.charges.direct import CAPTURE, CREATE, capture, create
from tillport.simulator.resources.charges.payments import bounced, paid, pending
from tillport.simulator.resources.charges.reading import LIST, UPDATE, list_, retrieve, update
from tillport.simulator.resources.common import Route

ROUTES = (
    Route("POST", "/v1/charges", create, CREATE),
    Route("GET", "/v1/charges", list_, LIST),
    Route("GET", "/v1/charges/{id}", retrieve),
    Route("POST", "/v1/charges/{id}", update, UPDATE),
    Route("POST", "/v1/charges/{charge}/capture", capture, CAPTURE),
)

__all__ = [
    "AUTHORISED_SECONDS",
    "ROUTES",
    "Charge",
    "PaymentMethodDetails",
    "bounced",
    "captured",
    "card_of",
    "declined",
    "make",
    "paid",
    "pending",
    "settle",
]
