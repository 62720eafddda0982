"""What verifying a webhook costs, beside the bare HMAC of the same body and beside the official SDK, in one run.

    python benchmarks/verify.py [--bytes 3000] [--rounds 9]

Ours includes reading the header, the comparison, the age, and decoding the envelope of the event. The three take turns
in each round; a row shows the median over the rounds of the time per call and of its ratio to the HMAC's.
"""

import argparse
import hashlib
import hmac
import json
import statistics
import time
from collections.abc import Callable

import stripe

from tillport.domain import Verifier
from tillport.simulator import ManualClock, Simulator

SECRET = "whsec_benchmark"
CALLS = {"hmac.digest": 5_000, "tillport": 5_000, "stripe.Webhook.construct_event": 100}


def event_of(size: int) -> bytes:
    """Return a charge event of about that many bytes, as Stripe sends it."""
    simulator = Simulator(clock=ManualClock())
    simulator.webhook_endpoints.create(url="http://shop.localhost/", enabled_events=["charge.succeeded"])
    simulator.payment_intents.create(amount=1250, currency="usd", payment_method="pm_card_visa", confirm=True)
    event = json.loads(simulator.due_deliveries()[0].body)
    body = json.dumps(event, indent=2)
    if len(body) > size:
        body = json.dumps(event)
    event["data"]["object"]["description"] = "x" * max(0, size - len(body))
    return json.dumps(event, indent=2 if "\n" in body else None).encode()


def microseconds(call: Callable[[], object], times: int) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begun) / times * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bytes", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    body, now, verifier = event_of(asked.bytes), int(time.time()), Verifier([SECRET])
    signed = hmac.new(SECRET.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    header = f"t={now},v1={signed}"
    calls: dict[str, Callable[[], object]] = {
        "hmac.digest": lambda: hmac.digest(SECRET.encode(), body, "sha256"),
        "tillport": lambda: verifier.verify(body, header, now=now),
        "stripe.Webhook.construct_event": lambda: stripe.Webhook.construct_event(body, header, SECRET),
    }
    rounds: list[dict[str, float]] = [
        {name: microseconds(call, CALLS[name]) for name, call in calls.items()} for _ in range(asked.rounds)
    ]
    print(f"{len(body)} bytes, {asked.rounds} rounds")
    for name in calls:
        cost = statistics.median(each[name] for each in rounds)
        ratio = statistics.median(each[name] / each["hmac.digest"] for each in rounds)
        print(f"{name:32} {cost:10.2f} us   {ratio:8.2f} times the HMAC")


if __name__ == "__main__":
    main()
