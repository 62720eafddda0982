"""Payment methods: a card, made of a token, of card data, or of one of Stripe's named test cards; or an IBAN."""

from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator import params as p
from tillport.simulator.account import Account, Origin
from tillport.simulator.errors import ApiError, invalid, missing_object, not_modelled, parameter_missing
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources import bank_debits, tokens
from tillport.simulator.resources.card_details import address_checked, billing_of, details_of, magic_details
from tillport.simulator.resources.common import (
    BILLING_DETAILS,
    NO_BILLING_DETAILS,
    BillingDetails,
    Call,
    List,
    Route,
    address_of,
    billing_details,
    difference,
    sliced,
)


class PaymentMethod(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    id: str
    object: str = "payment_method"
    allow_redisplay: str = "unspecified"
    billing_details: BillingDetails = NO_BILLING_DETAILS
    # One hash is shown, as the type says: a `CardDetails`, a `SepaDebit`, or an empty one.
    card: Any = msgspec.UNSET
    created: int
    customer: Any = None
    customer_account: None = None
    customer_balance: Any = msgspec.UNSET
    livemode: bool = False
    metadata: dict[str, str] = EMPTY
    sepa_debit: Any = msgspec.UNSET
    type: str = "card"


CARD_INPUT = Spec(
    {
        "token": p.string,
        "number": p.string,
        "exp_month": p.string,
        "exp_year": p.string,
        "cvc": p.string,
    },
    unmodelled=frozenset({"networks"}),
)
ALLOW_REDISPLAY = p.one_of("always", "limited", "unspecified")
KIND = p.only("card", "customer_balance", "sepa_debit")
_DATA: dict[str, p.Parser] = {
    "type": KIND,
    "card": p.hash_of(CARD_INPUT),
    "customer_balance": p.hash_of(Spec({})),
    "sepa_debit": bank_debits.INPUT,
    "billing_details": BILLING_DETAILS,
    "metadata": p.metadata,
    "allow_redisplay": ALLOW_REDISPLAY,
}
OTHER_TYPES = frozenset(
    "acss_debit affirm afterpay_clearpay alipay alma amazon_pay au_becs_debit bacs_debit bancontact billie "
    "bizum blik boleto cashapp crypto custom customer eps fpx giropay grabpay ideal "
    "interac_present kakao_pay klarna konbini kr_card link mb_way mobilepay multibanco naver_pay "
    "nz_bank_account oxxo p24 pay_by_bank payco payment_method paynow paypal paypay payto pix promptpay "
    "radar_options revolut_pay samsung_pay satispay scalapay sequra sofort sunbit swish twint upi "
    "us_bank_account wechat_pay zip".split()
)
DATA = p.hash_of(Spec(_DATA, required=("type",), unmodelled=OTHER_TYPES))
CREATE = Spec(_DATA, required=("type",), unmodelled=OTHER_TYPES)
UPDATE = Spec(
    {
        "billing_details": BILLING_DETAILS,
        "metadata": p.metadata,
        "allow_redisplay": ALLOW_REDISPLAY,
        "card": p.hash_of(
            Spec({"exp_month": p.integer, "exp_year": p.integer}, unmodelled=frozenset({"networks"}))
        ),
    },
    unmodelled=frozenset({"us_bank_account"}),
)
LIST = p.page_spec("customer_account", customer=p.string, type=KIND, allow_redisplay=ALLOW_REDISPLAY)


def create(account: Account, call: Call, params: dict[str, Any]) -> PaymentMethod:
    return make(account, params, "card")


def make(account: Account, data: dict[str, Any], param: str) -> PaymentMethod:
    """Build and store a payment method from `{type: card, card: {token | number…}, billing_details…}`."""
    return account.payment_methods.add(build(account, data, param))


def build(account: Account, data: dict[str, Any], param: str) -> PaymentMethod:
    if data["type"] != "card":
        return _without_card(account, data, param.replace("card", data["type"]))
    given = data.get("card")
    if not given:
        raise parameter_missing(param)
    details = NO_BILLING_DETAILS
    if "token" in given:
        source = tokens.spend(account, given["token"], f"{param}[token]")
        if isinstance(source, c.Card):
            card = magic_details(source)
        else:
            card = details_of(source)
            details = billing_of(source)
    else:
        for name in ("number", "exp_month", "exp_year"):
            if name not in given:
                raise parameter_missing(f"{param}[{name}]")
        source = tokens.card_source(account, given)
        card = details_of(source)
    if data.get("billing_details"):
        details = billing_details(data["billing_details"])
        card = address_checked(card, details)
    return PaymentMethod(
        id=account.ids.own("pm_"),
        allow_redisplay=data.get("allow_redisplay", "unspecified"),
        billing_details=details,
        card=card,
        created=int(account.now()),
        metadata=p.merged(EMPTY, data["metadata"]) if data.get("metadata") else EMPTY,
    )


def _without_card(account: Account, data: dict[str, Any], param: str) -> PaymentMethod:
    """Build a payment method of an IBAN, or of the customer's cash balance."""
    kind = data["type"]
    details = billing_details(data.get("billing_details"))
    about: Any = EMPTY
    if kind == "sepa_debit":
        about = bank_debits.sepa_of(account, data.get(kind), details, param)
    return PaymentMethod(
        id=account.ids.own("pm_"),
        allow_redisplay=data.get("allow_redisplay", "unspecified"),
        billing_details=details,
        created=int(account.now()),
        metadata=p.merged(EMPTY, data["metadata"]) if data.get("metadata") else EMPTY,
        type=kind,
        **{kind: about},
    )


def only_card(method: PaymentMethod, what: str, param: str = "payment_method") -> PaymentMethod:
    """Return a card; name what is not modelled for any other payment method."""
    if method.type != "card":
        raise not_modelled(f"{what} with a payment method of type {method.type!r}", param)
    return method


def check_usable(account: Account, method: PaymentMethod) -> None:
    """Refuse a payment method that has paid, or left its customer: without a customer it is good for one payment."""
    if method.customer is None and method.id in account.spent_methods:
        raise invalid(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, or was "
            "detached from a Customer. It may not be used again. To use a PaymentMethod multiple times, you must "
            "attach it to a Customer first.",
            "payment_method",
        )


def check_usable_by(account: Account, method: PaymentMethod, customer: str | None) -> None:
    """Refuse a payment method that may not be used again, or that is saved to another customer than this one."""
    check_usable(account, method)
    if method.customer is not None and method.customer != customer:
        raise invalid(
            "The provided PaymentMethod cannot be attached. To reuse a PaymentMethod, you must attach it to a "
            "Customer first."
            if customer is None
            else f"The customer {customer} does not have a payment method with the ID {method.id}. The payment "
            "method must be attached to the customer.",
            "payment_method",
        )


def resolve(account: Account, method_id: str, param: str) -> PaymentMethod:
    """Return a stored payment method, or a fresh one for a named test card such as `pm_card_visa`."""
    if method_id.startswith("pm_card_"):
        card = c.BY_NAME.get(method_id[8:])
        if card is not None:
            return account.payment_methods.add(
                PaymentMethod(
                    id=account.ids.own("pm_"),
                    card=magic_details(card),
                    created=account.second(),
                    metadata=EMPTY,
                )
            )
    found = find(account, method_id)
    if found is None and method_id.startswith("pm_sepaDebit_"):
        raise not_modelled(f"the test payment method {method_id[:60]}; give its IBAN", param)
    if found is None:
        raise missing_object("PaymentMethod", method_id[:255], param, status=400)
    return found


def find(account: Account, method_id: str) -> PaymentMethod | None:
    """Return a stored payment method, or a customer's card as one."""
    found: PaymentMethod | None = account.payment_methods.find(method_id)
    if found is None and (card := account.cards.find(method_id)) is not None:
        return of_card(account, card)
    return found


def made_of(account: Account, name: str, customer: str) -> PaymentMethod | None:
    """Return a customer's newest payment method made of a named test card such as `pm_card_visa`."""
    card = c.BY_NAME.get(name[8:]) if name.startswith("pm_card_") else None
    if card is None:
        return None
    print_ = c.fingerprint(card)
    saved: list[PaymentMethod] = account.payment_methods.page(
        {"limit": 1 << 30}, where={"customer": customer}
    ).data
    return next(
        (method for method in saved if method.type == "card" and method.card.fingerprint == print_), None
    )


def get(account: Account, method_id: str) -> PaymentMethod:
    """Return what `find` finds, for a path; raise Stripe's 404 otherwise."""
    found = find(account, method_id)
    if found is None:
        raise missing_object("PaymentMethod", method_id[:255], "payment_method")
    return found


def of_card(account: Account, source: tokens.CardSource) -> PaymentMethod:
    """Return a card as the payment method that it also is, under the card's own id."""
    known = account.cards.find(source.id) is not None
    return PaymentMethod(
        id=source.id,
        billing_details=billing_of(source),
        card=details_of(source),
        created=account.cards.created_of(source.id) if known else int(account.now()),
        customer=None if source.customer is msgspec.UNSET else source.customer,
        metadata=source.metadata,
    )


def retrieve(account: Account, call: Call, params: dict[str, Any], method_id: str) -> PaymentMethod:
    if method_id.startswith("pm_card_") and method_id[8:] in c.BY_NAME:
        return resolve(account, method_id, "payment_method")
    return get(account, method_id)


def update(account: Account, call: Call, params: dict[str, Any], method_id: str) -> PaymentMethod:
    """Change details of a saved card; Stripe announces it as `payment_method.updated`."""
    old: PaymentMethod = account.payment_methods.get(method_id, "payment_method")
    if old.customer is None:
        raise invalid("You must save this PaymentMethod to a customer before you can update it.", None)
    changes: dict[str, Any] = {}
    if "metadata" in params:
        changes["metadata"] = p.merged(old.metadata, params["metadata"])
    if "allow_redisplay" in params:
        changes["allow_redisplay"] = params["allow_redisplay"]
    if params.get("billing_details"):
        old_details = old.billing_details
        given = dict(params["billing_details"])
        address = given.pop("address", None)
        changes["billing_details"] = msgspec.structs.replace(
            old_details,
            address=address_of(address) if address else old_details.address,
            **{k: v or None for k, v in given.items()},
        )
    if params.get("card"):
        if old.type != "card":
            raise invalid(f"A payment method of type {old.type} has no card to be changed.", "card")
        month, year = tokens.expiry(
            account,
            {name: str(params["card"].get(name, getattr(old.card, name))) for name in tokens.EXPIRY},
        )
        changes["card"] = msgspec.structs.replace(old.card, exp_month=month, exp_year=year)
    new = account.payment_methods.put(msgspec.structs.replace(old, **changes))
    previous = difference(old, new, changes)
    if previous:
        account.emit("payment_method.updated", new, call.origin, previous)
    return new


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    wanted, kind = params.get("allow_redisplay"), params.get("type")
    customer = params.get("customer")
    if customer is not None:
        return saved_to(account, customer, params, "/v1/payment_methods")
    page = account.payment_methods.page(
        params,
        # Stripe lists the methods saved to a customer; loose ones are not to be had back.
        accept=lambda m: (
            m.customer is not None and wanted in (None, m.allow_redisplay) and kind in (None, m.type)
        ),
    )
    return List(data=page.data, has_more=page.has_more, url="/v1/payment_methods")


def saved_to(account: Account, customer: str, params: dict[str, Any], url: str) -> List:
    """List what a customer can pay with, newest first: the payment methods, and the cards of `/sources`."""
    wanted, kind = params.get("allow_redisplay"), params.get("type")
    everything = {"limit": 1 << 30}
    where = {"customer": customer}
    rows = account.payment_methods.page(everything, where=where).data
    cards = account.cards.page(everything, where=where).data
    if cards:
        rows = [*rows, *(of_card(account, card) for card in cards)]
        rows.sort(key=lambda row: row.created, reverse=True)
    rows = [m for m in rows if wanted in (None, m.allow_redisplay) and kind in (None, m.type)]
    return sliced(rows, params, "payment_method", url)


ATTACH = Spec({"customer": p.string}, required=("customer",), unmodelled=frozenset({"customer_account"}))


def attach(account: Account, call: Call, params: dict[str, Any], method_id: str) -> PaymentMethod:
    """Save a payment method to a customer; the declining test cards are declined here already."""
    customer = account.customers.get(params["customer"], "customer", status=400)
    method = resolve(account, method_id, "payment_method")
    if method.customer == customer.id:
        return method
    check_saveable(account, method)
    return attached(account, call.origin, method, customer.id)


def check_saveable(account: Account, method: PaymentMethod) -> None:
    """Refuse what is another customer's or used up; raise the decline of a card that no bank lets be saved."""
    if method.customer is not None:
        raise invalid(
            "The payment method you provided has already been attached to a customer.", "payment_method"
        )
    if method.id not in account.saveable_methods:
        check_usable(account, method)
    if method.type == "customer_balance":
        raise not_modelled("a cash balance saved to a customer as a payment method", "payment_method")
    if method.type != "card":
        return
    no = c.by_fingerprint(method.card.fingerprint).declined_on_attach
    if no is not None:
        raise refused(no)


def refused(no: c.Decline) -> ApiError:
    """Build the 402 of a card that can't be saved."""
    fields: dict[str, Any] = {} if no.decline_code is None else {"decline_code": no.decline_code}
    return ApiError(402, no.message, type="card_error", code=no.code, param=no.param, **fields)


def attached(account: Account, origin: Origin, method: PaymentMethod, customer_id: str) -> PaymentMethod:
    new = account.payment_methods.put(msgspec.structs.replace(method, customer=customer_id))
    account.emit("payment_method.attached", new, origin)
    return new


def detach(account: Account, call: Call, params: dict[str, Any], method_id: str) -> PaymentMethod:
    """Let a payment method go from its customer, for good."""
    method = account.payment_methods.get(method_id, "payment_method")
    if method.customer is None:
        raise invalid(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
            "payment_method",
        )
    return released(account, call.origin, method)


def released(account: Account, origin: Origin, method: PaymentMethod) -> PaymentMethod:
    new = account.payment_methods.put(msgspec.structs.replace(method, customer=None))
    account.spent_methods.add(method.id)
    account.saveable_methods.discard(method.id)
    account.emit("payment_method.detached", new, origin, {"customer": method.customer})
    return new


ROUTES = (
    Route("POST", "/v1/payment_methods", create, CREATE, publishable=True),
    Route("GET", "/v1/payment_methods", list_, LIST),
    Route("GET", "/v1/payment_methods/{payment_method}", retrieve),
    Route("POST", "/v1/payment_methods/{payment_method}", update, UPDATE),
    Route("POST", "/v1/payment_methods/{payment_method}/attach", attach, ATTACH),
    Route("POST", "/v1/payment_methods/{payment_method}/detach", detach),
)
