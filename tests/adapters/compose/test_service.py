"""The parts joined: a whole payment through the composition, in one process, with nothing but a file on disk."""

import asyncio
import os
import sqlite3
from contextlib import aclosing, closing
from pathlib import Path
from random import Random

import attrs
import pytest

from tillport.adapters.compose import Secret, Settings, SettingsRefused, open_service
from tillport.adapters.memory.clock import ManualClock
from tillport.domain import ChargeRefused
from tillport.ports.selector import Compare


async def test_a_payment_goes_round(town) -> None:
    async with town.service() as service:
        charge_id = await town.charge(service)
        async with aclosing(
            service.till.subscribe(Compare("id", "=", charge_id), caller=town.shop)
        ) as stream:
            assert await town.deliver(service) > 0
            types = {(await asyncio.wait_for(anext(stream), 30)).event.type for _ in range(2)}
            assert "charge.succeeded" in types
        courier = service.channel.consumer("test", selector=Compare("id", "=", charge_id))
        assert await courier.next(seconds=30) is not None


async def test_what_was_recorded_before_a_restart_is_published_after_it(town) -> None:
    async with town.service(run_loops=False) as service:
        await town.charge(service)
        recorded = await town.deliver(service)
        assert service.channel.messages == ()
    async with town.service() as service:
        courier = service.channel.consumer("test")
        heard = [await courier.next(seconds=30) for _ in range(recorded)]
        assert None not in heard


async def test_everything_is_closed_in_order_and_the_file_is_left_whole(town) -> None:
    before = asyncio.all_tasks()
    async with town.service() as service:
        await town.charge(service)
        await town.deliver(service)
    assert asyncio.all_tasks() - before == set()
    with closing(sqlite3.connect(town.folder / "till.sqlite3")) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = file.execute('SELECT count(*) FROM "StripeEvents"').fetchone()[0]
    assert rows == len(town.simulator.events.list(limit=100).data)


async def test_the_lease_is_given_up_at_the_end(town) -> None:
    async with town.service():
        await asyncio.sleep(0.05)
    async with town.service(run_loops=False) as service:
        await service.loops[0].step()
        assert service.relay.position == 0  # claimed at once, though the other's lease had long to run


async def test_half_a_configuration_opens_nothing(tmp_path: Path) -> None:
    settings = Settings(currency="usd", database_url=Secret(f"sqlite:///{tmp_path / 'till.sqlite3'}"))
    with pytest.raises(SettingsRefused, match="no signing secret"):
        async with open_service(settings):
            pass
    assert not any(os.scandir(tmp_path))


async def test_a_missing_folder_is_told(town) -> None:
    settings = attrs.evolve(town.settings, database_url=Secret(f"sqlite:///{town.folder}/none/till.sqlite3"))
    with pytest.raises(SettingsRefused, match="folder of the database file is not there"):
        async with open_service(settings):
            pass


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///a?mode=ro"])
async def test_a_url_without_a_file_is_told(town, url: str) -> None:
    with pytest.raises(SettingsRefused, match="names no SQLite file"):
        async with open_service(attrs.evolve(town.settings, database_url=Secret(url))):
            pass


async def test_the_limit_of_the_settings_is_the_policys(town) -> None:
    town.settings = attrs.evolve(town.settings, maximum_amount_minor={"": 1000})
    async with town.service() as service:
        with pytest.raises(ChargeRefused, match=r"more than is accepted at once"):
            await town.charge(service)
    assert town.simulator.charges.list().data == []


async def test_a_whole_till_steps_under_a_clock_moved_by_hand(town) -> None:
    clock = ManualClock(town.simulator.clock.now())
    async with town.service(
        clock=clock, random=Random(1), nonces=iter("abc").__next__, run_loops=False
    ) as service:
        await town.charge(service)
        recorded = await town.deliver(service)
        relay, resolver = service.loops
        await relay.step()
        await resolver.step()
        assert len(service.channel.messages) == recorded
        assert (relay.state.failures_in_a_row, resolver.state.failures_in_a_row) == (0, 0)


async def test_events_are_forgotten_by_the_setting(town) -> None:
    town.settings = attrs.evolve(town.settings, retention_days=30)
    async with town.service() as service:
        charge_id = await town.charge(service)
        await town.deliver(service)
        recorded = await service.stores.log.head()
        async with asyncio.timeout(60):
            while (await service.stores.cursors.positions()).get("relay") != recorded:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        (keeping,) = (loop.work for loop in service.loops if loop.work.name == "retention")
        keeping.clock = ManualClock(now=service.clock.now() + 40 * 86_400)
        await keeping.step()
        assert keeping.forgotten == recorded
        page = await service.stores.log.read(after=0, where=Compare("id", "=", charge_id))
        assert (page.events, page.reset) == ((), True)
