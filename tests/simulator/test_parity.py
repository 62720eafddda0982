"""One scenario on the simulator always, and on Stripe's test mode when a key is in the environment."""

import os
import subprocess
import sys

import pytest

from tillport.simulator import ManualClock, Simulator
from tillport.simulator.parity import comparable, differences, real, simulated


def test_the_scenario_is_the_same_story_for_every_seed_and_time() -> None:
    late = Simulator(clock=ManualClock(1_900_000_000), seed="another")
    assert list(differences(simulated(), simulated(late))) == []


def test_the_story_says_what_became_of_each_step() -> None:
    story = simulated()
    statuses = {name: told["status"] for name, told in story.items() if isinstance(told, dict)}
    assert statuses["payment"] == statuses["first under a key"] == 200
    assert {s for name, s in statuses.items() if name.startswith("declined")} == {402}
    assert story["again under the key"]["replayed"] == "true"
    assert story["again under the key"]["body"] == story["first under a key"]["body"]
    assert story["payment"]["body"]["latest_charge"]["id"] == "<ch 1>"
    assert "payment_intent.succeeded" in story["its events"]


def test_a_difference_is_found_and_told() -> None:
    # The control: a comparison that never found one would prove nothing.
    class Odd(Simulator):
        def handle(self, request):  # type: ignore[no-untyped-def] # as its parent
            response = super().handle(request)
            response.body = response.body.replace(b'"amount": 2000', b'"amount": 2001')
            return response

    lines = list(differences(simulated(), simulated(Odd(clock=ManualClock(), seed="parity"))))
    assert "payment.body.amount: 2000 here, 2001 there" in lines


def test_ids_are_compared_by_which_one_they_are() -> None:
    seen: dict[str, str] = {}
    value = {
        "id": "pi_3AbCdEfG",
        "client_secret": "pi_3AbCdEfG_secret_xyz",
        "charge": "ch_3AbCdEfG",
        "created": 1_800_000_000,
    }
    assert comparable(value, seen) == {
        "id": "<pi 1>",
        "client_secret": "<pi 1>_secret",
        "charge": "<ch 1>",
        "created": "<time>",
    }
    assert comparable("pi_3Other1", seen) == "<pi 2>"


def test_a_live_key_is_never_used() -> None:
    with pytest.raises(ValueError, match="test-mode"):
        real("sk_live_abc")


if os.environ.get("STRIPE_TEST_SECRET_KEY"):

    def test_stripes_test_mode_tells_the_same_story() -> None:
        # In a process of its own: this one is kept from the network.
        done = subprocess.run(
            [sys.executable, "-m", "tillport.simulator.parity"], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
