"""Customers' cards as Stripe kept them before payment methods: `/v1/customers/:id/sources`, and the older `/cards`.

A saved card is a payment method too: a payment intent takes its `card_…` id, and the payment-method routes show it.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from tillport.simulator import cards as c
from tillport.simulator import params as p
from tillport.simulator.account import Account, Origin
from tillport.simulator.errors import ApiError, invalid, not_modelled, parameter_missing
from tillport.simulator.params import EMPTY, Spec
from tillport.simulator.resources import payment_methods, tokens
from tillport.simulator.resources.common import Call, Deleted, List, Route, difference
from tillport.simulator.resources.payment_methods import PaymentMethod
from tillport.simulator.resources.tokens import CardSource

_CARD_DATA = Spec(
    {**tokens.CARD_FIELDS.fields, "object": p.only("card"), "metadata": p.metadata},
    required=tokens.CARD_FIELDS.required,
    unmodelled=frozenset({"networks"}),
)
_ADDRESS = tuple(name for name in tokens.CARD_FIELDS.fields if name.startswith("address_"))


def SOURCE(value: Any, name: str) -> Any:  # noqa: N802 - a parser, named as the other parsers that are data
    """Read what `source` takes: an id, or a card's data as a hash."""
    if isinstance(value, Mapping):
        return p.hash_of(_CARD_DATA)(value, name)
    return p.string(value, name)


CREATE = Spec({"source": SOURCE, "card": SOURCE, "metadata": p.metadata, "validate": p.only(True)})
UPDATE = Spec(
    {
        **dict.fromkeys((*_ADDRESS, "name", "exp_month", "exp_year"), p.string),
        "metadata": p.metadata,
    },
    unmodelled=frozenset({"account_holder_name", "account_holder_type", "owner", "default_for_currency"}),
)
LIST = p.page_spec(object=p.string)


def card_from(account: Account, given: Any, param: str) -> CardSource:
    """Return the card of a token (used up), a named test token, or a card's own data."""
    if isinstance(given, dict):
        return tokens.card_source(account, given)
    if isinstance(given, str) and given.startswith("src_"):
        raise not_modelled("Source objects (src_…)", param)
    spent = tokens.spend(account, given, param)
    return tokens.magic_source(account, spent) if isinstance(spent, c.Card) else spent


def of_customer(account: Account, customer: Any, given: Any) -> CardSource:
    """Return a customer's card: the named one, or the default; raise what Stripe answers when there is none."""
    wanted = customer.default_source if given is None else given
    if wanted is None:
        raise ApiError(
            402,
            "Cannot charge a customer that has no active card",
            type="card_error",
            code="missing",
            param="card",
        )
    found = account.cards.find(wanted) if isinstance(wanted, str) else None
    if found is None or found.customer != customer.id:
        raise ApiError(
            404,
            f"Customer {customer.id} does not have a linked source with ID {str(wanted)[:100]}.",
            code="missing",
            param="source",
        )
    return found


def attached_method(account: Account, customer_id: str, method_id: str) -> PaymentMethod:
    """Return a payment method that is saved to this customer."""
    method = payment_methods.resolve(account, method_id, "source")
    if method.customer != customer_id:
        raise ApiError(
            404,
            f"Customer {customer_id} does not have a linked source with ID {method_id[:100]}.",
            code="missing",
            param="source",
        )
    return payment_methods.only_card(method, "the Charges API", "source")


def judged(account: Account, given: Any, param: str) -> CardSource:
    """Return the card of a token or of card data with the bank's checks made; raise the decline of one that can't be saved."""
    card = tokens.checked(card_from(account, given, param))
    no = c.by_fingerprint(card.fingerprint or "").declined_on_attach
    if no is not None:
        raise payment_methods.refused(no)
    return card


def saved(
    account: Account, origin: Origin, customer: Any, card: CardSource, metadata: Any = None
) -> CardSource:
    """Save a judged card to a customer, as the default when there was none."""
    card = account.cards.add(
        msgspec.structs.replace(
            card, customer=customer.id, metadata=p.merged(EMPTY, metadata) if metadata else EMPTY
        ),
        created=int(account.now()),
    )
    account.emit("customer.source.created", card, origin)
    return card


def set_default(account: Account, origin: Origin, customer: Any, card_id: str | None) -> Any:
    """Make a card the customer's default, and say so: `customer.updated`."""
    if customer.default_source == card_id:
        return customer
    new = account.customers.put(msgspec.structs.replace(customer, default_source=card_id))
    account.emit("customer.updated", new, origin, {"default_source": customer.default_source})
    return new


def create(account: Account, call: Call, params: dict[str, Any], customer_id: str) -> CardSource:
    customer = account.customers.get(customer_id, "customer")
    given = params.get("source") or params.get("card")
    if not given:
        raise parameter_missing("source")
    card = saved(account, call.origin, customer, judged(account, given, "source"), params.get("metadata"))
    if customer.default_source is None:
        set_default(account, call.origin, customer, card.id)
    return card


def _own(account: Account, customer_id: str, card_id: str) -> CardSource:
    account.customers.get(customer_id, "customer")
    found = account.cards.get(card_id, "id")
    if found.customer != customer_id:
        raise ApiError(404, f"No such source: '{card_id[:255]}'", code="resource_missing", param="id")
    return found


def retrieve(
    account: Account, call: Call, params: dict[str, Any], customer_id: str, card_id: str
) -> CardSource:
    return _own(account, customer_id, card_id)


def update(
    account: Account, call: Call, params: dict[str, Any], customer_id: str, card_id: str
) -> CardSource:
    """Change a saved card's holder, address, expiry or metadata: `customer.source.updated`."""
    old = _own(account, customer_id, card_id)
    changes: dict[str, Any] = {name: params[name] or None for name in (*_ADDRESS, "name") if name in params}
    if "exp_month" in params or "exp_year" in params:
        month, year = tokens.expiry(
            account, {name: str(params.get(name, getattr(old, name))) for name in tokens.EXPIRY}
        )
        changes |= {"exp_month": month, "exp_year": year}
    if "metadata" in params:
        changes["metadata"] = p.merged(old.metadata, params["metadata"])
    new = tokens.checked(msgspec.structs.replace(old, **changes))
    account.cards.put(new)
    previous = difference(old, new, changes)
    if previous:
        account.emit("customer.source.updated", new, call.origin, previous)
    return new


def removed(account: Account, origin: Origin, card: CardSource) -> None:
    account.cards.remove(card.id)
    account.emit("customer.source.deleted", card, origin)


def delete(account: Account, call: Call, params: dict[str, Any], customer_id: str, card_id: str) -> Deleted:
    """Remove a saved card; the customer's next newest becomes the default."""
    card = _own(account, customer_id, card_id)
    removed(account, call.origin, card)
    customer = account.customers.get(customer_id)
    if customer.default_source == card_id:
        rest = of(account, customer_id, {"limit": 1}).data
        set_default(account, call.origin, customer, rest[0].id if rest else None)
    return Deleted(card_id, "card")


def of(account: Account, customer_id: str, params: dict[str, Any], under: str = "sources") -> List:
    """List a customer's cards, newest first."""
    page = account.cards.page(params, where={"customer": customer_id})
    return List(data=page.data, has_more=page.has_more, url=f"/v1/customers/{customer_id}/{under}")


def list_(account: Account, call: Call, params: dict[str, Any], customer_id: str) -> List:
    account.customers.get(customer_id, "customer")
    kind = params.get("object", "card")
    if kind not in ("card", "bank_account", "source"):
        raise invalid("Invalid object: must be one of bank_account, card, or source", "object")
    if kind != "card":
        return List(data=[], has_more=False, url=f"/v1/customers/{customer_id}/sources")
    return of(account, customer_id, params)


def list_cards(account: Account, call: Call, params: dict[str, Any], customer_id: str) -> List:
    account.customers.get(customer_id, "customer")
    return of(account, customer_id, params, "cards")


_ROUTES = (
    ("POST", "", create, CREATE, "create_source"),
    ("GET", "/{id}", retrieve, Spec(), "retrieve_source"),
    ("POST", "/{id}", update, UPDATE, "update_source"),
    ("DELETE", "/{id}", delete, Spec(), "delete_source"),
)
ROUTES = (
    *(
        Route(method, f"/v1/customers/{{customer}}/{under}{tail}", handler, spec, name=name)
        for method, tail, handler, spec, name in _ROUTES
        for under in ("cards", "sources")
    ),
    Route("GET", "/v1/customers/{customer}/cards", list_cards, p.page_spec()),
    Route("GET", "/v1/customers/{customer}/sources", list_, LIST, name="list_sources"),
)
