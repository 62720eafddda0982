"""Customers: whom payment methods are saved to; deleting one lets its payment methods go."""

from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.errors import missing_object
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources import payment_methods, sources
from tillport.simulator.resources.common import (
    ADDRESS,
    SHIPPING,
    Address,
    Call,
    Deleted,
    List,
    Route,
    address_of,
    difference,
    shipping_of,
)


class InvoiceSettings(msgspec.Struct, frozen=True, gc=False):
    custom_fields: None = None
    default_payment_method: str | None = None
    footer: None = None
    rendering_options: None = None


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "customer"
    address: Address | None = None
    balance: int = 0
    created: int
    currency: str | None = None
    default_source: Any = None
    delinquent: bool = False
    description: str | None = None
    discount: None = None
    email: str | None = None
    invoice_prefix: str | None
    invoice_settings: InvoiceSettings = InvoiceSettings()
    livemode: bool = False
    metadata: dict[str, str] = EMPTY
    name: str | None = None
    next_invoice_sequence: int = 1
    phone: str | None = None
    preferred_locales: list[str] = []
    shipping: dict[str, Any] | None = None
    tax_exempt: str = "none"
    sources: Any = msgspec.UNSET
    test_clock: None = None


_WORDS = ("description", "email", "name", "phone")
_FIELDS: dict[str, p.Parser] = {
    "address": ADDRESS,
    "metadata": p.metadata,
    "shipping": SHIPPING,
    "preferred_locales": p.array_of(p.string),
    "invoice_settings": p.hash_of(
        Spec(
            {"default_payment_method": p.string},
            unmodelled=frozenset({"custom_fields", "footer", "rendering_options"}),
        )
    ),
    "source": sources.SOURCE,
    "card": sources.SOURCE,
    "validate": p.only(True),
    "tax_exempt": p.one_of("none", "exempt", "reverse", empty=True),
    "description": p.string,
    "email": p.email,
    "name": p.text(256),
    "phone": p.text(20),
}
_UNMODELLED = frozenset(
    "balance business_name cash_balance individual_name invoice_prefix next_invoice_sequence tax tax_id_data "
    "test_clock".split()
)
CREATE = Spec({**_FIELDS, "payment_method": p.string}, unmodelled=_UNMODELLED)
UPDATE = Spec({**_FIELDS, "default_source": p.string, "default_card": p.string}, unmodelled=_UNMODELLED)
LIST = p.list_spec("test_clock", email=p.string)


def create(account: Account, call: Call, params: dict[str, Any]) -> Customer:
    """Create a customer; a card given with it is judged by its bank first, and a decline leaves no customer."""
    method = card = None
    if params.get("payment_method"):
        method = payment_methods.resolve(account, params["payment_method"], "payment_method")
        payment_methods.check_saveable(account, method)
    given = params.get("source") or params.get("card")
    if given:
        card = sources.judged(account, given, "source")
    customer = Customer(
        id=account.ids.short("cus_"),
        created=int(account.now()),
        default_source=None if card is None else card.id,
        invoice_prefix=account.ids.chars(8).upper(),
        **_changes(account, params, made=method),
    )
    account.customers.add(customer)
    account.emit("customer.created", customer, call.origin)
    if card is not None:
        sources.saved(account, call.origin, customer, card)
    if method is not None:
        payment_methods.attached(account, call.origin, method, customer.id)
    return customer


def _changes(
    account: Account,
    params: dict[str, Any],
    *,
    old: Customer | None = None,
    made: payment_methods.PaymentMethod | None = None,
) -> dict[str, Any]:
    changes: dict[str, Any] = {name: params[name] or None for name in _WORDS if name in params}
    if "address" in params:
        changes["address"] = address_of(params["address"]) if params["address"] else None
    if "shipping" in params:
        changes["shipping"] = shipping_of(params["shipping"])
    if "metadata" in params:
        changes["metadata"] = p.merged(EMPTY if old is None else old.metadata, params["metadata"])
    if "preferred_locales" in params:
        changes["preferred_locales"] = params["preferred_locales"]
    if params.get("invoice_settings"):
        chosen = params["invoice_settings"].get("default_payment_method") or None
        if chosen is not None:
            chosen = _default_of(account, chosen, params, old, made)
        changes["invoice_settings"] = InvoiceSettings(default_payment_method=chosen)
    if "tax_exempt" in params:
        changes["tax_exempt"] = params["tax_exempt"] or "none"
    return changes


def _default_of(
    account: Account,
    chosen: str,
    params: dict[str, Any],
    old: Customer | None,
    made: payment_methods.PaymentMethod | None,
) -> str:
    """Return the id of the customer's own payment method that is meant: a test card's name means the one made of it."""
    if made is not None and chosen in (params["payment_method"], made.id):
        return made.id
    if old is not None:
        found = payment_methods.find(account, chosen) or payment_methods.made_of(account, chosen, old.id)
        if found is not None and found.customer == old.id:
            return found.id
    raise missing_object(
        "PaymentMethod", chosen[:255], "invoice_settings[default_payment_method]", status=400
    )


def retrieve(account: Account, call: Call, params: dict[str, Any], customer_id: str) -> Any:
    if customer_id in account.deleted_customers:
        return Deleted(customer_id, "customer")
    return account.customers.get(customer_id, "id")


def update(account: Account, call: Call, params: dict[str, Any], customer_id: str) -> Customer:
    old: Customer = account.customers.get(customer_id, "id")
    changes = _changes(account, params, old=old)
    given = params.get("source") or params.get("card")
    replaced = None
    if given:
        # A new source takes the old default's place, and the old default goes.
        card = sources.judged(account, given, "source")
        replaced = account.cards.find(old.default_source) if old.default_source else None
        changes["default_source"] = sources.saved(account, call.origin, old, card).id
    elif wanted := params.get("default_source") or params.get("default_card"):
        changes["default_source"] = sources.of_customer(account, old, wanted).id
    if replaced is not None:
        sources.removed(account, call.origin, replaced)
    new = account.customers.put(msgspec.structs.replace(old, **changes))
    previous = difference(old, new, changes)
    if previous:
        account.emit("customer.updated", new, call.origin, previous)
    return new


def delete(account: Account, call: Call, params: dict[str, Any], customer_id: str) -> Deleted:
    old = account.customers.find(customer_id)
    if old is None:
        raise missing_object("customer", customer_id, "id")
    everything = {"limit": 1 << 30}
    for method in account.payment_methods.page(everything, where={"customer": customer_id}).data:
        payment_methods.released(account, call.origin, method)
    for card in sources.of(account, customer_id, everything).data:
        sources.removed(account, call.origin, card)
    account.customers.remove(customer_id)
    account.deleted_customers.add(customer_id)
    account.emit("customer.deleted", old, call.origin)
    return Deleted(customer_id, "customer")


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    page = account.customers.page(params, where={"email": params.get("email")})
    return List(data=page.data, has_more=page.has_more, url="/v1/customers")


def payment_methods_of(account: Account, call: Call, params: dict[str, Any], customer_id: str) -> List:
    account.customers.get(customer_id, "customer")
    return payment_methods.saved_to(
        account, customer_id, params, f"/v1/customers/{customer_id}/payment_methods"
    )


def payment_method_of(
    account: Account, call: Call, params: dict[str, Any], customer_id: str, method_id: str
) -> Any:
    account.customers.get(customer_id, "customer")
    method = payment_methods.get(account, method_id)
    if method.customer != customer_id:
        raise missing_object("PaymentMethod", method_id, "payment_method")
    return method


ROUTES = (
    Route("POST", "/v1/customers", create, CREATE),
    Route("GET", "/v1/customers", list_, LIST),
    Route("GET", "/v1/customers/{id}", retrieve),
    Route("POST", "/v1/customers/{id}", update, UPDATE),
    Route("DELETE", "/v1/customers/{id}", delete),
    Route(
        "GET",
        "/v1/customers/{customer}/payment_methods",
        payment_methods_of,
        p.page_spec(type=payment_methods.KIND, allow_redisplay=payment_methods.ALLOW_REDISPLAY),
    ),
    Route("GET", "/v1/customers/{customer}/payment_methods/{payment_method}", payment_method_of),
)
