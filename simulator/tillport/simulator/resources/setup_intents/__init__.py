"""Setup intents: save a card for later, with the bank's consent (docs.stripe.com/payments/setup-intents).

requires_payment_method → requires_confirmation → (requires_action) → succeeded
any open state → canceled; a card that can't be saved → requires_payment_method, and the call answers 402
"""

from tillport.simulator.resources.common import Route
from tillport.simulator.resources.setup_intents.calls import cancel, create, list_, retrieve, update
from tillport.simulator.resources.setup_intents.confirmation import authenticate, confirm
from tillport.simulator.resources.setup_intents.intent import (
    CANCEL,
    CONFIRM,
    CREATE,
    LIST,
    RETRIEVE,
    UPDATE,
    SetupIntent,
    shown,
)

ROUTES = (
    Route("POST", "/v1/setup_intents", create, CREATE),
    Route("GET", "/v1/setup_intents", list_, LIST),
    Route("GET", "/v1/setup_intents/{intent}", retrieve, RETRIEVE, publishable=True),
    Route("POST", "/v1/setup_intents/{intent}", update, UPDATE),
    Route("POST", "/v1/setup_intents/{intent}/confirm", confirm, CONFIRM, publishable=True),
    Route("POST", "/v1/setup_intents/{intent}/cancel", cancel, CANCEL),
)

__all__ = ["ROUTES", "SetupIntent", "authenticate", "shown"]
