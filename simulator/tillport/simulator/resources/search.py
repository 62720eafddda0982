"""Search: Stripe's query language over charges, payment intents and customers (docs.stripe.com/search).

    status:'succeeded' AND amount>1000          -metadata['order']:null          email~'example'

A clause is a field, an operator and a value; `-` before it negates. Clauses are joined by AND (or a space) or by OR, not
by both. Which operators a field takes depends on its kind. Stripe's search is not read-after-write consistent; the
lag here is `account.search_lag_seconds`, nothing by default.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.collection import Collection
from tillport.simulator.errors import ApiError, invalid
from tillport.simulator.params import Spec
from tillport.simulator.resources.common import Call, Route

_CLAUSE = re.compile(
    r"""\s*(?P<not>-?)(?:metadata\[(?P<mq>["'])(?P<key>.*?)(?P=mq)\]|(?P<field>[a-z_.0-9]+))\s*"""
    r"""(?P<op>:|~|>=|<=|>|<)\s*"""
    r"""(?:(?P<q>["'])(?P<text>(?:\\.|(?!(?P=q))[^\\])*)(?P=q)|(?P<bare>-?[\w.]+))""",
    re.ASCII | re.DOTALL,
)
_JOIN = re.compile(r"\s+(AND|OR)\s+|\s+", re.ASCII)
MAX_CLAUSES = 10
SEARCH = Spec({"query": p.text(5000), "limit": p.limit, "page": p.string}, required=("query",))

# The kinds of fields: numbers are compared; tokens are equal or not; text may be looked into.
_NUMBER, _TOKEN, _TEXT = "number", "token", "text"
FIELDS: dict[str, dict[str, str]] = {
    "charges": {
        "amount": _NUMBER,
        "billing_details.address.postal_code": _TOKEN,
        "created": _NUMBER,
        "currency": _TOKEN,
        "customer": _TOKEN,
        "disputed": _TOKEN,
        "payment_method_details.card.brand": _TOKEN,
        "payment_method_details.card.exp_month": _TOKEN,
        "payment_method_details.card.exp_year": _TOKEN,
        "payment_method_details.card.fingerprint": _TOKEN,
        "payment_method_details.card.last4": _TOKEN,
        "refunded": _TOKEN,
        "status": _TOKEN,
    },
    "payment_intents": {
        "amount": _NUMBER,
        "created": _NUMBER,
        "currency": _TOKEN,
        "customer": _TOKEN,
        "status": _TOKEN,
    },
    "customers": {"created": _NUMBER, "email": _TEXT, "name": _TEXT, "phone": _TEXT},
}

Test = Callable[[Any], bool]


class SearchResult(msgspec.Struct, kw_only=True):
    object: str = "search_result"
    data: list[Any]
    has_more: bool
    next_page: str | None
    url: str


def compile_query(query: str, resource: str) -> Test:
    """Turn a query into a test of one object; raise ApiError for what Stripe would not read either."""
    text = query.strip()
    tests: list[Test] = []
    joins: set[str] = set()
    at = 0
    while True:
        clause = _CLAUSE.match(text, at)
        if clause is None:
            raise invalid(f"We were unable to parse your search query near {text[at : at + 30]!r}.", "query")
        tests.append(_test(clause, resource))
        at = clause.end()
        if at == len(text):
            break
        join = _JOIN.match(text, at)
        if join is None:
            raise invalid(f"We were unable to parse your search query near {text[at : at + 30]!r}.", "query")
        joins.add(join.group(1) or "AND")
        at = join.end()
    if len(joins) > 1:
        raise invalid("You cannot combine AND and OR in one search query.", "query")
    if len(tests) > MAX_CLAUSES:
        raise invalid(f"A search query can have at most {MAX_CLAUSES} clauses.", "query")
    together = any if joins == {"OR"} else all
    return lambda row: together(test(row) for test in tests)


def _test(clause: "re.Match[str]", resource: str) -> Test:
    op, key, field = clause.group("op"), clause.group("key"), clause.group("field")
    quoted = clause.group("q") is not None
    wanted = re.sub(r"\\(.)", r"\1", clause.group("text")) if quoted else clause.group("bare")
    if key is not None:
        kind, shown = _TOKEN, f"metadata[{key!r}]"
    elif field in FIELDS[resource]:
        kind, shown = FIELDS[resource][field], field
    else:
        raise invalid(
            f"Field `{field}` is an unsupported search field for resource `{resource}`. See "
            f"https://stripe.com/docs/search#query-fields-for-{resource.replace('_', '-')} for a list of supported fields.",
            "query",
        )
    test = _compare(op, kind, wanted, _reader(key, field), shown, quoted=quoted)
    return (lambda row: not test(row)) if clause.group("not") else test


def _reader(key: str | None, field: str | None) -> Callable[[Any], Any]:
    if key is not None:
        return lambda row: row.metadata.get(key)
    parts = (field or "").split(".")

    def read(row: Any) -> Any:
        for part in parts:
            # What no card paid has no `card` in its details.
            row = getattr(row, part, None)
        return row

    return read


def _compare(
    op: str, kind: str, wanted: str, read: Callable[[Any], Any], field: str, *, quoted: bool
) -> Test:
    if not quoted and wanted == "null":
        if op != ":":
            raise _unfit(op, field)
        return lambda row: read(row) is None
    if kind == _NUMBER:
        if op == "~":
            raise _unfit(op, field)
        try:
            number = int(wanted)
        except ValueError:
            raise invalid(
                f"The search field `{field}` is a number; {wanted[:40]!r} is none.", "query"
            ) from None
        return {
            ":": lambda row: read(row) == number,
            ">": lambda row: read(row) > number,
            "<": lambda row: read(row) < number,
            ">=": lambda row: read(row) >= number,
            "<=": lambda row: read(row) <= number,
        }[op]
    low = wanted.lower()
    if op == ":":
        return lambda row: (have := read(row)) is not None and _word(have) == low
    if op == "~" and kind == _TEXT:
        if len(low) < 3:
            raise invalid(
                f"Substring search on `{field}` needs at least three characters; {wanted!r} has fewer.",
                "query",
            )
        return lambda row: low in (read(row) or "").lower()
    raise _unfit(op, field)


def _word(value: Any) -> str:
    return str(value).lower()


def _unfit(op: str, field: str) -> ApiError:
    return invalid(f"The search field `{field}` does not support the operator `{op}`.", "query")


def _search(account: Account, params: dict[str, Any], resource: str) -> SearchResult:
    rows: Collection[Any] = getattr(account, resource)
    test = compile_query(params["query"], resource)
    visible = account.now() - account.search_lag_seconds
    page: dict[str, Any] = {"limit": params.get("limit", 10)}
    if params.get("page"):
        if rows.find(params["page"]) is None:
            raise invalid("Invalid page: use the next_page of a search with the same query.", "page")
        page["starting_after"] = params["page"]
    found = rows.page(page, accept=lambda row: row.created <= visible and test(row))
    return SearchResult(
        data=found.data,
        has_more=found.has_more,
        next_page=found.data[-1].id if found.has_more else None,
        url=f"/v1/{resource}/search",
    )


def payment_intents_search(account: Account, call: Call, params: dict[str, Any]) -> SearchResult:
    return _search(account, params, "payment_intents")


def charges_search(account: Account, call: Call, params: dict[str, Any]) -> SearchResult:
    return _search(account, params, "charges")


def customers_search(account: Account, call: Call, params: dict[str, Any]) -> SearchResult:
    return _search(account, params, "customers")


ROUTES = (
    Route("GET", "/v1/payment_intents/search", payment_intents_search, SEARCH),
    Route("GET", "/v1/charges/search", charges_search, SEARCH),
    Route("GET", "/v1/customers/search", customers_search, SEARCH),
)
