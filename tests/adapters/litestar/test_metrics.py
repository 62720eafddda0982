"""`GET /metrics`: the numbers that alerts are made of, for who has a server key."""

import asyncio
import re
import sqlite3
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
from high_street import DAY, SHOP, Town
from litestar import Litestar

from tillport.adapters.compose import Secret, Service, run_effects
from tillport.adapters.litestar.metrics import Metric, exposition
from tillport.adapters.sql.effects_stacks import DbapiEffectQueue
from tillport.domain.handlers import Handlers, Retries
from tillport.ports.effects import EffectQueue
from tillport.ports.event_log import Event
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder

SERVER_KEY = "server-key-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {SERVER_KEY}"}
LINE = re.compile(r'[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\["\\n])*"\})? [-+.e0-9]+')


@pytest.fixture
def town(tmp_path) -> Town:
    import attrs

    town = Town(tmp_path)
    town.settings = attrs.evolve(town.settings, server_keys=(Secret(SERVER_KEY),))
    return town


async def scrape(app: Litestar, headers: dict[str, str] | None = None) -> httpx.Response:
    transport: Any = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://till.test") as client:
        return await client.get("/metrics", headers=BEARER if headers is None else headers)


def numbers(response: httpx.Response) -> dict[str, float]:
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    assert all(LINE.fullmatch(line) for line in lines), lines
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


async def test_the_numbers_follow_the_till(town: Town) -> None:
    async with town.till() as service:
        app = service.app()
        for _ in range(2):
            answer = await service.till.charge(ChargeOrder("tok_visa", Money(1250, "usd")), caller=SHOP)
        await town.deliver(service)
        events = len(town.stripe_ids())
        town.simulator.advance(90)
        response = await scrape(app)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        found = numbers(response)
        assert found["tillport_store_up"] == 1
        assert found["tillport_log_position"] == found["tillport_relay_lag_events"] == events
        assert found["tillport_relay_lag_seconds"] == 90
        assert found["tillport_unknown_charges"] == found["tillport_ingest_waiting_events"] == 0
        assert found["tillport_relay_active"] == 0

        await service.loops[0].step()
        town.change(
            "UPDATE tillport_attempts SET state = 'unknown', busy_until = 0 WHERE key = ?", answer.attempt_key
        )
        town.simulator.advance(DAY)
        found = numbers(await scrape(app))
        assert found["tillport_relay_position"] == found["tillport_relay_published_total"] == events
        assert found["tillport_relay_lag_events"] == found["tillport_relay_lag_seconds"] == 0
        assert found["tillport_relay_active"] == 1
        assert found["tillport_unknown_charges"] == 1
        assert found["tillport_unknown_charge_seconds"] >= DAY
        assert found['tillport_loop_failures{loop="relay"}'] == 0


async def test_every_name_is_told_of_once_and_its_lines_stand_together(town: Town) -> None:
    async with town.till() as service:
        text = (await scrape(service.app())).text
    told = re.findall(r"# TYPE (\S+)", text)
    assert len(told) == len(set(told))
    assert len(re.findall("# HELP", text)) == len(told)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer nobody-s-key-at-all"}, 401),
        ({"Authorization": "Bearer app-key-of-a-web-page"}, 403),
    ],
    ids=["no key", "an unknown key", "an app key"],
)
async def test_only_a_server_key_sees_them(town: Town, headers, status) -> None:
    async with town.till() as service:
        response = await scrape(service.app(), headers)
        assert response.status_code == status
        assert "tillport_" not in response.text


async def test_an_outage_of_the_database_is_told_beside_what_the_process_knows(town: Town) -> None:
    async with town.till() as service:
        app = service.app()
        assert numbers(await scrape(app))["tillport_store_up"] == 1
        store = service.stores.log._store
        await store.aclose()
        response = await scrape(app)
        assert response.status_code == 200
        found = numbers(response)
        assert found["tillport_store_up"] == 0
        assert "tillport_relay_lag_seconds" not in found, "what is not known is not said to be 0"
        assert "tillport_ingest_waiting_events" in found


async def give_up(handler: str, queue: EffectQueue[Any], service: Service) -> None:
    """Have a handler fail for good on the first event that it gets."""
    handlers = Handlers[Any]()

    @handlers.on("charge.succeeded", name=handler, from_start=True, retries=Retries(most_tries=1))
    def fails(_transaction: Any, _event: Event) -> None:
        raise ValueError("no such customer")

    async with run_effects(
        handlers, queue, stores=service.stores, clock=service.clock, run_loops=False
    ) as effects:
        await effects.enlisters[0].step()
        await effects.workers[0].step()
        assert effects.workers[0].dead == 1


async def test_dead_letters_beside_the_log_are_told_by_a_service_that_runs_no_handlers(town: Town) -> None:
    async with (
        town.till() as service,
        aclosing(DbapiEffectQueue(lambda: sqlite3.connect(town.path), threads=1)) as queue,
    ):
        await town.charge(service)
        await town.deliver(service)
        await give_up("book the order", queue, service)
        found = numbers(await scrape(service.app()))
    assert found['tillport_dead_letters{handler="book the order"}'] == 1
    assert found['tillport_effects_due{handler="book the order"}'] == 0


async def test_a_queue_that_is_handed_in_is_told_of_in_place_of_the_effects_beside_the_log(
    town: Town, tmp_path: Path
) -> None:
    async with (
        town.till() as service,
        aclosing(DbapiEffectQueue(lambda: sqlite3.connect(tmp_path / "shop.sqlite3"), threads=1)) as queue,
    ):
        await town.charge(service)
        await town.deliver(service)
        await queue.create_tables()
        await give_up("book the order", queue, service)
        assert not [name for name in numbers(await scrape(service.app())) if "dead_letters" in name]
        found = numbers(await scrape(service.app(effects=queue)))
    assert found['tillport_dead_letters{handler="book the order"}'] == 1


async def test_a_file_without_tables_of_effects_has_no_dead_letters(town: Town) -> None:
    async with town.till() as service:
        await town.charge(service)
        town.change("DROP TABLE tillport_effects")
        town.change("DROP TABLE tillport_effect_handlers")
        found = numbers(await scrape(service.app()))
    assert found["tillport_store_up"] == 1
    assert not [name for name in found if "dead_letters" in name]


async def test_effects_that_are_away_do_not_hide_how_the_log_fares(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging:
        """A database that takes connections and never answers."""

        async def standings(self) -> Any:
            await asyncio.Event().wait()

    monkeypatch.setattr("tillport.adapters.litestar.metrics.STATUS_SECONDS", 1.0)
    monkeypatch.setattr("tillport.adapters.compose.metrics.EFFECTS_SECONDS", 0.1, raising=False)
    async with town.till() as service:
        await service.till.charge(ChargeOrder("tok_visa", Money(1250, "usd")), caller=SHOP)
        await town.deliver(service)
        effects: Any = Hanging()
        found = numbers(await scrape(service.app(effects=effects)))
    assert found["tillport_store_up"] == 1
    assert found["tillport_relay_lag_events"] > 0


def test_names_from_outside_can_not_break_the_format() -> None:
    text = exposition([Metric("a", "b", 1, {"consumer": 'x"} 5\nb{c="\\'})])
    lines = text.splitlines()
    assert len(lines) == 3
    assert lines[2] == 'a{consumer="x\\"} 5\\nb{c=\\"\\\\"} 1'
