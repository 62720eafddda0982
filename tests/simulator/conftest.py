from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from tillport.simulator import ManualClock, Request, Response, Simulator


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sim(clock: ManualClock) -> Simulator:
    return Simulator(clock=clock, seed=1)


Call = Callable[..., Response]


@pytest.fixture
def call(sim: Simulator) -> Call:
    """Send a request over the wire with the secret key; `body(response)` decodes what came back."""

    def send(
        method: str,
        path: str,
        form: Any = None,
        *,
        key: str | None = None,
        auth: str | None = None,
        **headers: str,
    ) -> Response:
        sent = {"authorization": f"Bearer {auth or sim.secret_key}"}
        if key is not None:
            sent["idempotency-key"] = key
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = form if isinstance(form, bytes) else urlencode(form or {}).encode()
        return sim.handle(Request(method, path, sent, body))

    return send


@pytest.fixture
def decoded() -> Callable[[Response], Any]:
    return lambda response: msgspec.json.decode(response.body)
