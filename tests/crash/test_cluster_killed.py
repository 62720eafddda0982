"""Three service processes on one PostgreSQL with NATS as the courier, and everything is killed in turn.

kill -9 of a service, of a PostgreSQL backend, of the postmaster, of NATS; the network to each cut, reset and swallowed;
clocks some seconds apart; under load, with duplicated and disordered deliveries. The checker reads the histories that are
left: every 2xx is in the log once, every row was published, in order per payment, no charge was doubled, and a listener that went from process to
process heard every row once and in order. What this does not prove: a power cut, or a disk that lies about fsync.
"""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wreck.checker import Books, problems, read_nats, read_postgres, rest, story
from wreck.listener import Listener
from wreck.network import Network
from wreck.service import ServiceProcess
from wreck.shoppers import Purchase, Shopper

from tillport.adapters.nats.testing import NatsServer
from tillport.adapters.sql.testing import PostgresServer
from tillport.simulator import Faults, Simulator
from tillport.simulator.server import Server

# Sockets whose other end was killed in mid-word are closed by the garbage collector, here and in the simulator.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RETRIES = (0.2, 0.4, 0.8, *([1.0] * 300))
BAD_DAY = Faults(
    duplicate=0.2, delay=0.1, reorder=0.2, drop=0.05, answer_lost=0.03, reset_before=0.03, slow=0.1,
    slow_seconds=0.1, delay_seconds=0.5, reorder_seconds=0.2, shuffle=True,
)  # fmt: skip
SERVICES = 3


class Cluster:
    """Three services, their database and courier behind wires, a Stripe that has a bad day."""

    def __init__(
        self, folder: Path, postgres: PostgresServer, nats: NatsServer, network: Network, seed: int
    ) -> None:
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.deck: list[Callable[[], None]] = [self.kill_a_service]
        self.postgres, self.nats = postgres, nats
        self.database_url = postgres.create_database()
        self.simulator = Simulator(seed=seed, retry_seconds=RETRIES, settle_seconds=0.3, faults=BAD_DAY)
        self.acknowledged: list[str] = []
        settle = self.simulator.account.deliveries.settle

        def remember(attempt: Any, status: int | None) -> None:
            if status is not None and 200 <= status < 300:
                self.acknowledged.append(attempt.event_id)
            settle(attempt, status)

        self.simulator.account.deliveries.settle = remember  # type: ignore[method-assign] # a listener, no change
        self.stripe = Server(self.simulator).start()
        self.to_postgres = network.wire(postgres.port)
        self.to_nats = network.wire(nats.port)
        endpoint = self.simulator.webhook_endpoints.create(url="http://127.0.0.1:1/", enabled_events=["*"])
        self.services = [
            ServiceProcess(
                stripe=self.stripe.url,
                signing_secret=endpoint.secret,
                database_url=self.database_url.replace(
                    f":{postgres.port}", f":{self.to_postgres.proxy.port}"
                ),
                messaging_url=f"nats://127.0.0.1:{self.to_nats.proxy.port}",
                log=folder / f"service{n}.log",
            )
            for n in range(SERVICES)
        ]
        subprocess.run(
            [sys.executable, "-m", "tillport.adapters.cli", "db", "upgrade"],
            env={**os.environ, "TILLPORT_DATABASE_URL": self.database_url},
            check=True,
            capture_output=True,
        )
        for service in self.services:
            service.start()
        front = network.balancer(lambda: [service.port for service in self.services])
        self.simulator.webhook_endpoints.update(endpoint.id, url=f"http://127.0.0.1:{front}/webhooks/stripe")

    def close(self) -> None:
        self.postgres.thaw()
        for service in self.services:
            service.kill()
        self.stripe.stop()
        self.to_postgres.close()
        self.to_nats.close()

    # What can happen --------------------------------------------------------------------------------------------

    def kill_a_service(self) -> None:
        service = self.random.choice(self.services)
        service.kill()
        time.sleep(self.random.uniform(0, 0.5))
        service.start()

    def kill_a_backend(self) -> None:
        backends = [
            pid for pid, what in self.postgres.backends().items() if "[local]" in what or "127.0.0.1" in what
        ]
        if backends:
            self.postgres.kill_backend(self.random.choice(backends))
            time.sleep(1)  # the postmaster restarts all of them

    def kill_postgres(self) -> None:
        self.postgres.kill()
        time.sleep(self.random.uniform(0, 0.5))
        self.postgres.start()

    def kill_nats(self) -> None:
        self.nats.kill()
        time.sleep(self.random.uniform(0, 0.5))
        self.nats.start()

    def cut_the_database_off(self) -> None:
        self.to_postgres.cut()
        time.sleep(self.random.uniform(0.1, 0.6))
        self.to_postgres.heal()

    def swallow_the_database(self) -> None:
        self.to_postgres.black_hole()
        time.sleep(self.random.uniform(0.1, 0.6))
        self.to_postgres.heal()

    def reset_the_courier(self) -> None:
        self.to_nats.reset()

    def swallow_the_courier(self) -> None:
        self.to_nats.black_hole()
        time.sleep(self.random.uniform(0.1, 0.6))
        self.to_nats.heal()

    def set_a_clock(self) -> None:
        """Machines are apart by some seconds; for longer than a lease is held."""
        self.random.choice(self.services).set_clock(self.random.uniform(-20, 20))

    def wreck_something(self) -> None:
        if not self.deck:  # each in its turn, so that none is left out by chance
            self.deck = [
                self.kill_a_service, self.kill_a_service, self.kill_a_service, self.kill_a_backend, self.kill_postgres,
                self.kill_nats, self.cut_the_database_off, self.swallow_the_database, self.reset_the_courier,
                self.swallow_the_courier, self.set_a_clock,
            ]  # fmt: skip
            self.random.shuffle(self.deck)
        what = self.deck.pop()
        self.done[what.__name__] += 1
        what()

    @property
    def kills(self) -> int:
        return sum(times for what, times in self.done.items() if what.startswith("kill"))

    # The campaign -----------------------------------------------------------------------------------------------

    def run(self, seconds: float, *, shoppers: int, wrecks: int = 1) -> None:
        """Wreck things for that long while people shop; then let everything come to rest, and judge.

        And until so many were wrecked and somebody noticed: on a crowded machine a restart takes seconds.
        """

        def anyone() -> int:
            return self.random.choice(self.services).port

        people = [Shopper(f"shopper{n}", self.simulator, anyone, seed=n) for n in range(shoppers)]
        listener = Listener(anyone)
        for thread in (*people, listener):
            thread.start()

        def unnoticed() -> bool:
            asked = (purchase.asked for person in people for purchase in list(person.purchases))
            return self.done.total() < wrecks or max(asked, default=0) < 2

        end = time.monotonic() + seconds
        while time.monotonic() < end or unnoticed():
            time.sleep(self.random.uniform(0.1, 0.8))
            self.wreck_something()
        for person in people:
            person.enough()
        for person in people:
            person.join(150)
            assert not person.is_alive(), "a shopper is still waiting for an answer"
            assert person.failure is None
        purchases = [purchase for person in people for purchase in person.purchases]
        books = self.rest(listener)
        listener.enough()
        listener.join(30)
        self.judge(purchases, books, listener)

    def rest(self, listener: Listener) -> Books:
        self.simulator.set_faults(Faults())
        books = rest(self.simulator, lambda: read_postgres(self.database_url), seconds=90)
        last = max((position for position, _, _ in books.rows), default=0)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (listener.heard and listener.heard[-1][0] >= last):
            time.sleep(0.1)
        return books

    def judge(self, purchases: list[Purchase], books: Books, listener: Listener) -> None:
        print(story(purchases, books, self.kills), dict(self.done))
        told = asyncio.run(read_nats(self.nats.url))
        assert self.done["kill_a_service"]
        assert any(purchase.asked > 1 for purchase in purchases), "a kill that nobody noticed proves nothing"
        assert self.acknowledged
        assert problems(self.simulator, self.acknowledged, purchases, books, told) == []
        assert listener.resets == 0
        assert listener.heard == [(position, event_id) for position, event_id, _ in books.rows]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with PostgresServer() as postgres, NatsServer(tmp_path / "nats") as nats, Network() as network:
        cluster = Cluster(tmp_path, postgres, nats, network, seed=5)
        yield cluster
        cluster.close()


@pytest.mark.timeout(400)
def test_three_services_killed_in_turn_behave_as_one_that_never_was(cluster: Cluster) -> None:
    cluster.run(12, shoppers=4, wrecks=3)


@pytest.mark.campaign(seconds=1800)
def test_a_long_campaign_against_everything(cluster: Cluster, campaign_seconds: float) -> None:
    cluster.run(campaign_seconds, shoppers=6)
