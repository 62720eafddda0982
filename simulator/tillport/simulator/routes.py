"""Every route of the simulator in one tree, put together from the resources' tables."""

from typing import Any
from urllib.parse import unquote

from tillport.simulator.errors import ApiError, not_modelled
from tillport.simulator.resources import (
    accounts,
    balance,
    balance_transactions,
    cash_balances,
    charges,
    confirmation_tokens,
    customers,
    disputes,
    early_fraud_warnings,
    event_destinations,
    events,
    payment_intents,
    payment_methods,
    refunds,
    search,
    setup_attempts,
    setup_intents,
    sources,
    tokens,
    webhook_endpoints,
)
from tillport.simulator.resources.common import Route

# Literal paths come before `{id}` ones wherever both fit: /v1/charges/search is no charge.
ROUTES: tuple[Route, ...] = (
    *tokens.ROUTES,
    *payment_methods.ROUTES,
    *payment_intents.ROUTES,
    *setup_intents.ROUTES,
    *setup_attempts.ROUTES,
    *confirmation_tokens.ROUTES,
    *charges.ROUTES,
    *refunds.ROUTES,
    *customers.ROUTES,
    *cash_balances.ROUTES,
    *sources.ROUTES,
    *disputes.ROUTES,
    *early_fraud_warnings.ROUTES,
    *balance_transactions.ROUTES,
    *balance.ROUTES,
    *accounts.ROUTES,
    *events.ROUTES,
    *event_destinations.ROUTES,
    *webhook_endpoints.ROUTES,
    *search.ROUTES,
)

# Real resources of Stripe's that are not modelled: they are refused by name instead of as unknown URLs.
NOT_MODELLED = frozenset(
    "account_links account_sessions accounts apple_pay application_fees apps balance_settings billing "
    "billing_portal checkout climate country_specs coupons credit_notes customer_sessions entitlements "
    "ephemeral_keys exchange_rates file_links files financial_connections forwarding identity "
    "invoice_payments invoice_rendering_templates invoiceitems invoices issuing mandates "
    "payment_attempt_records payment_links payment_method_configurations payment_method_domains "
    "payment_records payouts plans prices product_catalog products promotion_codes quotes radar reporting "
    "reviews shipping_rates sigma sources subscription_items subscription_schedules subscriptions tax "
    "tax_codes tax_ids tax_rates terminal test_helpers three_d_secure topups transfers treasury "
    "webhook_settings".split()
)

# What real paths have below modelled resources.
NOT_MODELLED_BELOW = frozenset(
    "amount_details_line_items apply_customer_balance balance_transactions bank_accounts capabilities cash_balance "
    "cash_balance_transactions discount external_accounts funding_instructions increment_authorization login_links "
    "people persons ping refresh reject source_cancel subscriptions tax_ids verify verify_microdeposits".split()
)

_Node = dict[str, Any]


def _tree() -> _Node:
    root: _Node = {}
    for route in ROUTES:
        node = root
        for part in route.path.split("/")[1:]:
            node = node.setdefault("{}" if part.startswith("{") else part, {})
        node.setdefault("//", {})[route.method] = route
    return root


_ROOT = _tree()


def find(method: str, path: str) -> tuple[Route, list[str]]:
    """Return the route of a request and its ids; raise Stripe's 404 for an unknown one."""
    node = _ROOT
    ids: list[str] = []
    parts = path.split("/")[1:]
    for part in parts:
        below = node.get(part)
        if below is None or part == "{}":
            below = node.get("{}") if part else None
            if below is None:
                raise _unknown(method, path, parts)
            ids.append(unquote(part, errors="replace") if "%" in part else part)
        node = below
    by_method = node.get("//")
    route = by_method.get(method) if by_method else None
    if route is None:
        raise _unknown(method, path, parts)
    return route, ids


def _unknown(method: str, path: str, parts: list[str]) -> ApiError:
    if parts[0] == "v2" and len(parts) > 1:
        return not_modelled(f"{method} {path[:200]}")
    if parts[0] == "v1" and (
        (len(parts) > 1 and parts[1] in NOT_MODELLED)
        or (len(parts) > 3 and not NOT_MODELLED_BELOW.isdisjoint(parts[3:]))
    ):
        return not_modelled(f"{method} {path[:200]}")
    hint = (
        " (Did you mean to give an id? The URL ends in a slash, which is what an empty id looks like.)"
        if path.endswith("/")
        else ""
    )
    return ApiError(
        404,
        f"Unrecognized request URL ({method}: {path[:200]}). Please see https://stripe.com/docs or we can help at "
        f"https://support.stripe.com/.{hint}",
    )
