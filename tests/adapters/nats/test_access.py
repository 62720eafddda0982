"""Users and passwords in the URLs of NATS servers: how they are written, and what is told when they are wrong."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tillport.adapters.compose import Secret, SettingsRefused
from tillport.adapters.compose.courier import nats_channel, open_courier
from tillport.adapters.conformance.couriers import message
from tillport.adapters.conformance.proxy import TcpProxy
from tillport.adapters.nats import Access, AccessRefused, NatsChannel, NatsConsumer
from tillport.adapters.nats.testing import NatsServer, free_port

USER, PASSWORD = "till/port,a@b%41", "p@ss/w,rd%2F:#?"
LOGIN = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "guarded", user=USER, password=PASSWORD) as server:
        yield server


def url_of(server: NatsServer, login: str = LOGIN) -> str:
    return f"nats://{login}@127.0.0.1:{server.port}"


async def test_a_user_and_a_password_may_hold_whatever_means_something_in_a_url(guarded: NatsServer) -> None:
    async with NatsChannel(Access(servers=url_of(guarded))) as channel:
        await channel.publish([message(1)])
    async with NatsConsumer(Access(servers=url_of(guarded)), name="a") as consumer:
        found = await consumer.next(seconds=10)
    assert found is not None
    assert found.message == message(1)


async def test_the_messaging_url_may_hold_them_too_and_name_several_servers(guarded: NatsServer) -> None:
    for url in (url_of(guarded), f"{url_of(guarded)},nats://127.0.0.1:{guarded.port}"):
        async with open_courier(Secret(url)) as channel:
            await channel.publish([message(1)])


async def test_the_user_of_one_server_is_the_user_of_all(guarded: NatsServer) -> None:
    first = f"nats://127.0.0.1:{guarded.port}"
    for servers in ([first, url_of(guarded)], [url_of(guarded), url_of(guarded)]):
        async with NatsChannel(Access(servers=servers)) as channel:
            await channel.publish([message(1)])


@pytest.mark.parametrize("login", ["", "till:hunter2@", "t0ken@"])
async def test_who_may_not_connect_is_told_so_and_not_that_nobody_is_there(
    guarded: NatsServer, login: str
) -> None:
    access = Access(servers=f"nats://{login}127.0.0.1:{guarded.port}")
    async with NatsChannel(access) as channel:
        with pytest.raises(AccessRefused) as refusal:
            await channel.publish([message(1)])
    async with NatsConsumer(access, name="a") as consumer, asyncio.timeout(10):
        with pytest.raises(AccessRefused):
            await anext(consumer)
    told = f"{refusal.value!r} {refusal.value} {refusal.value.__cause__!r} {refusal.value.__context__!r}"
    assert "hunter2" not in told
    assert "t0ken" not in told


async def test_a_network_that_is_slow_to_introduce_us_is_no_refusal(guarded: NatsServer) -> None:
    """The server waits two seconds for who we are, and then speaks of authentication too."""
    async with NatsChannel(Access(servers=url_of(guarded))) as channel:
        await channel.publish([message(1)])
    async with TcpProxy(target_port=guarded.port) as proxy:
        proxy.delay_seconds = 1.2
        access = Access(servers=f"nats://{LOGIN}@127.0.0.1:{proxy.port}", connect_seconds=20)
        async with NatsConsumer(access, name="a", retry_seconds=0.1) as consumer:
            waiting = asyncio.ensure_future(anext(consumer))
            async with asyncio.timeout(30):
                while proxy.connections < 2:  # the second says that the first was told
                    assert not waiting.done(), waiting.exception()
                    await asyncio.sleep(0.05)
                proxy.delay_seconds = 0.0
                assert (await waiting).message == message(1)


async def test_a_token_in_the_url_is_decoded_and_one_beside_it_counts(tmp_path: Path) -> None:
    with NatsServer(tmp_path, token="t/0,k@n%") as server:
        for access in (
            Access(servers=f"nats://t%2F0%2Ck%40n%25@127.0.0.1:{server.port}"),
            Access(servers=f"nats://wrong@127.0.0.1:{server.port}", token="t/0,k@n%"),
        ):
            async with NatsChannel(access) as channel:
                await channel.publish([message(1)])


@pytest.mark.parametrize(
    "servers",
    [
        ["nats://till:hunter2@a:4222", "nats://till:other@b:4222"],
        ["nats://till:hunter2@a:4222", "nats://hunter2@b:4222"],
        ["nats://till:hunter2"],
        ["nats://till:hunter2@a:port"],
        ["http://till:hunter2@a:4222"],
        ["nats://till:hunter2@"],
    ],
)
def test_what_can_not_be_meant_is_refused_without_quoting_it(servers: list[str]) -> None:
    with pytest.raises(ValueError, match="NATS server") as refusal:
        Access(servers=servers)
    assert "hunter2" not in f"{refusal.value} {refusal.value.__cause__!r}"
    assert refusal.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        "nats://till:hunter2,more@127.0.0.1:4222",
        "nats://till:4222,hunter2@127.0.0.1:4222",
        "nats://till:a@hunter2,more@127.0.0.1:4222",
    ],
)
def test_a_comma_in_a_password_is_no_second_server(url: str) -> None:
    with pytest.raises(SettingsRefused, match=r"%2C|different users") as refusal:
        nats_channel(Secret(url))
    assert "hunter2" not in f"{refusal.value} {refusal.value.__cause__!r}"
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__


def test_a_login_is_not_shown() -> None:
    access = Access(servers=f"nats://till:hunter2@127.0.0.1:{free_port()}", token="s3cret")
    assert "hunter2" not in repr(access)
    assert "s3cret" not in repr(access)
    assert "till:" not in repr(access)
