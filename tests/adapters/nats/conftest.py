"""A courier over a real NATS server, in the hands of a test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import nats
import pytest

from tillport.adapters.conformance.proxy import TcpProxy
from tillport.adapters.nats import Access, NatsChannel, NatsConsumer, StreamSettings
from tillport.adapters.nats.fixtures import nats_server
from tillport.adapters.nats.testing import NatsServer
from tillport.adapters.nats.wire import incoming
from tillport.ports.channel import Message
from tillport.ports.selector import Selector

__all__ = ["nats_server"]


async def stored(server: NatsServer, stream: str = "STRIPE") -> list[Message]:
    """Read what the stream holds, message by message, past the product's own consumer."""
    client = await nats.connect(server.url, allow_reconnect=False)
    try:
        jetstream = client.jetstream()
        try:
            info = await jetstream.stream_info(stream)
        except nats.js.errors.NotFoundError:
            return []
        reading = await jetstream.subscribe(">", stream=stream, ordered_consumer=True)
        found = []
        for _ in range(info.state.messages):
            raw = await reading.next_msg(timeout=10)
            found.append(incoming(raw.subject, raw.headers, raw.data))
        return found
    finally:
        await client.close()


class ThroughProxy:
    """`cut` and `heal` are the network's; the server runs on."""

    def __init__(self, server: NatsServer, proxy: TcpProxy) -> None:
        self.server = server
        self.proxy = proxy
        self.url = f"nats://127.0.0.1:{proxy.port}"
        self.channel = self.another()

    def another(self) -> NatsChannel:
        return NatsChannel(Access(servers=self.url, connect_seconds=5), answer_seconds=10)

    async def received(self) -> Sequence[Message]:
        return await stored(self.server)

    async def cut(self) -> None:
        await self.proxy.cut()

    async def heal(self) -> None:
        await self.proxy.heal()

    def consumer(
        self, name: str, *, selector: Selector | None = None, ack_wait_seconds: float = 30.0
    ) -> NatsConsumer:
        return NatsConsumer(
            Access(servers=self.url, connect_seconds=2),
            name=name,
            selector=selector,
            ack_wait_seconds=ack_wait_seconds,
            batch=10,
            retry_seconds=0.05,
        )


class WithKills(ThroughProxy):
    """`cut` is a kill -9 of the server, `heal` a restart on the same store."""

    async def cut(self) -> None:
        await asyncio.to_thread(self.server.kill)

    async def heal(self) -> None:
        await asyncio.to_thread(self.server.start)


class MakeCourier(Protocol):
    def __call__(
        self, kind: type[ThroughProxy] = ..., *, max_payload_bytes: int | None = ...
    ) -> AbstractAsyncContextManager[ThroughProxy]: ...


@pytest.fixture
def make_courier(tmp_path: Path) -> MakeCourier:
    @asynccontextmanager
    async def make(
        kind: type[ThroughProxy] = ThroughProxy, *, max_payload_bytes: int | None = None
    ) -> AsyncIterator[ThroughProxy]:
        with NatsServer(tmp_path / "nats", max_payload_bytes=max_payload_bytes) as server:
            async with TcpProxy(target_port=server.port) as proxy:
                courier = kind(server, proxy)
                try:
                    yield courier
                finally:
                    await courier.channel.close()

    return make


@pytest.fixture
def read_stream() -> Callable[..., object]:
    return stored


@pytest.fixture
def with_kills() -> type[ThroughProxy]:
    return WithKills


@pytest.fixture
def settings() -> StreamSettings:
    return StreamSettings()
