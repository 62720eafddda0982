"""Two services on one PostgreSQL, composed as anyone would: what lands on one is heard at the other."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tillport.adapters.compose import Secret, Settings, open_service
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.adapters.sql.testing import PostgresServer
from tillport.ports.access import Caller, CallerKind
from tillport.ports.selector import Compare
from tillport.simulator import Simulator
from tillport.simulator.sdk import SimulatorHTTPClient, deliver_async

SHOP = Caller("shop", CallerKind.APP)


@pytest.fixture
def postgres_url(tmp_path: Path) -> Iterator[str]:
    with PostgresServer() as server:
        yield server.url()


async def test_two_services_on_one_database_behave_as_one(postgres_url: str) -> None:
    store = PostgresStore(postgres_url)
    await store.create_tables()
    await store.aclose()
    stripe = Simulator(seed=1)
    endpoint = stripe.webhook_endpoints.create(url="https://till.test/hook", enabled_events=["*"])
    settings = Settings(
        stripe_secret_key=Secret(stripe.secret_key),
        signing_secrets=(Secret(endpoint.secret),),
        currency="usd",
        app_keys=(Secret("app-key-of-a-web-page"),),
        database_url=Secret(postgres_url),
    )
    client = SimulatorHTTPClient(stripe)
    async with (
        open_service(settings, stripe_http_client=client) as one,
        open_service(attrs.evolve(settings), stripe_http_client=client) as two,
    ):
        intent = stripe.payment_intents.create(
            amount=1250, currency="usd", payment_method="pm_card_visa", confirm=True
        )

        async def sink(attempt) -> int:
            await one.till.receive(attempt.body, attempt.headers["Stripe-Signature"])
            return 200

        stream = two.till.subscribe(Compare("id", "=", intent.latest_charge), caller=SHOP)
        await deliver_async(stripe, sink)
        heard = await asyncio.wait_for(anext(stream), 10)
        assert intent.latest_charge in heard.event.aliases
        await stream.aclose()
        # One of the two relays, and every event was published by it.
        recorded = await one.stores.log.head()
        async with asyncio.timeout(15):
            while sorted(work.published for work in (one.relay, two.relay)) != [0, recorded]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
