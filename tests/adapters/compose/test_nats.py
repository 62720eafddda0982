"""A service whose courier is a real NATS server, that may come late and go away."""

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tillport.adapters.compose import Secret
from tillport.adapters.nats import Access, NatsConsumer
from tillport.adapters.nats.testing import NatsServer


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


async def test_what_is_recorded_reaches_another_service_though_the_broker_was_away(
    town, nats: NatsServer
) -> None:
    town.settings = attrs.evolve(town.settings, messaging_url=Secret(nats.url))
    nats.stop()
    async with town.service() as service:  # starts without a broker
        await town.charge(service)
        recorded = await town.deliver(service)
        nats.start()
        async with NatsConsumer(Access(servers=nats.url), name="test") as consumer:
            heard = set()
            for _ in range(recorded):
                delivery = await consumer.next(seconds=20)
                assert delivery is not None
                heard.add(delivery.message.id)
                await delivery.ack()
    assert heard == {event.id for event in town.simulator.events.list().data}
