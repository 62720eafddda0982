"""`tillport events forget`, `erase`, `consumers`: by the commands, on a file and on a real PostgreSQL."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tillport.adapters.compose import Secret, Stores, open_stores, system_clock
from tillport.adapters.compose.effects import open_effect_queue
from tillport.adapters.conformance.samples import NOON, attempt, event
from tillport.adapters.sql.testing import PostgresServer
from tillport.ports.effects import Effect
from tillport.ports.ledger import AttemptState, Outcome

PERSONAL = b'{"id":"evt_1","data":{"object":{"id":"ch_1","amount":5,"customer":"cus_7","receipt_email":"jenny@x.org"}}}'


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path: Path, run) -> str:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'till.sqlite3'}"
    else:
        url = request.getfixturevalue("server").create_database()
    assert run("db", "upgrade", "--database", url).returncode == 0

    async def fill(stores: Stores) -> None:
        await stores.log.record([event(1, body=PERSONAL, aliases=("ch_1", "pi_1")), event(2), event(3)])
        await stores.ledger.open(
            attempt(1, outcome=Outcome(state=AttemptState.SUCCEEDED, body=PERSONAL, charge_id="ch_1"))
        )
        await stores.cursors.claim("report", owner="x", now=NOON, until=NOON + 1)

    with_stores(url, fill)
    return url


def with_stores(url: str, work):
    async def opened():
        async with open_stores(Secret(url), system_clock()) as stores:
            return await work(stores)

    return asyncio.run(opened())


def test_a_person_is_erased_and_it_is_said_what_stays(run, url: str) -> None:
    done = run("erase", "cus_7", "--database", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Removed from 1 event and 1 charge attempt" in done.stdout
    assert "Kept, for the books" in done.stdout

    async def look(stores: Stores) -> bytes:
        found, kept = await stores.log.find("evt_1"), await stores.ledger.find("key_1")
        assert found is not None
        assert kept is not None
        return found.event.body + kept.outcome.body

    left = with_stores(url, look)
    assert b"jenny" not in left
    assert b"cus_7" not in left
    again = run("erase", "ch_1", "--database", url)
    assert again.returncode == 0, "twice is harmless"
    assert "it was erased before" in again.stdout
    nobody = run("erase", "cus_8", "--database", url)
    assert nobody.returncode == 1
    assert "Neither the log nor the ledger speaks of cus_8" in nobody.stderr
    refused = run("erase", "jenny@x.org", "--database", url)
    assert refused.returncode == 2


def test_old_events_go_when_nobody_needs_them(run, url: str) -> None:
    dry = run("events", "forget", "--older-than", "30d", "--dry-run", "--database", url)
    assert dry.returncode == 0
    assert "Nothing after position 0 is forgotten: the consumer report is not further." in dry.stdout
    listed = run("consumers", "list", "--database", url)
    assert "3 behind  report" in listed.stdout
    assert "nobody" in run("consumers", "drop", "nobody", "--database", url).stderr
    assert run("consumers", "drop", "relay", "--database", url).returncode == 2
    assert run("consumers", "drop", "report", "--database", url).returncode == 0
    dry = run("events", "forget", "--older-than", "30d", "--dry-run", "--database", url)
    assert "3 events at most would be forgotten" in dry.stdout
    assert with_stores(url, lambda stores: stores.log.find("evt_1")) is not None, "a dry run changes nothing"
    for _ in range(20):  # on PostgreSQL somebody's older transaction may be open, the server's own included
        done = run("events", "forget", "--older-than", "30d", "--database", url)
        assert done.returncode == 0, done.stderr
        if "more wait" not in done.stdout:
            break
    assert with_stores(url, lambda stores: stores.log.find("evt_1")) is None
    later = run("events", "forget", "--older-than", "2200-01-01", "--database", url)
    assert later.returncode == 2


def test_who_is_at_work_is_not_dropped(run, url: str) -> None:
    async def claim(stores: Stores) -> None:
        await stores.cursors.claim("report", owner="y", now=system_clock().now(), until=2**40)

    with_stores(url, claim)
    done = run("consumers", "drop", "report", "--database", url)
    assert done.returncode == 1
    assert "Stop it first" in done.stderr


def test_effects_that_can_not_be_read_are_not_taken_for_none(run, server: PostgresServer) -> None:
    """Somebody may read and write the log and not the effects; one of them still needs an old event."""
    url = server.create_database()
    assert run("db", "upgrade", "--database", url).returncode == 0

    async def fill(stores: Stores) -> None:
        await stores.log.record([event(1), event(2)])
        async with open_effect_queue(Secret(url)) as queue:
            await queue.begin("ship", position=0)
            dead = Effect(handler="ship", event_id="evt_1", position=1, payment_key="pi_1")
            await queue.enlist("ship", [dead], after=0, position=2)

    with_stores(url, fill)
    clerk = f"clerk_{url.rpartition('/')[2]}"
    server.psql(
        f"CREATE ROLE {clerk} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {clerk}; "
        f"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {clerk}; "
        f"REVOKE ALL ON tillport_effects FROM {clerk}",
        database=url.rpartition("/")[2],
    )
    as_clerk = ("--database", url.replace("postgres@", f"{clerk}@"))
    for words in (["events", "forget", "--older-than", "30d"], ["status"], ["explain", "ch_1"]):
        done = run(*words, *as_clerk)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert "The effects can't be reached now" in done.stderr
    assert run("events", "list", *as_clerk).returncode == 0, "the log can be read"
    assert with_stores(url, lambda stores: stores.log.find("evt_1")) is not None


@pytest.mark.parametrize(
    "words", [["status"], ["explain", "ch_1"], ["events", "forget", "--older-than", "30d"]]
)
def test_a_database_that_is_away_is_told_of_as_that_of_the_log(run, words: list[str]) -> None:
    done = run(*words, "--database", "postgresql://nobody@127.0.0.1:9/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "The event log can't be reached now" in done.stderr
