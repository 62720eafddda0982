"""`expand[]`: replace ids by their objects, along dot paths up to four deep (docs.stripe.com/api/expanding_objects)."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tillport.simulator.account import Account
from tillport.simulator.errors import invalid, not_modelled
from tillport.simulator.resources import balance_transactions, cash, payment_methods, sources
from tillport.simulator.resources.common import List
from tillport.simulator.resources.search import SearchResult

MAX_DEPTH = 4
_Tree = dict[str, Any]


def _from(name: str) -> Callable[[Account, Any], Any]:
    def resolve(account: Account, value: Any) -> Any:
        return getattr(account, name).find(value) or value

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


def _within(account: Account, value: Any) -> Any:  # noqa: ARG001 - every resolver has the one signature
    """Return a hash as it is: only what it holds is expanded."""
    return value


def _refunds(account: Account, owner: Any) -> Any:
    page = account.refunds.page({"limit": 10}, where={"charge": owner.id})
    return List(data=page.data, has_more=page.has_more, url=f"/v1/charges/{owner.id}/refunds")


# By object: what may be expanded, and how its id becomes an object. None stands for fields that are always null here.
EXPANDABLE: dict[str, dict[str, Callable[..., Any] | None]] = {
    "charge": {
        "application": None,
        "application_fee": None,
        "balance_transaction": _txn,
        "customer": _from("customers"),
        "failure_balance_transaction": _txn,
        "on_behalf_of": None,
        "payment_intent": _from("payment_intents"),
        "refunds": _refunds,
        "review": None,
        "source_transfer": None,
    },
    "payment_intent": {
        "application": None,
        "customer": _from("customers"),
        "latest_charge": _from("charges"),
        "on_behalf_of": None,
        "payment_method": _method,
        "payment_record": None,
        "review": None,
    },
    "customer": {
        "cash_balance": lambda account, owner: cash.balance_of(account, owner.id),
        "default_source": lambda account, value: account.cards.find(value) or value,
        "sources": lambda account, owner: sources.of(account, owner.id, {"limit": 10}),
        "test_clock": None,
    },
    "customer_cash_balance_transaction": {
        "applied_to_payment": _within,
        "customer": _from("customers"),
        "unapplied_from_payment": _within,
    },
    "cash_for_payment": {"payment_intent": _from("payment_intents")},
    "card": {"customer": _from("customers")},
    "dispute": {"charge": _from("charges"), "payment_intent": _from("payment_intents")},
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
    },
}
_COMPUTED = {("charge", "refunds"), ("customer", "cash_balance"), ("customer", "sources")}


def expand(account: Account, value: Any, paths: Sequence[Any]) -> Any:
    """Return the value with the paths' ids replaced by objects; raise ApiError for a path that cannot be."""
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
    known = EXPANDABLE.get(kind) if isinstance(kind, str) else None
    changes: dict[str, Any] = {}
    for name, below in tree.items():
        if known is None or name not in known:
            raise _cannot(name)
        resolve = known[name]
        old = getattr(value, name, None)
        computed = (kind, name) in _COMPUTED
        if resolve is None or old is None or (old is msgspec.UNSET and not computed):
            continue
        new = resolve(account, value if computed else old)
        changes[name] = _apply(account, new, below) if below else new
    return msgspec.structs.replace(value, **changes) if changes else value


def _cannot(name: str) -> Exception:
    return invalid(f"This property cannot be expanded ({name[:100]}).", "expand")
