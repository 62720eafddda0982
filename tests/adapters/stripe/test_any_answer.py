"""Whatever comes back, the gateway answers with a payment or with an error of its port, and errs towards doubt."""

import json

import stripe
from hypothesis import example, given
from hypothesis import strategies as st

from tillport.adapters.stripe import Patience, StripeConnection, StripeGateway
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder, GatewayError, OutcomeUnknown, Payment

ORDER = ChargeOrder("tok_1Abc", Money(1250, "usd"))
NOTHING_MOVED_STATUS = {400, 401, 402, 403, 404, 429}


class Wire(stripe.HTTPClient):
    """Answers every request with the same bytes."""

    name = "wire"

    def __init__(self, status, body, headers):
        super().__init__()
        self._answer = body, status, headers

    async def request_async(self, method, url, headers, post_data=None):
        return self._answer

    async def close_async(self):
        pass


class Still:
    """A clock at which nobody waits."""

    def now(self):
        return 1_700_000_000.0

    async def sleep_until(self, moment):
        pass


words = st.sampled_from(
    "id object type code param message status error charge payment_intent latest_charge metadata has_more data "
    "card_error invalid_request_error api_error idempotency_error rate_limit lock_timeout succeeded processing "
    "requires_action requires_payment_method payment_intent pi_1 ch_1 decline_code last_payment_error".split()
)
leaves = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), words, st.text(max_size=5))
anything = st.recursive(
    leaves, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=6))
)
errors = st.fixed_dictionaries({"error": st.dictionaries(words, anything, max_size=8)})
intents = st.fixed_dictionaries(
    {"id": st.just("pi_1"), "object": st.just("payment_intent"), "status": words},
    optional={"latest_charge": anything, "last_payment_error": anything, "metadata": anything},
)
bodies = st.one_of(
    st.binary(max_size=40),
    st.one_of(anything, errors, intents).map(lambda value: json.dumps(value).encode()),
)
statuses = st.one_of(
    st.sampled_from([200, 400, 401, 402, 403, 404, 409, 429, 500, 503]), st.integers(100, 599)
)
headers = st.dictionaries(
    st.sampled_from(["request-id", "stripe-should-retry", "idempotent-replayed", "stripe-notice"]),
    st.sampled_from(["true", "false", "req_1", "", "é"]),
)


async def _outcome(gateway, ask):
    try:
        return await ask(gateway)
    except GatewayError as error:
        return error


def _gateway(status, body, headers):
    wire = Wire(status, body, headers)
    connection = StripeConnection(
        "sk_test_1", clock=Still(), base_address="http://x", patience=Patience(max_tries=2), http_client=wire
    )
    return StripeGateway(connection)


@given(statuses, bodies, headers)
@example(
    402, b'{"error": {"type": "card_error", "payment_intent": {"id": "pi_1", "status": "succeeded"}}}', {}
)
async def test_every_answer_to_a_charge_is_judged_and_in_doubt_unknown(status, body, headers):
    outcome = await _outcome(
        _gateway(status, body, headers), lambda it: it.charge(ORDER, idempotency_key="key-1")
    )
    assert isinstance(outcome, Payment | GatewayError)
    if isinstance(outcome, Payment):
        assert 200 <= status < 300
        assert json.loads(body)["object"] == "payment_intent"
    elif type(outcome) is not OutcomeUnknown and not 200 <= status < 300:
        assert status in NOTHING_MOVED_STATUS
        assert json.loads(body)["error"]["type"] != "idempotency_error"


@given(statuses, bodies, headers)
async def test_no_answer_to_find_proves_absence_but_an_empty_list(status, body, headers):
    ask = lambda it: it.find("key-1", tried_from=0, tried_until=0)  # noqa: E731 - it is handed on
    outcome = await _outcome(_gateway(status, body, headers), ask)
    assert outcome is None or isinstance(outcome, Payment | GatewayError)
    if outcome is None:
        assert 200 <= status < 300
        assert json.loads(body)["has_more"] is False
