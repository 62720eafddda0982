"""The setup intent itself: its fields and states, and what each call about one takes."""

from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.errors import ApiError, invalid, parameter_missing
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources import payment_methods
from tillport.simulator.resources.common import Call
from tillport.simulator.resources.payment_intents.intent import CARD_ONLY, AutomaticPaymentMethods
from tillport.simulator.resources.payment_intents.parameters import AUTOMATIC_SPEC, card_only


class SetupCardOptions(msgspec.Struct, frozen=True, gc=False):
    mandate_options: None = None
    network: None = None
    request_three_d_secure: str = "automatic"


class SetupOptions(msgspec.Struct, frozen=True, gc=False):
    card: SetupCardOptions = SetupCardOptions()


OPTIONS = SetupOptions()
AUTOMATIC = AutomaticPaymentMethods("always", True)


class SetupIntent(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "setup_intent"
    allowed_payment_method_types: tuple[str, ...] | None = None
    application: None = None
    automatic_payment_methods: AutomaticPaymentMethods | None = AUTOMATIC
    cancellation_reason: str | None = None
    client_secret: str | None
    created: int
    customer: Any = None
    customer_account: None = None
    description: str | None = None
    excluded_payment_method_types: None = None
    flow_directions: None = None
    last_setup_error: dict[str, Any] | None = None
    latest_attempt: Any = None
    livemode: bool = False
    mandate: None = None
    metadata: dict[str, str] = EMPTY
    next_action: dict[str, Any] | None = None
    on_behalf_of: None = None
    payment_method: Any = None
    payment_method_configuration_details: None = None
    payment_method_options: SetupOptions = OPTIONS
    payment_method_types: tuple[str, ...] = CARD_ONLY
    single_use_mandate: None = None
    status: str
    usage: str = "off_session"

    def __repr__(self) -> str:
        # The client secret lets its holder confirm: it stays out of logs and failure messages.
        return f"SetupIntent(id={self.id!r}, status={self.status!r}, customer={self.customer!r})"


OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
# What Stripe.js may read of one with its client secret.
PUBLIC_FIELDS = (
    "id object automatic_payment_methods cancellation_reason client_secret created description last_setup_error livemode "
    "next_action payment_method payment_method_configuration_details payment_method_types status usage"
).split()


def _options(value: Any, name: str) -> SetupOptions:
    read = _OPTIONS_SPEC(value, name)
    wanted = ((read or {}).get("card") or {}).get("request_three_d_secure")
    return SetupOptions(SetupCardOptions(request_three_d_secure=wanted)) if wanted else OPTIONS


_OPTIONS_SPEC = p.hash_of(
    Spec(
        {
            "card": p.hash_of(
                Spec(
                    {"request_three_d_secure": p.one_of("automatic", "any", "challenge")},
                    unmodelled=frozenset({"mandate_options", "moto", "network", "three_d_secure"}),
                )
            )
        }
    )
)
_UNMODELLED = frozenset(
    "attach_to_self customer_account excluded_payment_method_types flow_directions mandate_data on_behalf_of "
    "payment_method_configuration single_use".split()
)
_METHOD: dict[str, p.Parser] = {
    "payment_method": p.reference,
    "payment_method_data": payment_methods.DATA,
    "payment_method_options": _options,
}
_COMMON: dict[str, p.Parser] = {
    **_METHOD,
    "customer": p.reference,
    "description": p.text(1000),
    "metadata": p.metadata,
    "allowed_payment_method_types": card_only,
    "payment_method_types": card_only,
}
_CONFIRM: dict[str, p.Parser] = {
    "confirmation_token": p.reference,
    "return_url": p.return_url,
    "use_stripe_sdk": p.boolean,
}
CREATE = Spec(
    {
        **_COMMON,
        **_CONFIRM,
        "automatic_payment_methods": AUTOMATIC_SPEC,
        "confirm": p.boolean,
        "usage": p.one_of("off_session", "on_session"),
    },
    unmodelled=_UNMODELLED,
)
UPDATE = Spec(_COMMON, unmodelled=_UNMODELLED)
CONFIRM = Spec(
    {**_METHOD, **_CONFIRM, "allowed_payment_method_types": card_only, "client_secret": p.string},
    unmodelled=_UNMODELLED,
)
CANCEL = Spec({"cancellation_reason": p.one_of("abandoned", "requested_by_customer", "duplicate")})
RETRIEVE = Spec({"client_secret": p.string})
LIST = p.list_spec("attach_to_self", "customer_account", customer=p.string, payment_method=p.string)


def unexpected(intent: SetupIntent, message: str) -> ApiError:
    return ApiError(400, message, code="setup_intent_unexpected_state", setup_intent=intent)


def checked(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> SetupIntent:
    intent: SetupIntent = account.setup_intents.get(intent_id, "intent")
    given = params.get("client_secret")
    if given is None:
        if call.publishable:
            raise parameter_missing("client_secret")
    elif given != intent.client_secret:
        raise invalid(
            "The client_secret provided does not match the client_secret associated with the SetupIntent.",
            "client_secret",
        )
    return intent


def shown(call: Call, intent: SetupIntent) -> Any:
    return {name: getattr(intent, name) for name in PUBLIC_FIELDS} if call.publishable else intent
