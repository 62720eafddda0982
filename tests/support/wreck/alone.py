"""A service on a disk and a Stripe that has a bad day, while people shop."""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from tillport.simulator import Faults, Simulator
from tillport.simulator.server import Server
from wreck.checker import Books, read_sqlite, rest
from wreck.service import ServiceProcess
from wreck.shoppers import Purchase, Shopper

RETRIES = (0.2, 0.4, 0.8, *([1.0] * 120))
BAD_DAY = Faults(
    duplicate=0.2, delay=0.1, reorder=0.2, drop=0.05, answer_lost=0.05, reset_before=0.03, error_before=0.03,
    slow=0.2, slow_seconds=0.15, delay_seconds=0.5, reorder_seconds=0.2, shuffle=True,
)  # fmt: skip


class Wreck:
    """A service on a disk, a Stripe that has a bad day, and a record of every delivery that was acknowledged."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.simulator = Simulator(seed=seed, retry_seconds=RETRIES, settle_seconds=0.3, faults=BAD_DAY)
        self.acknowledged: list[str] = []
        self.answers: Counter[int | None] = Counter()
        """To deliveries, by status; None where there was no answer."""
        settle = self.simulator.account.deliveries.settle

        def remember(attempt: Any, status: int | None) -> None:
            self.answers[status] += 1
            if status is not None and 200 <= status < 300:
                self.acknowledged.append(attempt.event_id)
            settle(attempt, status)

        self.simulator.account.deliveries.settle = remember  # type: ignore[method-assign] # a listener, no change
        self.server = Server(self.simulator)
        self.database = folder / "till.sqlite3"
        self.folder = folder
        self.random = random.Random(seed)
        self.service: ServiceProcess

    def open(self) -> None:
        self.server.start()
        endpoint = self.simulator.webhook_endpoints.create(
            url="http://127.0.0.1:1/hook", enabled_events=["*"]
        )
        self.service = ServiceProcess(
            stripe=self.server.url,
            signing_secret=endpoint.secret,
            database_url=f"sqlite:///{self.database}",
            log=self.folder / "service.log",
        )
        self.simulator.webhook_endpoints.update(
            endpoint.id, url=f"http://127.0.0.1:{self.service.port}/webhooks/stripe"
        )
        self.service.start()

    def close(self) -> None:
        self.service.stop()
        self.server.stop()

    def shop(
        self,
        seconds: float,
        *,
        shoppers: int,
        pause: tuple[float, float],
        kills: int = 0,
        writer_kills: int = 0,
    ) -> list[Purchase]:
        """Let people shop while one is killed after the other, again and again; then let everything come to rest.

        For so long, and until so many were killed and somebody noticed: on a crowded machine a start takes seconds.
        """

        def kill(people: Sequence[Shopper]) -> None:
            def unnoticed() -> bool:
                asked = (purchase.asked for person in people for purchase in list(person.purchases))
                missed = self.service.kills < kills or self.service.writer_kills < writer_kills
                return missed or max(asked, default=0) < 2

            writers_turn = cycle([False, True, False])
            end = time.monotonic() + seconds
            while time.monotonic() < end or (kills and unnoticed()):
                time.sleep(self.random.uniform(*pause))
                if next(writers_turn):
                    self.service.kill_writer()
                else:
                    self.service.kill()
                    self.service.start()

        return self.shop_while(kill, shoppers=shoppers)

    def shop_while(self, disturb: Callable[[Sequence[Shopper]], None], *, shoppers: int) -> list[Purchase]:
        """Let people shop for as long as `disturb` takes; then let everything come to rest. Return what they bought."""
        people = [
            Shopper(f"shopper{n}", self.simulator, lambda: self.service.port, seed=n) for n in range(shoppers)
        ]
        for person in people:
            person.start()
        disturb(people)
        for person in people:
            person.enough()
        for person in people:
            person.join(120)
            assert not person.is_alive(), "a shopper is still waiting for an answer"
            assert person.failure is None
        self.rest()
        return [purchase for person in people for purchase in person.purchases]

    def rest(self) -> Books:
        """End the bad day and wait until Stripe has nothing left to say and the service nothing left to do."""
        self.simulator.set_faults(Faults())
        self.simulator.account.faults.script.clear()
        return rest(self.simulator, lambda: read_sqlite(self.database), seconds=120)
