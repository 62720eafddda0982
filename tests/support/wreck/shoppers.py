"""Shoppers who want one thing each, and ask for it until they are told what became of it."""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from tillport.simulator import Simulator
from wreck.service import APP_KEY

CARDS = ("4242424242424242", "5555555555554444", "4000000000000002")
DEFINITE = (200, 402)


@attrs.define
class Purchase:
    """One basket: every answer to the one request, the definite one last."""

    number: str
    amount_minor: int
    answers: list[tuple[int, Any]] = attrs.field(factory=list)
    asked: int = 0

    @property
    def outcome(self) -> tuple[int, Any] | None:
        return self.answers[-1] if self.answers and self.answers[-1][0] in DEFINITE else None


class Shopper(threading.Thread):
    """Buy one thing after another, until told to stop; finish the last one. One thing is bought in any case.

    `port` says where the shop is at the moment: there may be several, and they come and go.
    """

    def __init__(
        self,
        name: str,
        simulator: Simulator,
        port: Callable[[], int],
        seed: int,
        cards: Sequence[str] = CARDS,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.purchases: list[Purchase] = []
        self.failure: BaseException | None = None
        self._simulator = simulator
        self._port = port
        self._cards = cards
        self._random = random.Random(seed)
        self._enough = threading.Event()

    def enough(self) -> None:
        self._enough.set()

    def run(self) -> None:
        try:
            self._buy()  # whoever started it may have told it to stop before it got this far
            while not self._enough.is_set():
                self._buy()
        except BaseException as failure:
            self.failure = failure
            raise

    def _buy(self) -> None:
        card = self._random.choice(self._cards)
        token = self._simulator.tokens.create(
            card={"number": card, "exp_month": 1, "exp_year": 2034, "cvc": "123"}
        )
        purchase = Purchase(f"{self.name}-{len(self.purchases)}", self._random.randint(50, 9_999))
        self.purchases.append(purchase)
        body = json.dumps(
            {
                "token": token.id,
                "amount_minor": purchase.amount_minor,
                "metadata": {"purchase": purchase.number},
            }
        )
        headers = {"Authorization": f"Bearer {APP_KEY}", "Content-Type": "application/json"}
        if self._random.random() < 0.5:
            headers["Idempotency-Key"] = purchase.number
        deadline = time.monotonic() + 90
        while purchase.outcome is None and time.monotonic() < deadline:
            self._ask(purchase, body, headers)

    def _ask(self, purchase: Purchase, body: str, headers: dict[str, str]) -> None:
        purchase.asked += 1
        connection = http.client.HTTPConnection("127.0.0.1", self._port(), timeout=5)
        try:
            connection.request("POST", "/charges", body=body, headers=headers)
            response = connection.getresponse()
            purchase.answers.append((response.status, json.loads(response.read())))
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)  # the shop is being rebuilt
        finally:
            connection.close()
        if purchase.answers and purchase.outcome is None:
            time.sleep(0.2)
