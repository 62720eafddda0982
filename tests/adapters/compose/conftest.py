"""A town of a simulator in this process and services over one file."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tillport.adapters.compose import Secret, Service, Settings, open_service
from tillport.ports.access import Caller, CallerKind
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder
from tillport.simulator import Simulator
from tillport.simulator.sdk import SimulatorHTTPClient, deliver_async


class Town:
    """A simulator in this process, and services over one file."""

    shop = Caller("shop", CallerKind.APP)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.simulator = Simulator(seed=1)
        endpoint = self.simulator.webhook_endpoints.create(url="https://till.test/hook", enabled_events=["*"])
        self.settings = Settings(
            stripe_secret_key=Secret(self.simulator.secret_key),
            signing_secrets=(Secret(endpoint.secret),),
            currency="usd",
            app_keys=(Secret("app-key-of-a-web-page"),),
            database_url=Secret(f"sqlite:///{folder / 'till.sqlite3'}"),
        )

    @asynccontextmanager
    async def service(self, **options: Any) -> AsyncIterator[Service]:
        client = SimulatorHTTPClient(self.simulator)
        async with open_service(self.settings, stripe_http_client=client, **options) as service:
            yield service

    async def charge(self, service: Service) -> str:
        """Charge, and return the charge's id."""
        answer = await service.till.charge(ChargeOrder("tok_visa", Money(1250, "usd")), caller=self.shop)
        assert answer.outcome.charge_id is not None
        return answer.outcome.charge_id

    async def deliver(self, service: Service) -> int:
        """Deliver every webhook that is due, and return how many there were."""

        async def sink(attempt: Any) -> int:
            await service.till.receive(attempt.body, attempt.headers["Stripe-Signature"])
            return 200

        return len(await deliver_async(self.simulator, sink))


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)
