"""The official SDK in-process: what a call costs with the simulator behind it, beside the SDK's own cost.

python benchmarks/simulator/sdk.py

The SDK's own cost is that of the same call with a client behind it that answers the same bytes without any work. The
two take turns in short batches. The quickest batch of each counts, since a busy machine slows batches and speeds none; the
middle ones stand beside them.
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


def batches(*clients: stripe.StripeClient) -> list[list[float]]:
    """Return the processor time of a call, in µs, of each client's batches, the quickest first."""
    took: list[list[float]] = [[] for _ in clients]
    for _ in range(BATCHES):
        for mine, client in zip(took, clients, strict=True):
            began = time.process_time()
            for _ in range(CALLS):
                client.v1.payment_intents.create(PAY)
            mine.append((time.process_time() - began) / CALLS * 1e6)
    return [sorted(mine) for mine in took]


def main() -> None:
    sim = Simulator(clock=ManualClock(), seed=1)
    own, whole = batches(
        stripe.StripeClient(sim.secret_key, http_client=Recorder(sim)),
        stripe.StripeClient(sim.secret_key, http_client=SimulatorHTTPClient(sim)),
    )
    for what, at in (("quickest", 0), ("middle", BATCHES // 2)):
        print(
            f"{what} batch: {own[at]:.0f} µs of CPU the SDK's own, {whole[at]:.0f} µs with the simulator: "
            f"{whole[at] / own[at]:.2f}"
        )


if __name__ == "__main__":
    main()
