"""Setup intents: save a card for later, with the bank's consent (docs.stripe.com/payments/setup-intents).

requires_payment_method → requires_confirmation → (requires_action) → succeeded
any open state → canceled; a card that can't be saved → requires_payment_method, and the call answers 402
"""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator import params as p
from tillport.simulator.account import STRIPE_ITSELF, Account, Origin
from tillport.simulator.errors import ApiError, doc_url, invalid, parameter_missing
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources import confirmation_tokens, payment_methods, setup_attempts, three_d_secure
from tillport.simulator.resources.common import Call, List, Route
from tillport.simulator.resources.payment_intents.intent import CARD_ONLY, AutomaticPaymentMethods
from tillport.simulator.resources.payment_intents.parameters import AUTOMATIC_SPEC, card_types
from tillport.simulator.resources.payment_methods import PaymentMethod


class SetupCardOptions(msgspec.Struct, frozen=True, gc=False):
    mandate_options: None = None
    network: None = None
    request_three_d_secure: str = "automatic"


class SetupOptions(msgspec.Struct, frozen=True, gc=False):
    card: SetupCardOptions = SetupCardOptions()


_OPTIONS = SetupOptions()
_AUTOMATIC = AutomaticPaymentMethods("always", True)


class SetupIntent(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "setup_intent"
    application: None = None
    automatic_payment_methods: AutomaticPaymentMethods | None = _AUTOMATIC
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
    payment_method_options: SetupOptions = _OPTIONS
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
    return SetupOptions(SetupCardOptions(request_three_d_secure=wanted)) if wanted else _OPTIONS


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
    "payment_method": p.string,
    "payment_method_data": payment_methods.DATA,
    "payment_method_options": _options,
}
_COMMON: dict[str, p.Parser] = {
    **_METHOD,
    "customer": p.string,
    "description": p.text(1000),
    "metadata": p.metadata,
    "payment_method_types": card_types,
}
_CONFIRM: dict[str, p.Parser] = {
    "confirmation_token": p.string,
    "return_url": p.string,
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
CONFIRM = Spec({**_METHOD, **_CONFIRM, "client_secret": p.string}, unmodelled=_UNMODELLED)
CANCEL = Spec({"cancellation_reason": p.one_of("abandoned", "requested_by_customer", "duplicate")})
RETRIEVE = Spec({"client_secret": p.string})
LIST = p.list_spec(customer=p.string, payment_method=p.string)


def create(account: Account, call: Call, params: dict[str, Any]) -> SetupIntent:
    """Begin to save a card; with `confirm`, save it in the same call."""
    types = params.get("payment_method_types")
    given = params.get("automatic_payment_methods")
    automatic: AutomaticPaymentMethods | None = _AUTOMATIC
    if given:
        automatic = (
            AutomaticPaymentMethods(given.get("allow_redirects", "always"), True)
            if given["enabled"]
            else None
        )
    if types:
        automatic = None
    customer = params.get("customer") or None
    if customer is not None:
        account.customers.get(customer, "customer", status=400)
    method = _method(account, params, customer)
    intent_id = account.ids.own("seti_")
    metadata = params.get("metadata")
    intent = SetupIntent(
        id=intent_id,
        automatic_payment_methods=automatic,
        client_secret=intent_id + "_secret_" + account.ids.chars(25),
        created=int(account.now()),
        customer=customer,
        description=params.get("description") or None,
        metadata=p.merged(EMPTY, metadata) if metadata else EMPTY,
        payment_method_options=params.get("payment_method_options", _OPTIONS),
        status="requires_payment_method",
        usage=params.get("usage", "off_session"),
    )
    account.setup_intents.add(intent)
    account.emit("setup_intent.created", intent, call.origin)
    if params.get("confirm"):
        return _confirmed(account, call.origin, intent, method, params)
    if method is not None:
        intent = account.setup_intents.put(
            msgspec.structs.replace(intent, payment_method=method.id, status="requires_confirmation")
        )
    return intent


def _method(account: Account, params: dict[str, Any], customer: str | None) -> PaymentMethod | None:
    data, given = params.get("payment_method_data"), params.get("payment_method")
    if data:
        return payment_methods.make(account, data, "payment_method_data[card]")
    if not given:
        return None
    method = payment_methods.resolve(account, given, "payment_method")
    payment_methods.check_usable(account, method)
    if method.customer is not None and method.customer != customer:
        raise invalid(
            f"The payment method {method.id} belongs to another customer than this SetupIntent.",
            "payment_method",
        )
    return method


def _unexpected(intent: SetupIntent, message: str) -> ApiError:
    return ApiError(400, message, code="setup_intent_unexpected_state", setup_intent=intent)


def _checked(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> SetupIntent:
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


def _shown(call: Call, intent: SetupIntent) -> Any:
    return {name: getattr(intent, name) for name in PUBLIC_FIELDS} if call.publishable else intent


def retrieve(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> Any:
    return _shown(call, _checked(account, call, params, intent_id))


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    page = account.setup_intents.page(
        params,
        where={"customer": params.get("customer"), "payment_method": params.get("payment_method")},
    )
    return List(data=page.data, has_more=page.has_more, url="/v1/setup_intents")


def update(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> SetupIntent:
    intent: SetupIntent = account.setup_intents.get(intent_id, "intent")
    held = {"customer", "payment_method", "payment_method_data"} & params.keys()
    if intent.status not in OPEN and held:
        raise _unexpected(
            intent,
            f"This SetupIntent's {min(held)} could not be updated because its status is {intent.status}.",
        )
    changes: dict[str, Any] = {}
    if "description" in params:
        changes["description"] = params["description"] or None
    if "metadata" in params:
        changes["metadata"] = p.merged(intent.metadata, params["metadata"])
    if "payment_method_options" in params:
        changes["payment_method_options"] = params["payment_method_options"]
    if params.get("customer"):
        changes["customer"] = account.customers.get(params["customer"], "customer", status=400).id
    method = _method(account, params, changes.get("customer", intent.customer))
    if method is not None:
        changes |= {
            "payment_method": method.id,
            "status": "requires_confirmation",
            "last_setup_error": None,
            "next_action": None,
        }
    return account.setup_intents.put(msgspec.structs.replace(intent, **changes))


def confirm(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> Any:
    """Save the card, or send its owner to the bank; a card that can't be saved answers 402."""
    intent = _checked(account, call, params, intent_id)
    if intent.status not in OPEN:
        raise _unexpected(
            intent,
            f"You cannot confirm this SetupIntent because it has a status of {intent.status}. Only a SetupIntent with "
            f"one of the following statuses may be confirmed: {', '.join(OPEN)}.",
        )
    method = _method(account, params, intent.customer)
    if method is None and intent.payment_method is not None:
        method = payment_methods.get(account, intent.payment_method)
    if "payment_method_options" in params:
        intent = msgspec.structs.replace(intent, payment_method_options=params["payment_method_options"])
    return _shown(call, _confirmed(account, call.origin, intent, method, params))


def _confirmed(
    account: Account,
    origin: Origin,
    intent: SetupIntent,
    method: PaymentMethod | None,
    params: dict[str, Any],
) -> SetupIntent:
    if params.get("confirmation_token"):
        method, token = confirmation_tokens.spend(account, params["confirmation_token"], intent.id)
        params = {"return_url": token.return_url, **params}
    if method is None:
        raise _unexpected(
            intent, "You cannot confirm this SetupIntent because it's missing a payment method."
        )
    card = c.by_fingerprint(method.card.fingerprint)
    asked = intent.payment_method_options.card.request_three_d_secure != "automatic"
    course = three_d_secure.course(account, card, method.id, asked=asked, away=False, no_action=False)
    if card.three_d_secure == "set_up" and not asked:
        course = three_d_secure.GO
    if course.step == "challenge":
        intent = account.setup_intents.put(
            msgspec.structs.replace(
                intent,
                last_setup_error=None,
                next_action=three_d_secure.next_action(account, intent.id, params),
                payment_method=method.id,
                status="requires_action",
            )
        )
        account.emit("setup_intent.requires_action", intent, origin)
        return intent
    return _attempt(account, origin, intent, method, course.decline or card.declined_on_attach, course.result)


def _attempt(
    account: Account,
    origin: Origin,
    intent: SetupIntent,
    method: PaymentMethod,
    decline: c.Decline | None,
    result: three_d_secure.ThreeDSecure | None,
) -> SetupIntent:
    if decline is not None:
        failed = _failed(account, origin, intent, method, decline, result, "card_error")
        fields: dict[str, Any] = (
            {} if decline.decline_code is None else {"decline_code": decline.decline_code}
        )
        raise ApiError(
            402,
            decline.message,
            type="card_error",
            code=decline.code,
            param=decline.param,
            payment_method=method,
            setup_intent=failed,
            **fields,
        )
    done = setup_attempts.record(account, intent, method, "succeeded", result)
    intent = account.setup_intents.put(
        msgspec.structs.replace(
            intent,
            last_setup_error=None,
            latest_attempt=done.id,
            next_action=None,
            payment_method=method.id,
            status="succeeded",
        )
    )
    if intent.usage == "off_session":
        account.set_up_methods.add(method.id)
    account.emit("setup_intent.succeeded", intent, origin)
    if intent.customer is not None and method.customer is None:
        payment_methods.attached(account, origin, method, intent.customer)
    return intent


def _failed(
    account: Account,
    origin: Origin,
    intent: SetupIntent,
    method: PaymentMethod,
    decline: c.Decline,
    result: three_d_secure.ThreeDSecure | None,
    type_: str,
) -> SetupIntent:
    error: dict[str, Any] = {
        "code": decline.code,
        "doc_url": doc_url(decline.code),
        "message": decline.message,
        "payment_method": method,
        "type": type_,
    }
    if decline.decline_code is not None:
        error["decline_code"] = decline.decline_code
    if decline.param is not None:
        error["param"] = decline.param
    tried = setup_attempts.record(account, intent, method, "failed", result, error)
    failed = account.setup_intents.put(
        msgspec.structs.replace(
            intent,
            last_setup_error=error,
            latest_attempt=tried.id,
            next_action=None,
            payment_method=None,
            status="requires_payment_method",
        )
    )
    account.emit("setup_intent.setup_failed", failed, origin)
    return failed


def authenticate(account: Account, intent_id: str, *, succeed: bool = True) -> SetupIntent:
    """Let the customer pass or fail the bank's challenge, as the bank's page would."""
    intent: SetupIntent = account.setup_intents.get(intent_id, "intent")
    if intent.status != "requires_action":
        raise _unexpected(
            intent, f"This SetupIntent does not wait for the customer: its status is {intent.status}."
        )
    method = payment_methods.get(account, intent.payment_method)
    if not succeed:
        no = c.Decline(
            "setup_intent_authentication_failure",
            None,
            "The latest attempt to set up the payment method has failed because authentication failed.",
        )
        return _failed(account, STRIPE_ITSELF, intent, method, no, None, "invalid_request_error")
    passed = three_d_secure.result(account, "authenticated", flow="challenge")
    try:
        card = c.by_fingerprint(method.card.fingerprint)
        return _attempt(account, STRIPE_ITSELF, intent, method, card.declined_on_attach, passed)
    except ApiError:
        return account.setup_intents.get(intent_id)


def cancel(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> SetupIntent:
    intent: SetupIntent = account.setup_intents.get(intent_id, "intent")
    if intent.status not in OPEN:
        raise _unexpected(
            intent,
            f"You cannot cancel this SetupIntent because it has a status of {intent.status}. Only a SetupIntent with "
            f"one of the following statuses may be canceled: {', '.join(OPEN)}.",
        )
    new = account.setup_intents.put(
        msgspec.structs.replace(
            intent,
            cancellation_reason=params.get("cancellation_reason"),
            next_action=None,
            status="canceled",
        )
    )
    account.emit("setup_intent.canceled", new, call.origin)
    return new


ROUTES = (
    Route("POST", "/v1/setup_intents", create, CREATE),
    Route("GET", "/v1/setup_intents", list_, LIST),
    Route("GET", "/v1/setup_intents/{intent}", retrieve, RETRIEVE, publishable=True),
    Route("POST", "/v1/setup_intents/{intent}", update, UPDATE),
    Route("POST", "/v1/setup_intents/{intent}/confirm", confirm, CONFIRM, publishable=True),
    Route("POST", "/v1/setup_intents/{intent}/cancel", cancel, CANCEL),
)
