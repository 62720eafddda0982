"""What the strategies draw is what they say, judged by the simulator and by the official SDK's verification."""

from datetime import UTC, datetime

import freezegun
import msgspec
import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from tillport.simulator import ApiError, ManualClock, Simulator, strategies
from tillport.simulator.faults import DELIVERY

SECRET = "whsec_strategies"
FEW = settings(max_examples=25, deadline=None)


def believed(body: bytes, headers: dict[str, str]) -> bool:
    """Judge as the official SDK does, at the strategies' own time."""
    with freezegun.freeze_time(datetime.fromtimestamp(strategies.NOW, UTC)):
        try:
            stripe.WebhookSignature.verify_header(
                body.decode(), headers.get("Stripe-Signature", ""), SECRET, 300
            )
        except (stripe.SignatureVerificationError, TypeError, ValueError):
            return False
    return True


@FEW
@given(strategies.prices(), strategies.payment_methods(pays=True))
def test_a_price_is_one_that_stripe_takes_and_a_good_card_pays(price, method):
    sim = Simulator(clock=ManualClock(), seed=1)
    intent = sim.payment_intents.create(
        amount=price.amount, currency=price.currency, payment_method=method, confirm=True
    )
    assert intent.status == "succeeded"


@FEW
@given(strategies.payment_methods(pays=False))
def test_a_bad_card_is_declined(method):
    with pytest.raises(ApiError) as caught:
        Simulator(clock=ManualClock(), seed=1).payment_intents.create(
            amount=500, currency="usd", payment_method=method, confirm=True
        )
    assert caught.value.status == 402


@FEW
@given(strategies.events())
def test_an_event_has_what_every_event_has(event):
    assert event["object"] == "event"
    assert event["id"].startswith("evt_")
    about = event["data"]["object"]
    # There is one balance, without an id.
    assert about["object"] == "balance" or about["id"]


@FEW
@given(strategies.signed_requests(SECRET))
def test_a_signed_request_is_believed(request):
    assert believed(request.body, request.headers)


@FEW
@given(strategies.forged_requests(SECRET))
def test_a_forged_request_is_not_believed(forgery):
    assert not believed(forgery.request.body, forgery.request.headers), forgery.wrong


@FEW
@given(st.integers(0, 6).flatmap(lambda n: st.tuples(st.just(n), strategies.delivery_schedules(n))))
def test_a_schedule_has_every_event_in_the_order_of_time(drawn):
    count, schedule = drawn
    assert {delivery.index for delivery in schedule} == set(range(count))
    assert schedule == sorted(schedule)


@FEW
@given(strategies.fault_scripts(), strategies.fault_rates())
def test_faults_are_such_as_the_simulator_takes(script, rates):
    sim = Simulator(clock=ManualClock(), seed=1, faults=rates)
    sim.script(*script)
    assert msgspec.to_builtins(sim.account.faults.rates)


@FEW
@given(strategies.delivery_faults(honest=True))
def test_an_honest_fault_forges_nothing(fault):
    assert fault.kind in set(DELIVERY) - {"tamper", "wrong_secret", "stale"}
