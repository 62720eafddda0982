"""`expand[]`: replace ids by their objects, along dot paths up to four deep (docs.stripe.com/api/expanding_objects)."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec

from tillport.simulator.account import Account
from tillport.simulator.errors import invalid, not_modelled
from tillport.simulator.resources import balance_transactions, cash, payment_methods, sources
from tillport.simulator.resources.common import Deleted, List
from tillport.simulator.resources.search import SearchResult

MAX_DEPTH = 4
_Tree = dict[str, Any]


def _from(name: str) -> Callable[[Account, Any], Any]:
    def resolve(account: Account, value: Any) -> Any:
        found = getattr(account, name).find(value)
        if found is None and name == "customers" and value in account.deleted_customers:
            return Deleted(value, "customer")
        return found or value

    return resolve


def _txn(account: Account, value: Any) -> Any:
    found = account.balance_transactions.find(value)
    return value if found is None else balance_transactions.shown(account, found)


def _method(account: Account, value: str) -> Any:
    return payment_methods.find(account, value) or value


def _source(account: Account, value: str) -> Any:
    """Return what a balance transaction is about: a charge, a refund or a dispute, as its id says."""
    kinds: dict[str, Any] = {
        "ch": account.charges,
        "py": account.charges,
        "re": account.refunds,
        "pyr": account.refunds,
        "du": account.disputes,
    }
    kind = kinds.get(value.partition("_")[0])
    return value if kind is None else kind.find(value) or value


def _refunds(account: Account, owner: Any) -> Any:
    page = account.refunds.page({"limit": 10}, where={"charge": owner.id})
    return List(data=page.data, has_more=page.has_more, url=f"/v1/charges/{owner.id}/refunds")


_FILES = (
    "cancellation_policy", "customer_communication", "customer_signature", "duplicate_charge_documentation", "receipt",
    "refund_policy", "service_documentation", "shipping_documentation", "uncategorized_file",
)  # fmt: skip
"""Of a dispute's evidence."""

# By object: what may be expanded, and how its id becomes an object. None stands for fields that are always null here, and a
# table for a hash that holds such fields and can't be expanded itself.
EXPANDABLE: dict[str, dict[str, Any]] = {
    "charge": {
        "application": None,
        "application_fee": None,
        "balance_transaction": _txn,
        "customer": _from("customers"),
        "failure_balance_transaction": _txn,
        "on_behalf_of": None,
        "outcome": {"rule": None},
        "payment_intent": _from("payment_intents"),
        "refunds": _refunds,
        "review": None,
        "source_transfer": None,
        "transfer": None,
        "transfer_data": {"destination": None},
    },
    "payment_intent": {
        "application": None,
        "customer": _from("customers"),
        "latest_charge": _from("charges"),
        "on_behalf_of": None,
        "payment_method": _method,
        "payment_record": None,
        "review": None,
        "transfer_data": {"destination": None},
    },
    "customer": {
        "cash_balance": lambda account, owner: cash.balance_of(account, owner.id),
        "default_source": lambda account, value: account.cards.find(value) or value,
        "invoice_settings": {"default_payment_method": _method},
        "sources": lambda account, owner: sources.of(account, owner.id, {"limit": 10}),
        "test_clock": None,
    },
    "customer_cash_balance_transaction": {
        "applied_to_payment": {"payment_intent": _from("payment_intents")},
        "customer": _from("customers"),
        "unapplied_from_payment": {"payment_intent": _from("payment_intents")},
    },
    "card": {"account": None, "customer": _from("customers")},
    "dispute": {
        "charge": _from("charges"),
        "evidence": dict.fromkeys(_FILES),
        "payment_intent": _from("payment_intents"),
    },
    "setup_intent": {
        "application": None,
        "customer": _from("customers"),
        "latest_attempt": _from("setup_attempts"),
        "mandate": None,
        "on_behalf_of": None,
        "payment_method": _method,
        "single_use_mandate": None,
    },
    "setup_attempt": {
        "application": None,
        "customer": _from("customers"),
        "on_behalf_of": None,
        "payment_method": _method,
        "setup_intent": _from("setup_intents"),
    },
    "radar.early_fraud_warning": {"charge": _from("charges"), "payment_intent": _from("payment_intents")},
    "payment_method": {"customer": _from("customers")},
    "balance_transaction": {"source": _source},
    "refund": {
        "balance_transaction": _txn,
        "charge": _from("charges"),
        "customer": _from("customers"),
        "failure_balance_transaction": _txn,
        "payment_intent": _from("payment_intents"),
        "payment_method": _method,
        "source_transfer_reversal": None,
        "transfer_reversal": None,
    },
}
# What Stripe expands and there is nothing of here: it is named, not taken for a slip.
_UNMODELLED = {"customer": frozenset({"subscriptions", "tax", "tax_ids"})}
# What a field leads to, where its name says so: the rest is known when it is there.
_LEADS_TO = {
    "balance_transaction": "balance_transaction",
    "charge": "charge",
    "customer": "customer",
    "default_payment_method": "payment_method",
    "failure_balance_transaction": "balance_transaction",
    "latest_attempt": "setup_attempt",
    "latest_charge": "charge",
    "payment_intent": "payment_intent",
    "payment_method": "payment_method",
    "setup_intent": "setup_intent",
}
_COMPUTED = {("charge", "refunds"), ("customer", "cash_balance"), ("customer", "sources")}


def paths_of(paths: Sequence[Any]) -> _Tree:
    """Read the paths into one tree; raise ApiError for what is no path, or too deep a one."""
    tree: _Tree = {}
    for path in paths:
        if not isinstance(path, str) or not path:
            raise invalid("Invalid expand: must be an array of paths.", "expand")
        parts = path.split(".")
        if len(parts) > MAX_DEPTH + (parts[0] == "data"):
            raise invalid(
                f"You cannot expand more than {MAX_DEPTH} levels of a property ({path[:100]}).", "expand"
            )
        at = tree
        for part in parts:
            at = at.setdefault(part, {})
    return tree


def judge(handler: Callable[..., Any], tree: _Tree) -> None:
    """Raise ApiError for a path that the handler's answer cannot have; what only the answer can tell is left to `expand`."""
    kind = _answers(handler)
    if kind is not None:
        _judge(kind, EXPANDABLE.get(kind, {}), tree)


def _judge(kind: str, known: dict[str, Any], tree: _Tree) -> None:
    for name, below in tree.items():
        _check(kind, known, name, below)
        if isinstance(known[name], dict):
            _judge(kind, known[name], below)
        elif below and name in _LEADS_TO:
            _judge(_LEADS_TO[name], EXPANDABLE[_LEADS_TO[name]], below)


def _check(kind: Any, known: dict[str, Any], name: str, below: _Tree) -> None:
    if name in _UNMODELLED.get(kind, ()):
        raise not_modelled(f"the {name} of a {kind}", "expand")
    if name not in known or (isinstance(known[name], dict) and not below):
        raise _cannot(name)


@cache
def _answers(handler: Callable[..., Any]) -> str | None:
    """Return the kind of object that a handler answers with, None where it says nothing of it."""
    answer = handler.__annotations__.get("return")
    if answer is List or not isinstance(answer, type) or not issubclass(answer, msgspec.Struct):
        return None
    kinds = [field.default for field in msgspec.structs.fields(answer) if field.name == "object"]
    return kinds[0] if kinds and isinstance(kinds[0], str) else None


def expand(account: Account, value: Any, tree: _Tree) -> Any:
    """Return the value with the ids on the tree's paths replaced by objects; raise ApiError for a path that cannot be."""
    return _apply(account, value, tree)


def _apply(account: Account, value: Any, tree: _Tree) -> Any:
    if isinstance(value, List | SearchResult):
        for name in tree:
            if name == "total_count" and isinstance(value, SearchResult):
                raise not_modelled("the total_count of a search", "expand")
            if name != "data":
                raise _cannot(name)
        data = [_apply(account, item, tree.get("data", {})) for item in value.data]
        return msgspec.structs.replace(value, data=data)
    kind = getattr(value, "object", None)
    return _within(account, value, kind, EXPANDABLE.get(kind, {}) if isinstance(kind, str) else {}, tree)


def _within(account: Account, value: Any, kind: Any, known: dict[str, Any], tree: _Tree) -> Any:
    changes: dict[str, Any] = {}
    for name, below in tree.items():
        _check(kind, known, name, below)
        resolve = known[name]
        old = getattr(value, name, None)
        if isinstance(resolve, dict):
            if old is None or old is msgspec.UNSET:
                _judge(kind, resolve, below)
            else:
                changes[name] = _within(account, old, kind, resolve, below)
            continue
        computed = (kind, name) in _COMPUTED
        if resolve is None or old is None or (old is msgspec.UNSET and not computed):
            continue
        new = resolve(account, value if computed else old)
        changes[name] = _apply(account, new, below) if below else new
    return msgspec.structs.replace(value, **changes) if changes else value


def _cannot(name: str) -> Exception:
    return invalid(f"This property cannot be expanded ({name[:100]}).", "expand")
