"""The account itself, as its own key sees it: `GET /v1/account`."""

from typing import Any

from tillport.simulator.account import Account
from tillport.simulator.errors import ApiError
from tillport.simulator.resources.common import Call, Route

_NO_REQUIREMENTS: dict[str, Any] = {
    "alternatives": [],
    "current_deadline": None,
    "currently_due": [],
    "disabled_reason": None,
    "errors": [],
    "eventually_due": [],
    "past_due": [],
    "pending_verification": [],
}


def shown(account: Account) -> dict[str, Any]:
    """Return the account object: a finished test account that takes cards."""
    return {
        "id": account.id,
        "object": "account",
        "business_profile": {
            "mcc": "5734",
            "name": "Tillport",
            "product_description": None,
            "support_address": None,
            "support_email": None,
            "support_phone": None,
            "support_url": None,
            "url": None,
        },
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": account.country,
        "created": account.created,
        "default_currency": account.currency,
        "details_submitted": True,
        "email": "owner@simulator.invalid",
        "external_accounts": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/accounts/{account.id}/external_accounts",
        },
        "future_requirements": _NO_REQUIREMENTS,
        "metadata": {},
        "payouts_enabled": True,
        "requirements": _NO_REQUIREMENTS,
        "settings": {
            "bacs_debit_payments": {"display_name": None, "service_user_number": None},
            "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
            "card_issuing": {"tos_acceptance": {"date": None, "ip": None}},
            "card_payments": {
                "decline_on": {"avs_failure": False, "cvc_failure": False},
                "statement_descriptor_prefix": "TILLPORT",
                "statement_descriptor_prefix_kana": None,
                "statement_descriptor_prefix_kanji": None,
            },
            "dashboard": {"display_name": "Tillport", "timezone": "Etc/UTC"},
            "invoices": {"default_account_tax_ids": None, "hosted_payment_method_save": "offer"},
            "payments": {
                "statement_descriptor": "TILLPORT",
                "statement_descriptor_kana": None,
                "statement_descriptor_kanji": None,
            },
            "payouts": {
                "debit_negative_balances": True,
                "schedule": {"delay_days": 2, "interval": "daily"},
                "statement_descriptor": None,
            },
            "sepa_debit_payments": {},
        },
        "tos_acceptance": {"date": None, "ip": None, "user_agent": None},
        "type": "standard",
    }


def current(account: Account, call: Call, params: dict[str, Any]) -> dict[str, Any]:
    return shown(account)


def retrieve(account: Account, call: Call, params: dict[str, Any], account_id: str) -> dict[str, Any]:
    if account_id != account.id:
        raise ApiError(
            403,
            f"The provided key does not have access to account '{account_id[:60]}' (or that account does not exist). "
            "Tillport's simulator models no connected accounts.",
            code="account_invalid",
            stored=False,
        )
    return shown(account)


ROUTES = (
    Route("GET", "/v1/account", current, resource="accounts", name="retrieve_current"),
    Route("GET", "/v1/accounts/{account}", retrieve),
)
