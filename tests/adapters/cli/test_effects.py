"""`tillport effects`: dead letters are listed, shown, retried and skipped by people."""

import asyncio
import json
import sqlite3
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from tillport.adapters.conformance.effects import HANDLER, claim, effect, enlist
from tillport.adapters.sql.effects_stacks import DbapiEffectQueue


@pytest.fixture
def host(tmp_path: Path) -> str:
    """A database with three effects: one due, two dead."""
    path = tmp_path / "host.sqlite3"

    async def fill() -> None:
        async with aclosing(DbapiEffectQueue(lambda: sqlite3.connect(path))) as queue:
            await queue.create_tables()
            await enlist(queue, effect(1), effect(2), effect(3))
            for one in (await claim(queue))[:2]:
                await queue.postpone(one, error="ValueError: no such customer", due_at=None)

    asyncio.run(fill())
    return f"sqlite:///{path}"


def dead(run, host: str) -> list[str]:
    lines = run("effects", "list", "--json", "--database", host).stdout.splitlines()
    return [json.loads(line)["event_id"] for line in lines]


def test_dead_letters_are_listed_with_what_went_wrong(run, host: str) -> None:
    done = run("effects", "list", "--database", host)
    assert done.returncode == 0
    first, second, third = done.stdout.splitlines()
    assert "up to 3, 1 due, 2 dead" in first
    assert "1 try: ValueError: no such customer" in second
    assert third.startswith("     2  dead")
    assert dead(run, host) == ["evt_1", "evt_2"]


def test_every_state_can_be_listed(run, host: str) -> None:
    lines = run("effects", "list", "--state", "all", "--json", "--database", host).stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["dead", "dead", "due"]
    narrowed = run("effects", "list", "--state", "all", "--payment", "pi_3", "--json", "--database", host)
    assert len(narrowed.stdout.splitlines()) == 1


def test_one_event_is_shown(run, host: str) -> None:
    done = run("effects", "show", "evt_1", "--database", host)
    assert done.returncode == 0
    assert "no such customer" in done.stdout
    assert run("effects", "show", "evt_9", "--database", host).returncode == 1


def test_a_dead_letter_is_retried(run, host: str) -> None:
    assert run("effects", "retry", "evt_1", "--handler", HANDLER, "--database", host).returncode == 0
    assert dead(run, host) == ["evt_2"]
    assert run("effects", "retry", "evt_1", "--handler", HANDLER, "--database", host).returncode == 1


def test_every_dead_letter_is_retried(run, host: str) -> None:
    done = run("effects", "retry", "--all", "--handler", HANDLER, "--database", host)
    assert (done.returncode, done.stdout) == (0, "2 to be tried again\n")
    assert dead(run, host) == []
    assert run("effects", "retry", "--handler", HANDLER, "--database", host).returncode == 2


def test_what_dies_again_at_once_is_retried_once(run, host: str) -> None:
    """A worker is up, and the handler was not mended."""
    with closing(sqlite3.connect(host.removeprefix("sqlite:///"))) as connection:
        connection.execute(
            "CREATE TRIGGER fails AFTER UPDATE OF state ON tillport_effects WHEN NEW.state = 'due' "
            "BEGIN UPDATE tillport_effects SET state = 'dead' WHERE event_id = NEW.event_id; END"
        )
    done = run("effects", "retry", "--all", "--handler", HANDLER, "--database", host)
    assert (done.returncode, done.stdout) == (0, "2 to be tried again\n")
    assert dead(run, host) == ["evt_1", "evt_2"]


def test_an_effect_is_skipped_for_ever(run, host: str) -> None:
    assert run("effects", "skip", "evt_2", "--handler", HANDLER, "--database", host).returncode == 0
    assert dead(run, host) == ["evt_1"]
    assert run("effects", "skip", "evt_2", "--handler", HANDLER, "--database", host).returncode == 1


def test_a_database_without_effects_is_told(run, database: str, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "empty.sqlite3").close()
    (tmp_path / "empty.sqlite3").touch()
    done = run("effects", "list", "--database", "sqlite:///empty.sqlite3")
    assert done.returncode == 2
    assert "create_tables" in done.stderr
    assert (tmp_path / "empty.sqlite3").read_bytes() == b""
    assert run("effects", "list", "--database", database).returncode == 0, "the log's own file has the tables"


def test_a_handler_that_never_ran_is_told_with_those_that_did(run, host: str) -> None:
    for words in (["list"], ["retry", "evt_1"], ["retry", "--all"], ["skip", "evt_1"]):
        done = run("effects", *words, "--handler", "book the ordre", "--database", host)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert f"no handler 'book the ordre' here; there is {HANDLER!r}" in done.stderr, words


def test_a_database_on_which_no_handler_ran_is_told(run, database: str) -> None:
    done = run("effects", "list", "--database", database)
    assert (done.returncode, done.stdout) == (0, "")
    assert "No handler has ever run" in done.stderr
