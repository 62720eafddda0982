"""Search, the part that integrations use: equality on metadata and a few fields, joined by AND.

Stripe's search is not read-after-write consistent; here the lag is `account.search_lag_seconds`, nothing by default.
Terms that are not modelled are refused by name, so that no test passes on a filter that was ignored.
"""

import re
from collections.abc import Callable
from typing import Any

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.collection import Collection
from tillport.simulator.errors import invalid, not_modelled
from tillport.simulator.params import Spec
from tillport.simulator.resources.common import Call, Route

_TERM = re.compile(
    r"""\s*(-?)\s*(?:metadata\[(?P<mq>["'])(?P<key>.+?)(?P=mq)\]|(?P<field>[a-z_.]+))\s*(?P<op>:|~|>=|<=|>|<)\s*"""
    r"""(?:(?P<q>["'])(?P<text>(?:\\.|(?!(?P=q)).)*)(?P=q)|(?P<bare>[\w.]+))\s*""",
    re.ASCII,
)
SEARCH = Spec({"query": p.string, "limit": p.limit, "page": p.string}, required=("query",))
FIELDS = {
    "payment_intents": ("amount", "created", "currency", "customer", "status"),
    "charges": ("amount", "created", "currency", "customer", "disputed", "refunded", "status"),
    "customers": ("created", "email", "name", "phone"),
}

Test = Callable[[Any], bool]


def compile_query(query: str, fields: tuple[str, ...]) -> Test:
    """Turn Stripe's query language into a test; raise ApiError for what cannot be read."""
    tests: list[Test] = []
    joins: set[str] = set()
    at = 0
    while True:
        match = _TERM.match(query, at)
        if match is None:
            raise invalid(f"We were unable to parse your search query near {query[at : at + 30]!r}.", "query")
        tests.append(_test(match, fields))
        at = match.end()
        if at >= len(query):
            break
        join = re.match(r"(AND|OR)\s", query[at:])
        joins.add(join.group(1) if join else "AND")
        at += join.end() if join else 0
    if len(joins) > 1:
        raise invalid("You cannot combine AND and OR in one search query.", "query")
    together = any if joins == {"OR"} else all
    return lambda row: together(test(row) for test in tests)


def _test(match: "re.Match[str]", fields: tuple[str, ...]) -> Test:
    negated = match.group(1) == "-"
    op, key, field = match.group("op"), match.group("key"), match.group("field")
    wanted = match.group("text") if match.group("q") else match.group("bare")
    wanted = re.sub(r"\\(.)", r"\1", wanted)
    if field is not None and field not in fields:
        raise not_modelled(f"the search field {field!r}", "query")

    def value(row: Any) -> Any:
        return row.metadata.get(key) if key is not None else getattr(row, field or "")

    def test(row: Any) -> bool:
        have = value(row)
        if have is None:
            return wanted == "null"
        if op == ":":
            shown = str(have).lower() if isinstance(have, bool) else str(have)
            return shown.lower() == wanted.lower()
        if op == "~":
            return wanted.lower() in str(have).lower()
        try:
            left, right = float(have), float(wanted)
        except ValueError:
            return False
        return {">": left > right, "<": left < right, ">=": left >= right, "<=": left <= right}[op]

    return (lambda row: not test(row)) if negated else test


def _search(account: Account, call: Call, params: dict[str, Any], resource: str) -> dict[str, Any]:
    rows: Collection[Any] = getattr(account, resource)
    test = compile_query(params["query"], FIELDS[resource])
    limit = params.get("limit", 10)
    visible = account.now() - account.search_lag_seconds
    page: dict[str, Any] = {"limit": limit}
    if params.get("page"):
        page["starting_after"] = params["page"]
    found = rows.page(page, accept=lambda row: row.created <= visible and test(row))
    return {
        "object": "search_result",
        "data": found.data,
        "has_more": found.has_more,
        "next_page": found.data[-1].id if found.has_more else None,
        "url": f"/v1/{resource}/search",
    }


def payment_intents_search(account: Account, call: Call, params: dict[str, Any]) -> dict[str, Any]:
    return _search(account, call, params, "payment_intents")


def charges_search(account: Account, call: Call, params: dict[str, Any]) -> dict[str, Any]:
    return _search(account, call, params, "charges")


def customers_search(account: Account, call: Call, params: dict[str, Any]) -> dict[str, Any]:
    return _search(account, call, params, "customers")


ROUTES = (
    Route("GET", "/v1/payment_intents/search", payment_intents_search, SEARCH),
    Route("GET", "/v1/charges/search", charges_search, SEARCH),
    Route("GET", "/v1/customers/search", customers_search, SEARCH),
)
