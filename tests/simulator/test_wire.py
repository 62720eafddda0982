"""Bytes and headers: keys, idempotency, forms, lists, expansion, errors."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
import stripe

from tillport.simulator import ApiError, Fault, Faults, ManualClock, Request, Response, Simulator
from tillport.simulator.form import decode, listed
from tillport.simulator.sdk import SimulatorHTTPClient

PAY = {"amount": "2000", "currency": "usd", "confirm": "true", "payment_method": "pm_card_visa"}
INTENTS = "/v1/payment_intents"
Call = Callable[..., Response]
Decoded = Callable[[Response], Any]


def test_a_key_is_wanted_and_a_live_one_refused_with_the_reason(
    sim: Simulator, call: Call, decoded: Decoded
) -> None:
    assert sim.handle(Request("GET", INTENTS)).status == 401
    assert "Invalid API Key provided: sk_test_wro**********one1" in decoded(
        call("GET", INTENTS, auth="sk_test_wrong_key_that_is_one1")
    )["error"]["message"].replace("*" * 15, "*" * 10)
    live = decoded(call("GET", INTENTS, auth="sk_live_51abcdefghijk"))
    assert "takes no live-mode keys" in live["error"]["message"]


def test_basic_and_bearer_are_both_taken(sim: Simulator, call: Call) -> None:
    basic = "Basic " + b64encode(f"{sim.secret_key}:".encode()).decode()
    assert sim.handle(Request("GET", INTENTS, {"authorization": basic})).status == 200
    assert call("GET", INTENTS).status == 200


def test_a_publishable_key_tokenises_and_no_more(sim: Simulator, call: Call, decoded: Decoded) -> None:
    card = {
        "card[number]": "4242424242424242",
        "card[exp_month]": "12",
        "card[exp_year]": "30",
        "card[cvc]": "123",
    }
    assert decoded(call("POST", "/v1/tokens", card, auth=sim.publishable_key))["id"].startswith("tok_1")
    refused = call("POST", INTENTS, PAY, auth=sim.publishable_key)
    assert refused.status == 403
    intent = sim.payment_intents.create(amount=2000, currency="usd")
    path = f"{INTENTS}/{intent.id}"
    assert call("GET", path, auth=sim.publishable_key).status == 400
    seen = decoded(call("GET", f"{path}?client_secret={intent.client_secret}", auth=sim.publishable_key))
    assert "metadata" not in seen
    assert seen["status"] == "requires_payment_method"


@pytest.mark.parametrize("kind", ["payment_intent", "setup_intent"])
@pytest.mark.parametrize("method", ["pm_card_chargeDeclined", None])
def test_a_refusal_shows_a_publishable_key_no_more_than_an_answer_does(
    sim: Simulator, call: Call, decoded: Decoded, kind: str, method: str | None
) -> None:
    money: Any = {"amount": 2000, "currency": "usd"} if kind == "payment_intent" else {}
    intent = getattr(sim, f"{kind}s").create(**money, metadata={"margin": "40 %"})
    path, secret = f"/v1/{kind}s/{intent.id}", {"client_secret": intent.client_secret}
    form = secret | ({} if method is None else {"payment_method": method})
    error = decoded(call("POST", f"{path}/confirm", form, auth=sim.publishable_key, key="k"))["error"]
    shown = decoded(call("GET", f"{path}?client_secret={intent.client_secret}", auth=sim.publishable_key))
    assert error[kind].keys() == shown.keys()
    assert "metadata" not in shown
    seen = decoded(call("POST", f"{path}/confirm", form))["error"]
    assert seen[kind]["metadata"] == {"margin": "40 %"}


def test_nothing_is_done_in_the_name_of_another_account(sim: Simulator, call: Call, decoded: Decoded) -> None:
    def refused(response: Response) -> tuple[int, str]:
        return response.status, decoded(response)["error"]["code"]

    other, form = "acct_1OfSomebodyElse", PAY | {"_stripe_account": "acct_1OfSomebodyElse"}
    assert refused(call("POST", INTENTS, PAY, stripe_account=other)) == (403, "account_invalid")
    # As Stripe.js names it, whose token would be of no use here.
    assert refused(call("POST", INTENTS, form)) == (403, "account_invalid")
    assert refused(call("POST", INTENTS, PAY, stripe_context=other)) == (400, "simulator_not_modelled")
    assert sim.payment_intents.list().data == []
    own = sim.account.id
    for named in ({"stripe_account": own}, {"stripe_context": own}):
        assert call("POST", INTENTS, PAY, **named).status == 200
    assert call("POST", INTENTS, PAY | {"_stripe_account": own}).status == 200


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("2026-10-28.endive", 200),
        ("2026-08-26.preview", 200),
        ("2025-09-30.clover", 200),
        ("2024-06-20", 200),
        # What Stripe publishes later is not known here.
        ("2031-03-30.next", 200),
        ("2026-10-28.preview; first_beta=v3; second_beta=v1; third_beta=v1; fourth_beta=v2", 200),
        ("2025-09-30.acacia", 400),
        ("2025-03-31.acacia", 400),
        ("2024-09-29.acacia", 400),
        ("2026-13-01", 400),
        ("2026-2-19", 400),
        ("latest", 400),
    ],
)
def test_a_version_that_never_was_is_refused(call: Call, decoded: Decoded, version: str, status: int) -> None:
    answer = call("GET", INTENTS, stripe_version=version)
    assert answer.status == status
    if status == 400:
        assert decoded(answer)["error"]["message"] == f"Invalid Stripe API version: {version}"
    if ";" not in version:
        hook = {"url": "https://shop.test/hook", "enabled_events[]": "*", "api_version": version}
        assert call("POST", "/v1/webhook_endpoints", hook).status == status


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (INTENTS, "customer"),
        (INTENTS, "payment_method"),
        ("/v1/setup_intents", "customer"),
        ("/v1/charges", "customer"),
        ("/v1/refunds", "payment_intent"),
    ],
)
def test_an_empty_id_is_refused_and_not_taken_for_none(
    call: Call, decoded: Decoded, path: str, name: str
) -> None:
    # It is what stripe-node sends for null.
    paid = decoded(call("POST", INTENTS, PAY))
    form = {
        INTENTS: {"amount": "2000", "currency": "usd"},
        "/v1/setup_intents": {},
        "/v1/charges": {"amount": "2000", "currency": "usd", "source": "tok_visa"},
        "/v1/refunds": {"charge": paid["latest_charge"]},
    }[path]
    error = decoded(call("POST", path, {**form, name: ""}))["error"]
    assert (error["code"], error["param"]) == ("parameter_invalid_empty", name)
    assert call("POST", path, form).status == 200


def test_a_key_replays_its_answer_and_charges_once(sim: Simulator, call: Call) -> None:
    first = call("POST", INTENTS, PAY, key="order-1")
    again = call("POST", INTENTS, PAY, key="order-1")
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Original-Request"] == first.headers["Request-Id"] != again.headers["Request-Id"]
    assert len(sim.payment_intents.list().data) == 1
    event = sim.events.list(type="charge.succeeded").data[0]
    assert (event.request.id, event.request.idempotency_key) == (first.headers["Request-Id"], "order-1")


def test_a_replay_is_the_answer_as_it_was(sim: Simulator, call: Call) -> None:
    form = {"amount": "2000", "currency": "usd"}
    first = call("POST", INTENTS, form, key="k")
    sim.payment_intents.cancel(sim.payment_intents.list().data[0].id)
    assert call("POST", INTENTS, form, key="k").body == first.body


def test_a_key_with_other_parameters_is_a_mismatch(call: Call, decoded: Decoded) -> None:
    call("POST", INTENTS, PAY, key="k")
    other = call("POST", INTENTS, PAY | {"amount": "2001"}, key="k")
    assert (other.status, decoded(other)["error"]["type"]) == (400, "idempotency_error")


def test_a_key_means_the_same_to_the_object_and_on_the_wire(
    sim: Simulator, call: Call, decoded: Decoded
) -> None:
    pay: Any = {**PAY, "amount": 2000, "confirm": True, "metadata": {"order": 1}}
    form = PAY | {"metadata[order]": "1"}
    first = sim.payment_intents.create(**pay, idempotency_key="k")
    assert sim.payment_intents.create(**pay, idempotency_key="k") == first
    assert decoded(call("POST", INTENTS, form, key="k"))["id"] == first.id
    with pytest.raises(ApiError) as refused:
        sim.payment_intents.create(**(pay | {"amount": 2001}), idempotency_key="k")
    assert (refused.value.status, refused.value.type) == (400, "idempotency_error")
    with pytest.raises(ApiError, match="same parameters"):
        sim.payment_intents.confirm(first.id, idempotency_key="k")
    with pytest.raises(ApiError, match="at most 255"):
        sim.payment_intents.create(**pay, idempotency_key="k" * 256)
    assert len(sim.charges.list().data) == 1
    call("POST", INTENTS, form, key="w")
    sim.payment_intents.create(**pay, idempotency_key="w")
    assert len(sim.charges.list().data) == 2


def test_the_object_writes_values_as_the_sdk_sends_them(sim: Simulator) -> None:
    odd: Any = {"paid": True, "left": False, "tries": 3}
    client = stripe.StripeClient(sim.secret_key, http_client=SimulatorHTTPClient(sim))
    told = client.v1.customers.create({"metadata": odd, "description": odd["paid"]})
    made = sim.customers.create(metadata=odd, description=odd["paid"])
    assert made.metadata == told.metadata.to_dict() == {"paid": "true", "left": "false", "tries": "3"}
    assert made.description == told.description == "true"


def test_the_object_repeats_a_decline_under_its_key(clock: ManualClock) -> None:
    sim = Simulator(clock=clock, seed=1, journal=100)
    declined: Any = {**PAY, "payment_method": "pm_card_chargeDeclined"}
    met = []
    for _ in range(2):
        with pytest.raises(ApiError) as refused:
            sim.payment_intents.create(**declined, idempotency_key="d")
        met.append((refused.value.status, refused.value.body()))
    assert met[0] == met[1]
    assert met[0][1]["error"]["payment_intent"].status == "requires_payment_method"
    assert len(sim.charges.list().data) == 1
    requests = sim.journal.find("request", f"POST {INTENTS}")
    assert [(entry.value.status, entry.value.replayed) for entry in requests] == [(402, False), (402, True)]


def test_a_decline_is_remembered_and_a_refused_parameter_is_not(sim: Simulator, call: Call) -> None:
    no = PAY | {"payment_method": "pm_card_chargeDeclined"}
    assert [call("POST", INTENTS, no, key="d").status for _ in range(2)] == [402, 402]
    assert len(sim.charges.list().data) == 1
    assert call("POST", INTENTS, PAY | {"amount": "x"}, key="v").status == 400
    assert call("POST", INTENTS, PAY, key="v").status == 200


def test_a_key_is_new_again_after_a_day(sim: Simulator, call: Call) -> None:
    call("POST", INTENTS, PAY, key="k")
    sim.advance(24 * 3600)
    call("POST", INTENTS, PAY, key="k")
    assert len(sim.payment_intents.list().data) == 2


def test_a_key_in_flight_is_a_409(sim: Simulator, call: Call, decoded: Decoded) -> None:
    sim.script(Fault(kind="slow", seconds=5))
    assert call("POST", INTENTS, PAY, key="k").delay_seconds == 5
    conflict = call("POST", INTENTS, PAY, key="k")
    assert (conflict.status, decoded(conflict)["error"]["code"]) == (409, "idempotency_key_in_use")
    sim.advance(5)
    assert call("POST", INTENTS, PAY, key="k").status == 200


def test_no_key_is_in_use_where_none_counts(sim: Simulator, call: Call) -> None:
    sim.script(Fault(kind="key_in_use"))
    assert call("GET", INTENTS, key="k").status == 200
    assert call("POST", INTENTS, PAY).status == 200
    assert [call("POST", INTENTS, PAY, key="k").status for _ in range(2)] == [409, 200]
    sim.set_faults(Faults(key_in_use=1.0))
    assert (call("GET", INTENTS, key="k").status, call("POST", INTENTS, PAY, key="k").status) == (200, 409)


def test_a_clock_that_was_set_back_hides_nothing_and_keeps_no_key_in_flight() -> None:
    class Machine(ManualClock):
        def now(self) -> float:
            return super().now() + ahead

    ahead = 60.0
    sim = Simulator(clock=Machine(1_800_000_000), seed=1)
    first = sim.payment_intents.create(amount=2000, currency="usd", idempotency_key="k")
    ahead = 0.0
    assert sim.payment_intents.create(amount=2000, currency="usd", idempotency_key="k").id == first.id
    second = sim.payment_intents.create(amount=2000, currency="usd")
    ahead = 120.0
    third = sim.payment_intents.create(amount=2000, currency="usd")

    def ids(sim: Simulator, **created: int) -> list[str]:
        return [i.id for i in sim.payment_intents.list(created=created).data]

    for simulator in (sim, sim.freeze().fork()):
        assert ids(simulator, gte=1_800_000_060) == [third.id, first.id]
        assert ids(simulator, lt=1_800_000_060) == [second.id]
        assert ids(simulator) == [third.id, second.id, first.id]


def test_an_answer_lost_after_success_is_replayed_under_its_key(sim: Simulator, call: Call) -> None:
    sim.script("answer_lost")
    assert call("POST", INTENTS, PAY, key="k").connection == "reset"
    retried = call("POST", INTENTS, PAY, key="k")
    assert (retried.status, retried.headers["Idempotent-Replayed"]) == (200, "true")
    assert len(sim.payment_intents.list().data) == 1


def test_the_answer_of_a_decline_may_be_lost_too(sim: Simulator, call: Call) -> None:
    no = PAY | {"payment_method": "pm_card_chargeDeclined"}
    sim.script("answer_lost")
    # Nothing was done for a refused parameter: the fault waits for what was.
    assert call("POST", INTENTS, no | {"amount": "x"}, key="d").connection == "ok"
    assert call("POST", INTENTS, no, key="d").connection == "reset"
    retried = call("POST", INTENTS, no, key="d")
    assert (retried.status, retried.headers["Idempotent-Replayed"]) == (402, "true")
    assert len(sim.charges.list().data) == 1
    sim.script("answer_lost")
    assert call("POST", INTENTS, no).connection == "reset"


def test_an_answer_that_was_told_is_not_forgotten_over_a_failing_replay(sim: Simulator, call: Call) -> None:
    first = call("POST", INTENTS, PAY, key="k")
    sim.script("error_after")
    assert [call("POST", INTENTS, PAY, key="k").status for _ in range(2)] == [500, 200]
    assert call("POST", INTENTS, PAY, key="k").body == first.body


@pytest.mark.parametrize(
    ("kind", "status", "effects"),
    [
        ("error_before", 500, 0),
        ("unavailable", 503, 0),
        ("rate_limited", 429, 0),
        ("lock_timeout", 429, 0),
        ("approval_required", 400, 0),
        ("error_after", 500, 1),
    ],
)
def test_faults_strike_before_or_after_the_effect(
    sim: Simulator, call: Call, kind: str, status: int, effects: int
) -> None:
    sim.script(kind)
    assert call("POST", INTENTS, PAY, key="k").status == status
    assert len(sim.payment_intents.list().data) == effects
    # What failed before the work is forgotten; a failure after it is remembered, as Stripe does.
    assert call("POST", INTENTS, PAY, key="k").status == (500 if effects else 200)


@pytest.mark.parametrize("odd", [{"times": 0}, {"times": -1}, {"skip": -1}, {"seconds": -0.1}])
def test_a_fault_that_could_never_strike_is_refused(odd: dict[str, Any]) -> None:
    # It struck once all the same.
    with pytest.raises(ValueError, match="once or more"):
        Fault(kind="error_before", **odd)


def test_fault_rates_repeat_for_a_seed() -> None:
    def statuses() -> list[int]:
        sim = Simulator(clock=ManualClock(), seed=3, faults=Faults(error_before=0.3, rate_limited=0.2))
        auth = {"authorization": f"Bearer {sim.secret_key}"}
        return [sim.handle(Request("GET", INTENTS, auth)).status for _ in range(40)]

    assert statuses() == statuses()
    assert set(statuses()) == {200, 429, 500}


def test_every_array_and_nesting_form_is_read() -> None:
    assert decode("a[]=1&a[]=2") == {"a": ["1", "2"]}
    assert decode("a[1]=2&a[0]=1") == {"a": ["1", "2"]}
    assert listed(decode("a[7]=2&a[3]=1")["a"]) == ["1", "2"]
    assert decode("i[][p]=1&i[][q]=2&i[][p]=3") == {"i": [{"p": "1", "q": "2"}, {"p": "3"}]}
    assert decode("a%5Bb%5D%5Bc%5D=x+y%C3%A9") == {"a": {"b": {"c": "x yé"}}}


@pytest.mark.parametrize("keys", [("6735", "17", "017"), ("0", "1", "2")])
def test_metadata_may_have_numbers_for_keys(call: Call, decoded: Decoded, keys: tuple[str, ...]) -> None:
    form = {f"metadata[{key}]": "x" for key in keys}
    made = decoded(call("POST", "/v1/customers", form, key="k"))
    assert made["metadata"] == dict.fromkeys(keys, "x")
    changed = decoded(call("POST", f"/v1/customers/{made['id']}", {f"metadata[{keys[0]}]": ""}))
    assert changed["metadata"] == dict.fromkeys(keys[1:], "x")
    # Other keys are other parameters.
    assert decoded(call("POST", "/v1/customers", {"metadata[3]": "x"}, key="k"))["error"]["type"] == (
        "idempotency_error"
    )
    assert call("POST", "/v1/customers", {"metadata[]": "x"}).status == 400


def test_booleans_are_taken_as_the_older_sdks_spell_them(call: Call, decoded: Decoded) -> None:
    # stripe-python #1499, stripe-dotnet #3104: the first API takes both.
    assert decoded(call("POST", INTENTS, {**PAY, "confirm": "True"}))["status"] == "succeeded"
    assert decoded(call("POST", INTENTS, {**PAY, "confirm": "False"}))["status"] == "requires_confirmation"
    assert call("POST", "/v1/customers", {"validate": "True"}).status == 200
    assert decoded(call("POST", INTENTS, {**PAY, "confirm": "TRUE"}))["error"]["param"] == "confirm"


def test_expand_goes_four_deep_and_refuses_what_cannot_be(
    sim: Simulator, call: Call, decoded: Decoded
) -> None:
    intent = decoded(call("POST", INTENTS, PAY | {"expand[]": "latest_charge"}))
    assert intent["latest_charge"]["object"] == "charge"
    sim.advance(3)
    path = f"{INTENTS}/{intent['id']}?expand[0]=latest_charge.balance_transaction.source.payment_intent"
    deep = decoded(call("GET", path))
    assert deep["latest_charge"]["balance_transaction"]["source"]["payment_intent"]["id"] == intent["id"]
    refused = call("GET", f"{INTENTS}/{intent['id']}?expand[]=amount")
    assert decoded(refused)["error"]["message"] == "This property cannot be expanded (amount)."
    listed = decoded(call("GET", f"{INTENTS}?expand[]=data.latest_charge"))
    assert listed["data"][0]["latest_charge"]["object"] == "charge"


def test_what_stands_within_a_hash_is_expanded(sim: Simulator, call: Call, decoded: Decoded) -> None:
    customer = sim.customers.create()
    method = sim.payment_methods.attach("pm_card_visa", customer=customer.id)
    path, within = f"/v1/customers/{customer.id}", "invoice_settings.default_payment_method"
    form = {"invoice_settings[default_payment_method]": method.id, "expand[]": f"{within}.customer"}
    default = decoded(call("POST", path, form))["invoice_settings"]["default_payment_method"]
    assert (default["object"], default["customer"]["id"]) == ("payment_method", customer.id)
    settings = decoded(call("GET", f"{path}?expand[]={within}"))["invoice_settings"]
    assert settings["default_payment_method"]["card"]["last4"] == "4242"
    whole = PAY | {"customer": customer.id, "payment_method": method.id}
    paths = [f"customer.{within}", "transfer_data.destination", "latest_charge.outcome.rule"]
    paths += ["latest_charge.transfer", "latest_charge.transfer_data.destination"]
    made = decoded(call("POST", INTENTS, whole | {f"expand[{i}]": path for i, path in enumerate(paths)}))
    assert made["customer"]["invoice_settings"]["default_payment_method"]["id"] == method.id
    assert made["transfer_data"] is None
    reversals = {"expand[]": "transfer_reversal", "expand[1]": "source_transfer_reversal"}
    refund = decoded(call("POST", "/v1/refunds", {"charge": made["latest_charge"]["id"]} | reversals))
    assert refund["transfer_reversal"] is None
    for wrong in ("invoice_settings", "invoice_settings.footer"):
        refused = decoded(call("GET", f"{path}?expand[]={wrong}"))["error"]
        assert refused["message"].startswith("This property cannot be expanded")
    missing = decoded(call("POST", path, {"expand[]": "subscriptions"}))["error"]
    assert missing["code"] == "simulator_not_modelled"


def test_the_files_of_a_disputes_evidence_and_a_cards_account_are_taken_and_empty(
    sim: Simulator, call: Call, decoded: Decoded
) -> None:
    call("POST", INTENTS, PAY | {"payment_method": "pm_card_createDispute"})
    disputes = decoded(call("GET", "/v1/disputes?expand[]=data.evidence.receipt"))["data"]
    assert disputes[0]["evidence"]["receipt"] is None
    refused = decoded(call("GET", "/v1/disputes?expand[]=data.evidence.product_description"))["error"]
    assert refused["message"] == "This property cannot be expanded (product_description)."
    customer = sim.customers.create(source="tok_visa")
    default = decoded(call("GET", f"/v1/customers/{customer.id}?expand[]=default_source.account"))[
        "default_source"
    ]
    assert default["object"] == "card"


@pytest.mark.parametrize(
    "path",
    ["charges", "latest_charge.amount", "customer.id", "a.b.c.d.e", "data.customer", "transfer_data.amount"],
)
def test_a_payment_whose_answer_cannot_be_expanded_is_not_made(
    sim: Simulator, call: Call, decoded: Decoded, path: str
) -> None:
    for _ in range(2):
        refused = call("POST", INTENTS, PAY | {"expand[]": path}, key="k")
        assert (refused.status, decoded(refused)["error"]["param"]) == (400, "expand")
    assert sim.charges.list().data == []
    assert call("POST", INTENTS, PAY, key="k").status == 200


def test_what_only_the_answer_can_tell_is_refused_once_it_is_there_and_done_once(
    sim: Simulator, call: Call
) -> None:
    intent = sim.payment_intents.create(amount=2000, currency="usd", payment_method="pm_card_visa")
    sim.payment_intents.confirm(intent.id)
    sim.advance(5)
    charge = sim.charges.list().data[0].id
    form = {"charge": charge, "amount": "500", "expand[]": "balance_transaction.source.nonsense"}
    assert [call("POST", "/v1/refunds", form, key="k").status for _ in range(2)] == [400, 400]
    assert len(sim.refunds.list().data) == 1


def test_lists_page_both_ways_newest_first(
    sim: Simulator, clock: ManualClock, call: Call, decoded: Decoded
) -> None:
    ids = []
    for _ in range(5):
        ids.append(sim.payment_intents.create(amount=2000, currency="usd").id)
        clock.advance(10)
    ids.reverse()

    def page(query: str) -> tuple[list[str], bool]:
        found = decoded(call("GET", f"{INTENTS}?{query}"))
        return [x["id"] for x in found["data"]], found["has_more"]

    assert page("limit=2") == (ids[:2], True)
    assert page(f"limit=2&starting_after={ids[1]}") == (ids[2:4], True)
    assert page(f"limit=2&starting_after={ids[2]}") == (ids[3:], False)
    assert page(f"limit=2&ending_before={ids[4]}") == (ids[2:4], True)
    assert page(f"limit=2&ending_before={ids[2]}") == (ids[:2], False)
    start = int(clock.now()) - 50
    assert page(f"created[gte]={start + 10}&created[lt]={start + 30}") == (ids[2:4], False)
    unknown = call("GET", f"{INTENTS}?starting_after=pi_nope")
    assert (unknown.status, decoded(unknown)["error"]["param"]) == (404, "starting_after")


@pytest.mark.parametrize(
    ("method", "path", "form", "status", "code", "param"),
    [
        ("GET", f"{INTENTS}/pi_x", None, 404, "resource_missing", "intent"),
        ("GET", "/v1/charges/ch_x", None, 404, "resource_missing", "id"),
        ("GET", "/v1/nonsense", None, 404, None, None),
        ("PATCH", INTENTS, None, 404, None, None),
        ("GET", "/v1/charges/", None, 404, None, None),
        ("GET", "/v1/invoices", None, 400, "simulator_not_modelled", None),
        ("POST", INTENTS, {"currency": "usd"}, 400, "parameter_missing", "amount"),
        ("POST", INTENTS, PAY | {"foo": "1"}, 400, "parameter_unknown", "foo"),
        ("POST", INTENTS, PAY | {"metadata[x]": "y" * 501}, 400, None, "metadata[x]"),
        ("POST", INTENTS, PAY | {"payment_method": "pm_nope"}, 400, "resource_missing", "payment_method"),
        ("POST", INTENTS, b"amount=%ff", 400, None, None),
        ("POST", INTENTS, b"\xff", 400, None, None),
        ("POST", INTENTS, b"a[b][c][d][e][f][g][h][i]=1", 400, None, "a[b][c][d][e][f][g][h][i]"),
        ("POST", INTENTS, b"x" * 1_000_001, 413, None, None),
    ],
)
def test_bad_input_gets_stripes_envelope(
    call: Call,
    decoded: Decoded,
    method: str,
    path: str,
    form: Any,
    status: int,
    code: str | None,
    param: str | None,
) -> None:
    response = call(method, path, form)
    error = decoded(response)["error"]
    assert (response.status, error.get("code"), error.get("param")) == (status, code, param)
    assert error["message"]
    assert response.headers["Request-Id"].startswith("req_")


def test_search_finds_by_metadata(sim: Simulator, call: Call, decoded: Decoded) -> None:
    sim.payment_intents.create(amount=2000, currency="usd", metadata={"order": "1"})
    wanted = sim.payment_intents.create(amount=2000, currency="usd", metadata={"order": "2"})
    found = decoded(call("GET", f"{INTENTS}/search?query=metadata%5B'order'%5D%3A'2'"))
    assert [x["id"] for x in found["data"]] == [wanted.id]
    assert found["object"] == "search_result"
