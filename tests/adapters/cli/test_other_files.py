"""Commands that work on what there is, pointed at a file that is not Tillport's: it stays as it was."""

import asyncio
import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tillport.adapters.compose import Secret, open_stores, system_clock

LOOKING = [
    ["status"],
    ["events", "list"],
    ["events", "show", "evt_1"],
    ["events", "tail"],
    ["events", "export"],
    ["events", "replay", "--after", "0", "--messaging", "nats://127.0.0.1:9"],
    ["events", "replay", "--after", "0", "--handler", "ship"],
    ["events", "forget", "--older-than", "90d"],
    ["explain", "pi_1"],
    ["erase", "cus_1"],
    ["reconcile", "--since", "1h"],
    ["consumers", "list"],
    ["consumers", "drop", "report"],
    ["effects", "list"],
    ["effects", "show", "evt_1"],
    ["effects", "retry", "--all", "--handler", "ship"],
    ["effects", "skip", "evt_1", "--handler", "ship"],
]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def strangers(path: Path, journal: str) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"PRAGMA journal_mode={journal}")
        file.execute("CREATE TABLE photos (name)")


def strange(path: Path, kind: str) -> str:
    match kind:
        case "empty":
            path.touch()
        case "text":
            path.write_text("Dear diary\n" * 500)
        case journal:
            strangers(path, journal)
    return f"sqlite:///{path}"


def is_left_as_it_was(run, url: str, words: list[str]) -> None:
    folder = Path(url.removeprefix("sqlite:///")).parent
    before = contents(folder)
    done = run(*words, "--database", url, stripe_secret_key="sk_test_x")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Is it the right file?" in done.stderr
    assert contents(folder) == before


@pytest.mark.parametrize("words", LOOKING, ids=" ".join)
def test_no_command_but_those_that_create_touches_another_file(run, tmp_path: Path, words: list[str]) -> None:
    is_left_as_it_was(run, strange(tmp_path / "photos.db", "DELETE"), words)


@pytest.mark.parametrize("kind", ["WAL", "empty", "text"])
@pytest.mark.parametrize("words", [["status"], ["effects", "list"]], ids=" ".join)
def test_whatever_the_file_is_it_stays_so(run, tmp_path: Path, kind: str, words: list[str]) -> None:
    is_left_as_it_was(run, strange(tmp_path / "photos.db", kind), words)


def test_another_file_that_is_named_for_effects_is_left_as_it_was(run, tmp_path: Path, database: str) -> None:
    other = strange(tmp_path / "photos.db", "DELETE")
    before = contents(tmp_path)
    done = run("status", "--database", database, "--effects-database", other)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert contents(tmp_path) == before


def test_who_is_refused_is_told_what_makes_the_tables(run, tmp_path: Path) -> None:
    (tmp_path / "new.sqlite3").touch()
    refused = run("status", "--database", "sqlite:///new.sqlite3")
    assert "tillport db upgrade" in refused.stderr
    assert run("db", "upgrade", "--database", "sqlite:///new.sqlite3").returncode == 0
    assert run("status", "--database", "sqlite:///new.sqlite3").returncode == 0


def test_a_log_is_known_while_its_tables_are_in_the_write_ahead_log_alone(run, tmp_path: Path) -> None:
    """As they are from a service's first start until its first checkpoint."""
    url = f"sqlite:///{tmp_path / 'till.sqlite3'}"

    async def beside_a_service() -> int:
        async with open_stores(Secret(url), system_clock()) as stores:
            await stores.log.head()
            with closing(sqlite3.connect(f"file:{tmp_path}/till.sqlite3?immutable=1", uri=True)) as file:
                assert file.execute("SELECT * FROM sqlite_master").fetchall() == [], "the control"
            return (await asyncio.to_thread(run, "status", "--database", url)).returncode

    assert asyncio.run(beside_a_service()) == 0


@pytest.mark.parametrize("kind", ["WAL", "empty"])
def test_comparing_changes_no_file(run, tmp_path: Path, kind: str) -> None:
    other = strange(tmp_path / "photos.db", kind)
    before = contents(tmp_path)
    assert run("db", "check", "--database", other).returncode == 1
    assert contents(tmp_path) == before
