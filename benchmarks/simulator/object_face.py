"""Payments a second on the object face, all events built, encoded and signed for one endpoint; and how flat it stays.

python benchmarks/simulator/object_face.py 100000
"""

import resource
import sys
import time

from tillport.simulator import ManualClock, Simulator


def main(total: int) -> None:
    """Pay `total` times; print the rate of each tenth, the memory per payment, and reads of old and new."""
    clock = ManualClock()
    sim = Simulator(clock=clock, seed=7)
    sim.webhook_endpoints.create(url="http://hook.test/", enabled_events=["*"])
    create = sim.payment_intents.create
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first = None
    deliveries = 0
    chunk = max(1, min(total // 10, 100_000))
    for start in range(0, total, chunk):
        began, cpu = time.perf_counter(), time.process_time()
        for i in range(start, start + chunk):
            intent = create(
                amount=2000 + i % 1000,
                currency="usd",
                payment_method="pm_card_visa",
                confirm=True,
                metadata={"order": str(i)},
            )
            first = first or intent.id
            clock.advance(0.1)
            for attempt in sim.due_deliveries():
                sim.delivery_result(attempt, 200)
                deliveries += 1
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        # Of its own processor time too: the figure that a busy machine does not blur.
        print(f"{start + chunk:>9} payments  {chunk / wall:8.0f}/s  {chunk / cpu:8.0f}/s of CPU")
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / total
    began = time.perf_counter()
    for _ in range(1000):
        sim.payment_intents.retrieve(first)
        sim.payment_intents.list(limit=10, starting_after=intent.id)
        sim.charges.list(limit=10)
        sim.events.list(limit=10, type="charge.updated")
    took = (time.perf_counter() - began) / 4000 * 1e6
    print(f"{deliveries} deliveries, {used:.1f} KB a payment, {took:.0f} µs a read")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
