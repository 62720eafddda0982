"""Payment intents: Stripe's state machine of one payment (docs.stripe.com/payments/intents)."""

from tillport.simulator.resources.common import Route
from tillport.simulator.resources.payment_intents.attempt import attempt
from tillport.simulator.resources.payment_intents.completion import cancel, capture
from tillport.simulator.resources.payment_intents.confirmation import authenticate, confirm
from tillport.simulator.resources.payment_intents.creation import create, list_, retrieve, update
from tillport.simulator.resources.payment_intents.intent import PaymentIntent, public
from tillport.simulator.resources.payment_intents.parameters import (
    CANCEL,
    CAPTURE,
    CONFIRM,
    CREATE,
    LIST,
    RETRIEVE,
    UPDATE,
)

ROUTES = (
    Route("POST", "/v1/payment_intents", create, CREATE),
    Route("GET", "/v1/payment_intents", list_, LIST),
    Route("GET", "/v1/payment_intents/{intent}", retrieve, RETRIEVE, publishable=True),
    Route("POST", "/v1/payment_intents/{intent}", update, UPDATE),
    Route("POST", "/v1/payment_intents/{intent}/confirm", confirm, CONFIRM, publishable=True),
    Route("POST", "/v1/payment_intents/{intent}/capture", capture, CAPTURE),
    Route("POST", "/v1/payment_intents/{intent}/cancel", cancel, CANCEL),
)

__all__ = ["ROUTES", "PaymentIntent", "attempt", "authenticate", "public"]
