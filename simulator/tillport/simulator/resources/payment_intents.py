"""Payment intents: Stripe's state machine of one payment (STRIPE_FACTS 5.2; docs.stripe.com/payments/intents).

    requires_payment_method → requires_confirmation → (requires_action) → requires_capture → succeeded
    any open state → canceled; a declined attempt → requires_payment_method, and the call answers 402

The objects are immutable versions: an event refers to the version of its moment, so `payment_intent.created` shows
`requires_payment_method` even when one call created and confirmed.
"""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator import currencies
from tillport.simulator import params as p
from tillport.simulator.account import STRIPE_ITSELF, Account, Origin
from tillport.simulator.errors import ApiError, doc_url, invalid, not_modelled, parameter_missing
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources import balance_transactions, charges, payment_methods
from tillport.simulator.resources.common import SHIPPING, Call, List, Route, shipping_of
from tillport.simulator.resources.payment_methods import PaymentMethod


class AutomaticPaymentMethods(msgspec.Struct, frozen=True, gc=False):
    allow_redirects: str
    enabled: bool


_AUTOMATIC = AutomaticPaymentMethods("always", True)
_AMOUNT_DETAILS: dict[str, Any] = {"tip": {}}
_CARD = ("card",)


class CardOptions(msgspec.Struct, frozen=True, gc=False):
    installments: None = None
    mandate_options: None = None
    network: None = None
    request_three_d_secure: str = "automatic"


class Options(msgspec.Struct, frozen=True, gc=False):
    card: CardOptions = CardOptions()


_OPTIONS = Options()


class PaymentIntent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    id: str
    object: str = "payment_intent"
    allowed_payment_method_types: None = None
    amount: int
    amount_capturable: int = 0
    amount_details: dict[str, Any] = msgspec.field(default_factory=lambda: _AMOUNT_DETAILS)
    amount_received: int = 0
    application: None = None
    application_fee_amount: None = None
    automatic_payment_methods: AutomaticPaymentMethods | None = _AUTOMATIC
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    capture_method: str = "automatic_async"
    client_secret: str | None
    confirmation_method: str = "automatic"
    created: int
    currency: str
    customer: Any = None
    customer_account: None = None
    description: str | None = None
    excluded_payment_method_types: None = None
    last_payment_error: dict[str, Any] | None = None
    latest_charge: Any = None
    livemode: bool = False
    managed_payments: None = None
    metadata: dict[str, str] = EMPTY
    next_action: dict[str, Any] | None = None
    on_behalf_of: None = None
    payment_method: Any = None
    payment_method_configuration_details: None = None
    payment_method_options: Options = _OPTIONS
    payment_method_types: tuple[str, ...] = _CARD
    payment_record: None = None
    processing: None = None
    receipt_email: str | None = None
    review: None = None
    setup_future_usage: str | None = None
    shipping: dict[str, Any] | None = None
    source: None = None
    statement_descriptor: str | None = None
    statement_descriptor_suffix: str | None = None
    status: str
    transfer_data: None = None
    transfer_group: str | None = None

    def __repr__(self) -> str:
        # The client secret lets its holder pay: it stays out of logs and failure messages.
        return f"PaymentIntent(id={self.id!r}, status={self.status!r}, amount={self.amount}, currency={self.currency!r})"


OPEN = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)
CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")
# What Stripe.js may read of an intent with its client secret.
PUBLIC_FIELDS = (
    "id object amount automatic_payment_methods canceled_at cancellation_reason capture_method client_secret "
    "confirmation_method created currency description last_payment_error livemode next_action payment_method "
    "payment_method_configuration_details payment_method_types processing receipt_email setup_future_usage shipping "
    "source status"
).split()


def _types(value: Any, name: str) -> tuple[str, ...]:
    read = p.array_of(p.string)(value, name)
    for kind in read:
        if kind != "card":
            raise not_modelled(f"the payment method type {kind!r}", name)
    return tuple(read) or _CARD


def _options(value: Any, name: str) -> Options:
    read = _OPTIONS_SPEC(value, name)
    card = read.get("card") if read else None
    wanted = card.get("request_three_d_secure") if card else None
    return Options(CardOptions(request_three_d_secure=wanted)) if wanted else _OPTIONS


_OPTIONS_SPEC = p.hash_of(
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
            )
        }
    )
)
_AUTOMATIC_SPEC = p.hash_of(
    Spec({"enabled": p.boolean, "allow_redirects": p.one_of("always", "never")}, required=("enabled",))
)
_UNMODELLED = frozenset(
    "amount_details application_fee_amount customer_account confirmation_token excluded_payment_method_types hooks "
    "mandate mandate_data on_behalf_of payment_details payment_method_configuration radar_options "
    "transfer_data managed_payments".split()
)
_WORDS: dict[str, p.Parser] = {
    "description": p.text(1000),
    "metadata": p.metadata,
    "receipt_email": p.string,
    "shipping": SHIPPING,
    "statement_descriptor": p.text(22),
    "statement_descriptor_suffix": p.text(22),
    "transfer_group": p.string,
    "setup_future_usage": p.one_of("off_session", "on_session", empty=True),
}
_METHOD: dict[str, p.Parser] = {
    "payment_method": p.string,
    "payment_method_data": payment_methods.DATA,
    "payment_method_options": _options,
    "payment_method_types": _types,
}
_CONFIRM: dict[str, p.Parser] = {
    "return_url": p.string,
    "off_session": p.boolean,
    "error_on_requires_action": p.boolean,
    "use_stripe_sdk": p.boolean,
}
_CAPTURE_METHOD = p.one_of("automatic", "automatic_async", "manual")
CREATE = Spec(
    {
        "amount": currencies.amount,
        "currency": currencies.currency,
        "automatic_payment_methods": _AUTOMATIC_SPEC,
        "capture_method": _CAPTURE_METHOD,
        "confirm": p.boolean,
        "confirmation_method": p.only("automatic"),
        "customer": p.string,
        **_WORDS,
        **_METHOD,
        **_CONFIRM,
    },
    required=("amount", "currency"),
    unmodelled=_UNMODELLED,
)
UPDATE = Spec(
    {
        "amount": currencies.amount,
        "currency": currencies.currency,
        "capture_method": _CAPTURE_METHOD,
        "customer": p.string,
        **_WORDS,
        **_METHOD,
    },
    unmodelled=_UNMODELLED,
)
CONFIRM = Spec(
    {
        "capture_method": _CAPTURE_METHOD,
        "client_secret": p.string,
        "receipt_email": p.string,
        "shipping": SHIPPING,
        "setup_future_usage": _WORDS["setup_future_usage"],
        **_METHOD,
        **_CONFIRM,
    },
    unmodelled=_UNMODELLED,
)
CAPTURE = Spec(
    {
        "amount_to_capture": currencies.amount,
        "final_capture": p.only(True),
        "metadata": p.metadata,
        "statement_descriptor": p.text(22),
        "statement_descriptor_suffix": p.text(22),
    },
    unmodelled=frozenset(
        {"application_fee_amount", "transfer_data", "hooks", "amount_details", "payment_details"}
    ),
)
CANCEL = Spec({"cancellation_reason": p.one_of(*REASONS)})
RETRIEVE = Spec({"client_secret": p.string})
LIST = p.list_spec(customer=p.string)


def create(account: Account, call: Call, params: dict[str, Any]) -> PaymentIntent:
    """Create an intent; with `confirm`, pay it in the same call."""
    currencies.check_charge(params["amount"], params["currency"])
    confirm_now = params.get("confirm", False)
    if not confirm_now:
        for name in ("off_session", "error_on_requires_action", "return_url"):
            if params.get(name):
                raise invalid(f"The parameter {name} can only be used with confirm=true.", name)
    types = params.get("payment_method_types")
    automatic: AutomaticPaymentMethods | None = _AUTOMATIC
    if given := params.get("automatic_payment_methods"):
        if types and given["enabled"]:
            raise invalid(
                "You may only specify one of these parameters: automatic_payment_methods, payment_method_types.",
                "automatic_payment_methods",
            )
        if given["enabled"]:
            automatic = AutomaticPaymentMethods(given.get("allow_redirects", "always"), True)
        else:
            automatic = None
    if types:
        automatic = None
    customer = params.get("customer") or None
    if customer is not None:
        account.customers.get(customer, "customer", status=400)
    method = _method(account, params, customer)
    stem = account.ids.stem()
    intent_id = account.ids.on("pi_", stem)
    metadata = params.get("metadata")
    intent = PaymentIntent(
        id=intent_id,
        amount=params["amount"],
        automatic_payment_methods=automatic,
        capture_method=params.get("capture_method", "automatic_async"),
        client_secret=intent_id + "_secret_" + account.ids.chars(25),
        created=int(account.now()),
        currency=params["currency"],
        customer=customer,
        description=params.get("description") or None,
        metadata={k: v for k, v in metadata.items() if v} if metadata else EMPTY,
        payment_method_options=params.get("payment_method_options", _OPTIONS),
        receipt_email=params.get("receipt_email") or None,
        setup_future_usage=params.get("setup_future_usage") or None,
        shipping=shipping_of(params.get("shipping")),
        statement_descriptor=params.get("statement_descriptor") or None,
        statement_descriptor_suffix=params.get("statement_descriptor_suffix") or None,
        status="requires_payment_method",
        transfer_group=params.get("transfer_group") or None,
    )
    account.payment_intents.add(intent)
    account.emit("payment_intent.created", intent, call.origin)
    if confirm_now:
        if method is None:
            raise _no_method(intent)
        return _confirm(account, call.origin, intent, method, params)
    if method is not None:
        intent = account.payment_intents.put(
            msgspec.structs.replace(intent, payment_method=method.id, status="requires_confirmation")
        )
    return intent


def _method(account: Account, params: dict[str, Any], customer: str | None) -> PaymentMethod | None:
    """Return the payment method that a call names, makes, or names by a test card."""
    data = params.get("payment_method_data")
    if data:
        return payment_methods.make(account, data, "payment_method_data[card]")
    given = params.get("payment_method")
    if not given:
        return None
    method = payment_methods.resolve(account, given, "payment_method")
    if method.customer is not None and method.customer != customer:
        raise invalid(
            "The provided PaymentMethod cannot be attached. To reuse a PaymentMethod, you must attach it to a "
            "Customer first."
            if customer is None
            else f"The customer {customer} does not have a payment method with the ID {method.id}. The payment "
            "method must be attached to the customer.",
            "payment_method",
        )
    return method


def _no_method(intent: PaymentIntent) -> ApiError:
    return _unexpected(
        intent,
        "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
        "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment "
        "method or ConfirmationToken.",
    )


def _unexpected(intent: PaymentIntent, message: str) -> ApiError:
    return ApiError(400, message, code="payment_intent_unexpected_state", payment_intent=intent)


def retrieve(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> PaymentIntent:
    intent: PaymentIntent = account.payment_intents.get(intent_id, "intent")
    _check_secret(call, params, intent)
    return intent


def _check_secret(call: Call, params: dict[str, Any], intent: PaymentIntent) -> None:
    given = params.get("client_secret")
    if given is None:
        if call.publishable:
            raise parameter_missing("client_secret")
    elif given != intent.client_secret:
        raise invalid(
            "The client_secret provided does not match the client_secret associated with the PaymentIntent.",
            "client_secret",
        )


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    page = account.payment_intents.page(params, where={"customer": params.get("customer")})
    return List(data=page.data, has_more=page.has_more, url="/v1/payment_intents")


def update(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> PaymentIntent:
    """Change an intent; a new payment method clears the last error."""
    intent: PaymentIntent = account.payment_intents.get(intent_id, "intent")
    held = {"amount", "currency", "payment_method", "payment_method_data", "capture_method"} & params.keys()
    if intent.status not in CONFIRMABLE and held:
        raise _unexpected(
            intent,
            f"This PaymentIntent's {min(held)} could not be updated because it has a status of {intent.status}. "
            "You may only update it with one of the following statuses: requires_payment_method, "
            "requires_confirmation, requires_action.",
        )
    currencies.check_charge(params.get("amount", intent.amount), params.get("currency", intent.currency))
    changes: dict[str, Any] = _changed(account, intent, params)
    method = _method(account, params, changes.get("customer", intent.customer))
    if method is not None:
        changes |= {
            "payment_method": method.id,
            "status": "requires_confirmation",
            "last_payment_error": None,
            "next_action": None,
        }
    return account.payment_intents.put(msgspec.structs.replace(intent, **changes))


def _changed(account: Account, intent: PaymentIntent, params: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name in ("amount", "currency", "capture_method", "payment_method_options", "payment_method_types"):
        if name in params:
            changes[name] = params[name]
    for name in _WORDS:
        if name in params and name not in ("metadata", "shipping"):
            changes[name] = params[name] or None
    if "metadata" in params:
        changes["metadata"] = p.merged(intent.metadata, params["metadata"])
    if "shipping" in params:
        changes["shipping"] = shipping_of(params["shipping"])
    if params.get("customer"):
        changes["customer"] = account.customers.get(params["customer"], "customer", status=400).id
    return changes


def confirm(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> PaymentIntent:
    """Pay: succeed, wait for the capture or the customer's bank, or answer 402 and stay payable."""
    intent: PaymentIntent = account.payment_intents.get(intent_id, "intent")
    _check_secret(call, params, intent)
    if intent.status not in CONFIRMABLE:
        if intent.status in ("succeeded", "requires_capture"):
            raise _unexpected(
                intent,
                "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.",
            )
        raise _unexpected(
            intent,
            f"You cannot confirm this PaymentIntent because it has a status of {intent.status}. Only a PaymentIntent "
            "with one of the following statuses may be confirmed: requires_confirmation, requires_action.",
        )
    method = _method(account, params, intent.customer)
    if method is None and intent.payment_method is not None:
        method = account.payment_methods.get(intent.payment_method, "payment_method")
    if method is None:
        raise _no_method(intent)
    changes = _changed(account, intent, params)
    if changes:
        intent = msgspec.structs.replace(intent, **changes)
    return _confirm(account, call.origin, intent, method, params)


def _confirm(
    account: Account, origin: Origin, intent: PaymentIntent, method: PaymentMethod, params: dict[str, Any]
) -> PaymentIntent:
    card = c.by_fingerprint(method.card.fingerprint)
    if card.three_d_secure is None:
        return attempt(account, origin, intent, method, card.declined)
    asked = intent.payment_method_options.card.request_three_d_secure != "automatic"
    off_session = params.get("off_session", False)
    kind = card.three_d_secure
    if kind in ("once", "set_up"):
        # Set up for off-session use: the bank remembers the customer's consent.
        set_up = kind == "set_up" or method.customer is not None
        challenge = not (off_session and set_up)
    else:
        challenge = kind == "required" or (kind == "optional" and asked)
    if kind == "frictionless" or (kind == "unsupported" and asked):
        return attempt(account, origin, intent, method, card.declined, _three_d_secure(account, kind))
    if not challenge:
        return attempt(account, origin, intent, method, card.declined)
    if off_session or params.get("error_on_requires_action"):
        return attempt(
            account,
            origin,
            intent,
            method,
            c.decline("card_declined", "authentication_required")
            if off_session and not params.get("error_on_requires_action")
            else c.decline("authentication_required", "authentication_required"),
        )
    return _ask_the_bank(account, origin, intent, method, params)


def _ask_the_bank(
    account: Account, origin: Origin, intent: PaymentIntent, method: PaymentMethod, params: dict[str, Any]
) -> PaymentIntent:
    url = f"{account.base_url}/_sim/3ds/{intent.id}"
    action: dict[str, Any]
    if params.get("return_url") and not params.get("use_stripe_sdk"):
        action = {
            "redirect_to_url": {"return_url": params["return_url"], "url": url},
            "type": "redirect_to_url",
        }
    else:
        action = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {
                "source": account.ids.own("src_"),
                "stripe_js": url,
                "type": "three_d_secure_redirect",
            },
        }
    new = account.payment_intents.put(
        msgspec.structs.replace(
            intent,
            last_payment_error=None,
            next_action=action,
            payment_method=method.id,
            status="requires_action",
        )
    )
    account.emit("payment_intent.requires_action", new, origin)
    return new


def authenticate(account: Account, intent_id: str, *, succeed: bool = True) -> PaymentIntent:
    """Let the customer pass or fail the bank's 3-D Secure challenge, as the bank's page would.

    Never raises for a decline after the challenge: nobody is waiting for that answer; the events tell.
    """
    intent: PaymentIntent = account.payment_intents.get(intent_id, "intent")
    if intent.status != "requires_action":
        raise _unexpected(
            intent, f"This PaymentIntent does not wait for the customer: its status is {intent.status}."
        )
    method: PaymentMethod = account.payment_methods.get(intent.payment_method, "payment_method")
    card = c.by_fingerprint(method.card.fingerprint)
    intent = msgspec.structs.replace(intent, next_action=None)
    if not succeed or card.authentication_fails:
        no = c.Decline(
            "payment_intent_authentication_failure",
            None,
            "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
            "PaymentMethod to attempt to fulfill this PaymentIntent again.",
        )
        return _failed(account, STRIPE_ITSELF, intent, method, no, None)
    try:
        return attempt(
            account, STRIPE_ITSELF, intent, method, card.declined, _three_d_secure(account, "challenge")
        )
    except ApiError:
        return account.payment_intents.get(intent_id)


def _three_d_secure(account: Account, kind: str) -> charges.ThreeDSecure:
    if kind == "unsupported":
        return charges.ThreeDSecure(
            authentication_flow=None,
            electronic_commerce_indicator=None,
            result="not_supported",
            transaction_id=None,
        )
    return charges.ThreeDSecure(
        authentication_flow="challenge" if kind == "challenge" else "frictionless",
        electronic_commerce_indicator="05",
        result="authenticated",
        transaction_id=account.ids.chars(32),
    )


def attempt(
    account: Account,
    origin: Origin,
    intent: PaymentIntent,
    method: PaymentMethod,
    decline: c.Decline | None,
    three_d_secure: charges.ThreeDSecure | None = None,
) -> PaymentIntent:
    """Ask the bank once: make the charge, move the intent, emit the events; raise the 402 of a decline."""
    capture = intent.capture_method != "manual"
    charge = charges.make(
        account,
        stem=intent.id[3:19],
        amount_minor=intent.amount,
        currency=intent.currency,
        method=method,
        decline=decline,
        capture=capture,
        three_d_secure=three_d_secure,
        customer=intent.customer,
        description=intent.description,
        metadata=intent.metadata,
        payment_intent=intent.id,
        receipt_email=intent.receipt_email,
        shipping=intent.shipping,
        statement_descriptor=intent.statement_descriptor,
        statement_descriptor_suffix=intent.statement_descriptor_suffix,
        transfer_group=intent.transfer_group,
    )
    if intent.latest_charge is not None:
        earlier = account.earlier_charges.get(intent.id, ())
        account.earlier_charges[intent.id] = (*earlier, intent.latest_charge)
    if decline is not None:
        failed = _failed(account, origin, intent, method, decline, charge)
        raise _declined(failed, method, decline, charge)
    if capture and intent.capture_method == "automatic":
        txn = balance_transactions.for_charge(account, charge, charge.amount)
        charge = account.charges.put(msgspec.structs.replace(charge, balance_transaction=txn.id))
    intent = account.payment_intents.put(
        msgspec.structs.replace(
            intent,
            amount_capturable=0 if capture else intent.amount,
            amount_received=intent.amount if capture else 0,
            last_payment_error=None,
            latest_charge=charge.id,
            next_action=None,
            payment_method=method.id,
            status="succeeded" if capture else "requires_capture",
        )
    )
    account.emit("charge.succeeded", charge, origin)
    if capture:
        account.emit("payment_intent.succeeded", intent, origin)
        if charge.balance_transaction is None:
            account.schedule(account.settle_seconds, charges.settle, account, charge.id)
    else:
        account.emit("payment_intent.amount_capturable_updated", intent, origin)
        account.schedule(charges.AUTHORISED_SECONDS, _expire, account, intent.id)
    return intent


def _failed(
    account: Account,
    origin: Origin,
    intent: PaymentIntent,
    method: PaymentMethod,
    decline: c.Decline,
    charge: charges.Charge | None,
) -> PaymentIntent:
    error: dict[str, Any] = {
        "code": decline.code,
        "doc_url": doc_url(decline.code),
        "message": decline.message,
    }
    if charge is not None:
        error = {"charge": charge.id, **error}
        if charge.outcome is not None and charge.outcome.advice_code is not None:
            error["advice_code"] = charge.outcome.advice_code
    if decline.decline_code is not None:
        error["decline_code"] = decline.decline_code
    if decline.param is not None:
        error["param"] = decline.param
    error["payment_method"] = method
    error["type"] = "card_error" if charge is not None else "invalid_request_error"
    failed = account.payment_intents.put(
        msgspec.structs.replace(
            intent,
            last_payment_error=error,
            latest_charge=charge.id if charge is not None else intent.latest_charge,
            next_action=None,
            payment_method=None,
            status="requires_payment_method",
        )
    )
    if charge is not None:
        account.emit("charge.failed", charge, origin)
    account.emit("payment_intent.payment_failed", failed, origin)
    return failed


def _declined(
    intent: PaymentIntent, method: PaymentMethod, decline: c.Decline, charge: charges.Charge
) -> ApiError:
    fields: dict[str, Any] = {"charge": charge.id}
    if charge.outcome is not None and charge.outcome.advice_code is not None:
        fields["advice_code"] = charge.outcome.advice_code
    if decline.decline_code is not None:
        fields["decline_code"] = decline.decline_code
    return ApiError(
        402,
        decline.message,
        type="card_error",
        code=decline.code,
        param=decline.param,
        payment_intent=intent,
        payment_method=method,
        **fields,
    )


def capture(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> PaymentIntent:
    """Take the money of an authorisation, all or part; the rest is released."""
    intent: PaymentIntent = account.payment_intents.get(intent_id, "intent")
    if intent.status != "requires_capture":
        raise _unexpected(
            intent,
            f"This PaymentIntent could not be captured because it has a status of {intent.status}. Only a "
            "PaymentIntent with one of the following statuses may be captured: requires_capture.",
        )
    taken = params.get("amount_to_capture", intent.amount_capturable)
    if taken > intent.amount_capturable:
        raise invalid(
            f"The payment could not be captured because the requested capture amount is greater than the amount you "
            f"can capture for this charge, which is {currencies.shown(intent.amount_capturable, intent.currency)}.",
            "amount_to_capture",
            "amount_too_large",
        )
    changes: dict[str, Any] = {
        k: params[k] for k in ("statement_descriptor", "statement_descriptor_suffix") if k in params
    }
    if "metadata" in params:
        changes["metadata"] = p.merged(intent.metadata, params["metadata"])
    old: charges.Charge = account.charges.get(intent.latest_charge)
    txn = balance_transactions.for_charge(account, old, taken)
    details = old.payment_method_details
    if details is not None:
        card = msgspec.structs.replace(details.card, capture_before=msgspec.UNSET)
        details = charges.PaymentMethodDetails(card)
    charge = account.charges.put(
        msgspec.structs.replace(
            old,
            amount_captured=taken,
            balance_transaction=txn.id,
            captured=True,
            payment_method_details=details,
        )
    )
    intent = account.payment_intents.put(
        msgspec.structs.replace(
            intent, amount_capturable=0, amount_received=taken, status="succeeded", **changes
        )
    )
    previous = {"amount_captured": 0, "balance_transaction": None, "captured": False}
    account.emit("charge.captured", charge, call.origin, previous)
    account.emit("payment_intent.succeeded", intent, call.origin)
    return intent


def cancel(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> PaymentIntent:
    """End an open intent; what was authorised is released, with no refund object (since 2025-03-31.basil)."""
    intent: PaymentIntent = account.payment_intents.get(intent_id, "intent")
    if intent.status not in OPEN:
        raise _unexpected(
            intent,
            f"You cannot cancel this PaymentIntent because it has a status of {intent.status}. Only a PaymentIntent "
            f"with one of the following statuses may be canceled: {', '.join(OPEN)}.",
        )
    return _canceled(account, call.origin, intent, params.get("cancellation_reason"))


def _canceled(account: Account, origin: Origin, intent: PaymentIntent, reason: str | None) -> PaymentIntent:
    new = account.payment_intents.put(
        msgspec.structs.replace(
            intent,
            amount_capturable=0,
            canceled_at=int(account.now()),
            cancellation_reason=reason,
            next_action=None,
            status="canceled",
        )
    )
    account.emit("payment_intent.canceled", new, origin)
    return new


def _expire(account: Account, intent_id: str) -> None:
    """Release an authorisation that nobody captured in time: `charge.expired`, and the intent ends."""
    intent: PaymentIntent = account.payment_intents.get(intent_id)
    if intent.status != "requires_capture":
        return
    account.emit("charge.expired", account.charges.get(intent.latest_charge))
    _canceled(account, STRIPE_ITSELF, intent, "expired")


def public(intent: PaymentIntent) -> dict[str, Any]:
    """Return what a publishable key may see."""
    return {name: getattr(intent, name) for name in PUBLIC_FIELDS}


ROUTES = (
    Route("POST", "/v1/payment_intents", create, CREATE),
    Route("GET", "/v1/payment_intents", list_, LIST),
    Route("GET", "/v1/payment_intents/{intent}", retrieve, RETRIEVE, publishable=True),
    Route("POST", "/v1/payment_intents/{intent}", update, UPDATE),
    Route("POST", "/v1/payment_intents/{intent}/confirm", confirm, CONFIRM, publishable=True),
    Route("POST", "/v1/payment_intents/{intent}/capture", capture, CAPTURE),
    Route("POST", "/v1/payment_intents/{intent}/cancel", cancel, CANCEL),
)
