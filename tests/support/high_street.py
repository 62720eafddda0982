"""A simulator and tills over one file, under one clock: what catching up and explaining are tested on."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random
from typing import Any

from tillport.adapters.compose import Secret, Service, Settings, open_service
from tillport.adapters.compose.catch_up import drive, open_reconciling
from tillport.domain.reconcile import Reconciliation, Report
from tillport.domain.window import window
from tillport.ports.access import Caller, CallerKind
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder
from tillport.simulator import ManualClock, Simulator
from tillport.simulator.sdk import SimulatorHTTPClient, deliver_async

SHOP = Caller("shop", CallerKind.APP)
DAY = 86_400.0


class TownClock:
    """The simulator's clock as the till's: one time for both."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    def now(self) -> float:
        return self.simulator.clock.now()

    async def sleep_until(self, moment: float) -> None:
        self.simulator.advance(max(0.0, moment - self.now()))


class Town:
    """A simulator in this process, and tills over one file, under one clock."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self.path = folder / "till.sqlite3"
        self.simulator = Simulator(clock=ManualClock(), seed=seed)
        endpoint = self.simulator.webhook_endpoints.create(url="https://till.test/hook", enabled_events=["*"])
        self.clock = TownClock(self.simulator)
        self.nonces = map(str, range(10_000))
        self.settings = Settings(
            stripe_secret_key=Secret(self.simulator.secret_key),
            signing_secrets=(Secret(endpoint.secret),),
            currency="usd",
            app_keys=(Secret("app-key-of-a-web-page"),),
            database_url=Secret(f"sqlite:///{self.path}"),
        )

    @property
    def client(self) -> SimulatorHTTPClient:
        return SimulatorHTTPClient(self.simulator)

    @asynccontextmanager
    async def till(self, **parts: Any) -> AsyncIterator[Service]:
        """Open a till. Stores with loops of their own are handed in: waiting would move this town's clock."""
        async with open_service(
            self.settings,
            clock=self.clock,
            random=Random(1),
            nonces=self.nonces.__next__,
            stripe_http_client=self.client,
            run_loops=False,
            **parts,
        ) as service:
            yield service

    async def deliver(self, service: Service, *, lost: Any = lambda _attempt: False) -> None:
        """Deliver what is due; a lost webhook is one that Stripe believes was taken."""

        async def sink(attempt: Any) -> int:
            if not lost(attempt):
                await service.till.receive(attempt.body, attempt.headers["Stripe-Signature"])
            return 200

        await deliver_async(self.simulator, sink)

    async def charge(self, service: Service, amount_minor: int = 1250) -> str:
        answer = await service.till.charge(ChargeOrder("tok_visa", Money(amount_minor, "usd")), caller=SHOP)
        assert answer.outcome.charge_id is not None
        return answer.attempt_key

    def stripe_ids(self) -> set[str]:
        found: set[str] = set()
        after: dict[str, str] = {}
        while True:
            page = self.simulator.events.list(limit=100, **after)
            found |= {one.id for one in page.data}
            if not page.has_more:
                return found
            after = {"starting_after": page.data[-1].id}

    async def reconcile(self, service: Service, *, days: float = 7, **options: Any) -> Report:
        now = self.clock.now()
        async with open_reconciling(
            self.settings, clock=self.clock, stores=service.stores, stripe_http_client=self.client
        ) as using:
            run = Reconciliation(using, window(since=now - days * DAY, now=now), **options)
            assert await drive(run, self.clock, tell=lambda _report: None) is None
        return run.report

    def change(self, statement: str, *values: object) -> int:
        """Break a record by hand, and return how many rows it was."""
        with closing(sqlite3.connect(self.path)) as file, file:
            return file.execute(statement, values).rowcount
