"""Confirm a setup intent: ask the card's bank, and its owner where the bank wants that, then save the card."""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator.account import STRIPE_ITSELF, Account, Origin
from tillport.simulator.errors import ApiError, doc_url
from tillport.simulator.resources import confirmation_tokens, payment_methods, setup_attempts, three_d_secure
from tillport.simulator.resources.common import Call
from tillport.simulator.resources.payment_methods import PaymentMethod
from tillport.simulator.resources.setup_intents.intent import OPEN, SetupIntent, checked, shown, unexpected


def confirm(account: Account, call: Call, params: dict[str, Any], intent_id: str) -> Any:
    """Save the card, or send its owner to the bank; a card that can't be saved answers 402."""
    intent = checked(account, call, params, intent_id)
    if intent.status not in OPEN:
        raise unexpected(
            intent,
            f"You cannot confirm this SetupIntent because it has a status of {intent.status}. Only a SetupIntent with "
            f"one of the following statuses may be confirmed: {', '.join(OPEN)}.",
        )
    method = method_of(account, params, intent.customer)
    if method is None and intent.payment_method is not None:
        method = payment_methods.get(account, intent.payment_method)
        payment_methods.check_usable_by(account, method, intent.customer)
    if "allowed_payment_method_types" in params:
        intent = msgspec.structs.replace(
            intent, allowed_payment_method_types=params["allowed_payment_method_types"]
        )
    if "payment_method_options" in params:
        intent = msgspec.structs.replace(intent, payment_method_options=params["payment_method_options"])
    return shown(call, confirmed(account, call.origin, intent, method, params))


def confirmed(
    account: Account,
    origin: Origin,
    intent: SetupIntent,
    method: PaymentMethod | None,
    params: dict[str, Any],
) -> SetupIntent:
    if params.get("confirmation_token"):
        stored, token = confirmation_tokens.spend(account, params["confirmation_token"], intent.id)
        # What the request itself says takes precedence over the token.
        if not (params.get("payment_method") or params.get("payment_method_data")):
            method = stored
        params = {"return_url": token.return_url, **params}
    if method is None:
        raise unexpected(intent, "You cannot confirm this SetupIntent because it's missing a payment method.")
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
    # A customer may have been deleted while the setup was open.
    known = intent.customer is not None and account.customers.find(intent.customer) is not None
    if known and method.customer is None:
        payment_methods.attached(account, origin, method, intent.customer)
    elif method.customer is None:
        account.spent_methods.add(method.id)
        account.saveable_methods.add(method.id)
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
        raise unexpected(
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


def method_of(account: Account, params: dict[str, Any], customer: str | None) -> PaymentMethod | None:
    data, given = params.get("payment_method_data"), params.get("payment_method")
    token = params.get("confirmation_token")
    if data:
        made = payment_methods.build(account, data, "payment_method_data[card]")
        return account.payment_methods.add(payment_methods.only_card(made, "setup intents"))
    if given:
        method = payment_methods.resolve(account, given, "payment_method")
    elif token:
        method, _ = confirmation_tokens.unspent(account, token)
    else:
        return None
    payment_methods.only_card(method, "setup intents")
    payment_methods.check_usable_by(account, method, customer)
    return method
