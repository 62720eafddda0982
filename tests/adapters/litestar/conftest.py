"""A till in memory behind the HTTP face: in-process, and behind a real server."""

import asyncio
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import httpx
import pytest
import uvicorn
from litestar import Litestar

from tillport.adapters.litestar import HttpSettings, create_app
from tillport.adapters.memory.access import StaticKeyRing
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.memory.ledger import MemoryLedger
from tillport.adapters.memory.payments import MemoryGateway
from tillport.adapters.memory.policy import MaximumAmount
from tillport.domain import Charging, Till, Verifier
from tillport.ports.clock import Clock

APP_KEY = "app-key-0123456789abcdef"
OTHER_APP_KEY = "app-key-of-another-page-x"
SERVER_KEY = "server-key-0123456789abcdef"
SECRET = "whsec_test"


class WallClock:
    """Real time, for tests behind a real server."""

    def now(self) -> float:
        return time.time()

    async def sleep_until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - time.time()))


@attrs.define(eq=False)
class World:
    """A till in memory, its parts at hand, and the application around it."""

    clock: Clock
    settings: HttpSettings = attrs.field(factory=HttpSettings)
    livemode: bool = False
    open_channel: bool = False
    gateway: MemoryGateway = attrs.field(init=False)
    ledger: MemoryLedger = attrs.field(init=False, factory=MemoryLedger)
    log: MemoryEventLog = attrs.field(init=False, factory=MemoryEventLog)
    till: Till = attrs.field(init=False)
    keys: StaticKeyRing = attrs.field(init=False)
    app: Litestar = attrs.field(init=False)

    app_key = APP_KEY
    server_key = SERVER_KEY
    as_app = {"Authorization": f"Bearer {APP_KEY}"}  # noqa: RUF012 - never changed
    as_server = {"Authorization": f"Bearer {SERVER_KEY}"}  # noqa: RUF012 - never changed

    def __attrs_post_init__(self) -> None:
        self.gateway = MemoryGateway(self.clock, livemode=self.livemode)
        nonces = iter(range(10**9))
        self.till = Till(
            charging=Charging(
                gateway=self.gateway,
                ledger=self.ledger,
                policy=MaximumAmount({"usd": 100_000, "eur": 100_000, "jpy": 100_000}),
                clock=self.clock,
            ),
            verifier=Verifier([SECRET], livemode=self.livemode),
            log=self.log,
            doorbell=LocalDoorbell(self.clock),
            nonces=lambda: f"nonce-{next(nonces)}",
            open_channel=self.open_channel,
        )
        self.keys = StaticKeyRing(app_keys=[APP_KEY, OTHER_APP_KEY], server_keys=[SERVER_KEY])
        self.app = create_app(self.till, self.keys, settings=self.settings)

    def sign(self, body: bytes, *, at: float | None = None, secret: str = SECRET) -> str:
        seconds = int(self.clock.now() if at is None else at)
        digest = hmac.new(secret.encode(), b"%d." % seconds + body, hashlib.sha256).hexdigest()
        return f"t={seconds},v1={digest}"

    def client(self, till: Till | None = None) -> httpx.AsyncClient:
        """Return a client of the application, or of one around another till."""
        app = self.app if till is None else create_app(till, self.keys, settings=self.settings)
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://till.test")


def event(number: int = 1, *, charge: str = "ch_1", kind: str = "charge.succeeded", **more: Any) -> bytes:
    """Return an event as Stripe sends it: pretty-printed."""
    about = {
        "id": charge,
        "object": "charge",
        "payment_intent": f"pi_of_{charge}",
        "amount": 1250,
        "paid": True,
        "client_secret": "never_show_me",
        "billing_details": {"email": "jenny@example.com"},
    }
    whole = {
        "id": f"evt_{number}",
        "object": "event",
        "type": kind,
        "created": 1_700_000_000,
        "livemode": False,
        "api_version": "2026-05-27.dahlia",
        "data": {"object": about},
        **more,
    }
    return json.dumps(whole, indent=2).encode()


@pytest.fixture(scope="session")
def make_event() -> Callable[..., bytes]:
    return event


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    def make(**settings: Any) -> World:
        own = {name: settings.pop(name) for name in ("livemode", "open_channel") if name in settings}
        return World(ManualClock(), HttpSettings(**settings), **own)

    return make


@pytest.fixture
def world() -> World:
    return World(ManualClock())


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as client:
        yield client


@contextmanager
def _serving(app: Litestar) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app, access_log=False, log_level="critical", lifespan="on", timeout_graceful_shutdown=5
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def serving() -> Callable[[Litestar], Any]:
    """Serve an application by a real uvicorn on a free port."""
    return _serving


@pytest.fixture(scope="session")
def make_real_world() -> Callable[..., World]:
    def make(**settings: Any) -> World:
        return World(WallClock(), HttpSettings(**settings))

    return make
