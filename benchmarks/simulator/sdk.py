"""The official SDK in-process: what a call costs with the simulator behind it, beside the SDK's own cost.

python benchmarks/simulator/sdk.py

The SDK's own cost is that of the same call with a client behind it that answers the same bytes without any work. The
two take turns in short batches, and the quickest batch of each counts: a busy machine slows batches, it speeds none.
"""

import time
from collections.abc import Mapping
from typing import Any

import stripe

from tillport.simulator import ManualClock, Simulator
from tillport.simulator.sdk import SimulatorHTTPClient

PAY: Any = {"amount": 2000, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
BATCHES, CALLS = 200, 25

Answer = tuple[Any, int, Mapping[str, str]]


class Recorder(SimulatorHTTPClient):
    """Remember what the simulator answered, then answer it again and again."""

    answer: Answer | None = None

    def request(self, *args: Any, **kwargs: Any) -> Answer:
        if self.answer is None:
            self.answer = super().request(*args, **kwargs)
        return self.answer


def quickest(first: stripe.StripeClient, second: stripe.StripeClient) -> tuple[float, float]:
    """Return the seconds of the quickest batch of each."""
    best = [float("inf"), float("inf")]
    for _ in range(BATCHES):
        for which, client in enumerate((first, second)):
            began = time.perf_counter()
            for _ in range(CALLS):
                client.v1.payment_intents.create(PAY)
            best[which] = min(best[which], time.perf_counter() - began)
    return best[0], best[1]


def main() -> None:
    sim = Simulator(clock=ManualClock(), seed=1)
    own, whole = quickest(
        stripe.StripeClient(sim.secret_key, http_client=Recorder(sim)),
        stripe.StripeClient(sim.secret_key, http_client=SimulatorHTTPClient(sim)),
    )
    print(
        f"{own / CALLS * 1e6:.0f} µs the SDK's own, {whole / CALLS * 1e6:.0f} µs with the simulator: {whole / own:.2f}"
    )


if __name__ == "__main__":
    main()
