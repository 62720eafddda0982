"""Setup attempts: each try of a setup intent, and how it went."""

from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.params import Spec
from tillport.simulator.resources.card_details import Checks
from tillport.simulator.resources.common import Call, List, Route
from tillport.simulator.resources.payment_methods import PaymentMethod
from tillport.simulator.resources.three_d_secure import ThreeDSecure


class AttemptedCard(msgspec.Struct, frozen=True, kw_only=True):
    brand: str
    checks: Checks
    country: str | None
    exp_month: int
    exp_year: int
    fingerprint: str
    funding: str
    last4: str
    network: str
    three_d_secure: ThreeDSecure | None
    wallet: None = None


class AttemptedMethod(msgspec.Struct, frozen=True):
    card: AttemptedCard
    type: str = "card"


class SetupAttempt(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "setup_attempt"
    application: None = None
    created: int
    customer: Any
    customer_account: None = None
    flow_directions: None = None
    livemode: bool = False
    on_behalf_of: None = None
    payment_method: Any
    payment_method_details: AttemptedMethod
    setup_error: dict[str, Any] | None
    setup_intent: Any
    status: str
    usage: str


def record(
    account: Account,
    intent: Any,
    method: PaymentMethod,
    status: str,
    three_d_secure: ThreeDSecure | None,
    error: dict[str, Any] | None = None,
) -> SetupAttempt:
    card = method.card
    return account.setup_attempts.add(
        SetupAttempt(
            id=account.ids.own("setatt_"),
            created=int(account.now()),
            customer=intent.customer,
            payment_method=method.id,
            payment_method_details=AttemptedMethod(
                AttemptedCard(
                    brand=card.brand,
                    checks=card.checks,
                    country=card.country,
                    exp_month=card.exp_month,
                    exp_year=card.exp_year,
                    fingerprint=card.fingerprint,
                    funding=card.funding,
                    last4=card.last4,
                    network=card.brand,
                    three_d_secure=three_d_secure,
                )
            ),
            setup_error=error,
            setup_intent=intent.id,
            status=status,
            usage=intent.usage,
        )
    )


LIST = Spec({**p.list_spec(setup_intent=p.string).fields}, required=("setup_intent",))


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    account.setup_intents.get(params["setup_intent"], "setup_intent", status=400)
    page = account.setup_attempts.page(params, where={"setup_intent": params["setup_intent"]})
    return List(data=page.data, has_more=page.has_more, url="/v1/setup_attempts")


ROUTES = (Route("GET", "/v1/setup_attempts", list_, LIST),)
