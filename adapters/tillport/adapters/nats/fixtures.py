"""pytest fixtures with a real NATS server. Import them into a conftest: `from tillport.adapters.nats.fixtures import nats_server`."""

from collections.abc import Iterator

import pytest

from tillport.adapters.nats.testing import NatsServer


@pytest.fixture
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A fresh, running server for one test, which may kill, freeze and restart it."""
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server
