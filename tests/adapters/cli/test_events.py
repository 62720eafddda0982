"""`tillport events`: reading the log beside a service, or without one."""

import asyncio
import json
import os
import subprocess
import sys

from tillport.adapters.compose import Secret, open_stores, system_clock
from tillport.adapters.conformance.samples import event


def test_events_are_listed_oldest_first(run, database: str) -> None:
    done = run("events", "list", "--database", database)
    assert done.returncode == 0
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["evt_1", "evt_2", "evt_3"]


def test_the_database_may_come_from_the_settings(run, database: str) -> None:
    assert len(run("events", "list", database_url=database).stdout.splitlines()) == 3


def test_a_selector_and_a_limit_narrow_the_list(run, database: str) -> None:
    done = run("events", "list", "-s", "id = 'ch_1'", "--json", "--database", database)
    assert [json.loads(line)["event_id"] for line in done.stdout.splitlines()] == ["evt_1", "evt_2"]
    done = run("events", "list", "--after", "1", "--limit", "1", "--json", "--database", database)
    assert [json.loads(line)["event_id"] for line in done.stdout.splitlines()] == ["evt_2"]


def test_a_selector_that_can_not_be_read_is_refused(run, database: str) -> None:
    done = run("events", "list", "-s", "id like '%'", "--database", database)
    assert done.returncode == 2
    assert "id = 'ch_…'" in done.stderr


def test_an_event_is_shown_with_its_body(run, database: str) -> None:
    done = run("events", "show", "evt_2", "--database", database)
    assert done.returncode == 0
    assert "charge.refunded" in done.stdout
    assert '"id": "evt_2"' in done.stdout
    raw = run("events", "show", "evt_2", "--raw", "--database", database)
    assert raw.stdout.rstrip("\n").encode() == event(2).body


def test_an_event_that_is_not_there_is_told(run, database: str) -> None:
    done = run("events", "show", "evt_9", "--database", database)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no event 'evt_9'" in done.stderr


def test_reading_makes_no_database_where_there_is_none(run, tmp_path) -> None:
    done = run("events", "list", "--database", "sqlite:///none.sqlite3")
    assert done.returncode == 2
    assert "no database file none.sqlite3" in done.stderr
    assert not (tmp_path / "none.sqlite3").exists()


def test_the_tail_shows_what_comes(database: str) -> None:
    tail = subprocess.Popen(
        [sys.executable, "-m", "tillport.adapters.cli", "events", "tail", "--after", "3", "--json"],
        env=os.environ | {"TILLPORT_DATABASE_URL": database},
        stdout=subprocess.PIPE,
        text=True,
    )

    async def more() -> None:
        async with open_stores(Secret(database), system_clock()) as stores:
            await stores.log.record([event(4)])

    try:
        asyncio.run(more())
        assert tail.stdout is not None
        assert json.loads(tail.stdout.readline())["event_id"] == "evt_4"
    finally:
        tail.send_signal(2)
        assert tail.wait(30) == 130
        tail.stdout.close()
