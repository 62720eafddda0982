"""The state machine against a careful shop, and against shops with one fault each, which it must find."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tillport.simulator import sign
from tillport.simulator.machine import StripeMachine

FEW = settings(
    max_examples=12, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck),
    print_blob=False, report_multiple_bugs=False, phases=(Phase.generate,), derandomize=True, database=None,
)  # fmt: skip
MORE = settings(FEW, max_examples=150)


class Shop(StripeMachine):
    """Keeps what each payment brought, by reading the newest state that an event carries."""

    tolerance = 300
    dedupe = True

    def open(self) -> None:
        self.received: dict[str, int] = {}
        self.refunded: dict[str, int] = {}
        self.seen: set[str] = set()

    def webhook(self, body: bytes, headers: dict[str, str]) -> int:
        if not self.verified(body, headers.get("Stripe-Signature", "")):
            return 400
        event = json.loads(body)
        if self.dedupe and event["id"] in self.seen:
            return 200
        self.seen.add(event["id"])
        self.take(event)
        return 200

    def verified(self, body: bytes, signature: str) -> bool:
        found = re.match(r"t=(\d{1,12}),", signature)
        if found is None or abs(self.sim.clock.now() - int(found[1])) > self.tolerance:
            return False
        right = sign(body, self.secret, int(found[1])).partition("v1=")[2]
        return right in re.findall(r"v1=([0-9a-f]{64})", signature)

    def take(self, event: dict[str, Any]) -> None:
        about = event["data"]["object"]
        if event["type"] == "payment_intent.succeeded":
            self.received[about["id"]] = self.received.get(about["id"], 0) + about["amount_received"]

    def check(self) -> None:
        for intent in self.intents():
            assert self.received.get(intent.id, 0) == intent.amount_received, intent.id


class CountsTwice(Shop):
    dedupe = False


class NoTolerance(Shop):
    tolerance = 10**12


class BelievesAnybody(Shop):
    def verified(self, body: bytes, signature: str) -> bool:
        return True


class ForgetsCaptures(Shop):
    def take(self, event: dict[str, Any]) -> None:
        if event["data"]["object"].get("capture_method") != "manual":
            super().take(event)


class RefusesRefunds(Shop):
    def webhook(self, body: bytes, headers: dict[str, str]) -> int:
        status = super().webhook(body, headers)
        return 500 if status == 200 and b'"type": "refund.' in body else status


class CountsOnOrder(Shop):
    def open(self) -> None:
        super().open()
        self.known: set[str] = set()

    def take(self, event: dict[str, Any]) -> None:
        about = event["data"]["object"]
        if event["type"] == "payment_intent.created":
            self.known.add(about["id"])
        elif about.get("id") in self.known:
            super().take(event)


def test_a_careful_shop_keeps_its_books():
    run_state_machine_as_test(Shop, settings=FEW)


@pytest.mark.parametrize(
    "shop",
    [CountsTwice, NoTolerance, BelievesAnybody, ForgetsCaptures, RefusesRefunds],
    ids=lambda c: c.__name__,
)
def test_a_fault_is_found(shop):
    with pytest.raises(AssertionError):
        run_state_machine_as_test(shop, settings=MORE)


def test_a_shop_that_counts_on_an_order_is_found_soon():
    with pytest.raises(AssertionError):
        run_state_machine_as_test(CountsOnOrder, settings=FEW)


def test_a_machine_without_a_handler_says_what_to_override():
    with pytest.raises(NotImplementedError, match="override webhook"):
        run_state_machine_as_test(StripeMachine, settings=FEW)
