"""Payments a second on the object face, all events built, encoded and signed for one endpoint; and how flat it stays.

python benchmarks/simulator/object_face.py            # 20,000 payments
python benchmarks/simulator/object_face.py 1000000    # a million: about two minutes, 6 GB

A line for each tenth: payments a second by the clock on the wall, and by the processor time that this process had.
The second is the figure that counts: on a machine that others use, the first tells about them. Even that is blurred by
neighbours, who take the caches, so the middle one of many short batches stands beside the mean, and in the end the full
simulator takes turns with a new one, batch by batch: the same neighbours for both.
"""

import os
import resource
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from tillport.simulator import ManualClock, Simulator

BATCH = 500
TURNS = 40
READS = 1000


def rss_bytes() -> int:
    """Return the memory that this process holds at the moment."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no /proc here: the most that was ever held
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Shop:
    """Pay again and again, and take every webhook."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sim = Simulator(clock=self.clock, seed=7)
        self.sim.webhook_endpoints.create(url="http://hook.test/", enabled_events=["*"])
        self.paid = self.deliveries = 0

    def pay(self, count: int) -> Any:
        """Make so many payments; return the last."""
        create, sim, clock = self.sim.payment_intents.create, self.sim, self.clock
        for i in range(self.paid, self.paid + count):
            intent = create(
                amount=2000 + i % 1000,
                currency="usd",
                payment_method="pm_card_visa",
                confirm=True,
                metadata={"order": str(i)},
            )
            clock.advance(0.1)
            for attempt in sim.due_deliveries():
                sim.delivery_result(attempt, 200)
                self.deliveries += 1
        self.paid += count
        return intent

    def batch(self, count: int) -> float:
        """Make so many payments; return the processor time of one in seconds."""
        began = time.process_time()
        self.pay(count)
        return (time.process_time() - began) / count

    def read(self, old: str, new: str) -> float:
        """Look at what is old and what is new; return the processor time of one read in seconds."""
        sim, began = self.sim, time.process_time()
        for _ in range(READS):
            sim.payment_intents.retrieve(old)
            sim.payment_intents.list(limit=10, starting_after=new)
            sim.payment_intents.list(limit=10, ending_before=old)
            sim.charges.list(limit=10)
            sim.events.list(limit=10, type="charge.updated")
        return (time.process_time() - began) / (5 * READS)


def in_turns(full: Shop) -> float:
    """Return the rate of a full simulator over that of a new one, by the middle of the batches that they pay in turn."""
    new = Shop()
    new.pay(BATCH)
    turns = [(full.batch(BATCH), new.batch(BATCH)) for _ in range(TURNS)]
    return median(one for _, one in turns) / median(one for one, _ in turns)


def main(total: int) -> None:
    """Pay `total` times; print the rate of each tenth, first and last compared, the memory, and reads of old and new."""
    shop = Shop()
    before, begun = rss_bytes(), time.perf_counter()
    first = shop.pay(1)  # what is made once is made
    tenth = max(BATCH, total // 10)
    means, middles = [], []
    while shop.paid < total:
        size = min(tenth, total - shop.paid + 1)
        wall, cpu, batches = time.perf_counter(), time.process_time(), []
        for start in range(0, size, BATCH):
            mark = time.process_time()
            last = shop.pay(count := min(BATCH, size - start))
            batches.append((time.process_time() - mark) / count)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        means.append(cpu / size)
        middles.append(median(batches))
        print(
            f"{shop.paid - 1:>9} payments  {size / wall:7.0f}/s  {size / cpu:7.0f}/s of CPU  "
            f"{means[-1] * 1e6:5.1f} µs each, {middles[-1] * 1e6:5.1f} in the middle batch  "
            f"{rss_bytes() / 1e9:.2f} GB",
            flush=True,
        )
    took, used = time.perf_counter() - begun, rss_bytes() - before
    print(
        f"{shop.deliveries} deliveries in {took:.0f} s; {used / total / 1000:.1f} KB a payment, "
        f"{rss_bytes() / 1e9:.2f} GB in all; the last tenth's rate over the first's: "
        f"{means[0] / means[-1]:.2f} ({middles[0] / middles[-1]:.2f} by the middle batches), "
        f"in turns with a new simulator {in_turns(shop):.2f}; "
        f"{shop.read(first.id, last.id) * 1e6:.0f} µs of CPU a read"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
