"""`tillport explain`, `status`, and what `events` does beside listing: as a person runs them."""

import asyncio
import json
import sqlite3
from contextlib import aclosing, closing

import pytest

from tillport.adapters.compose import Secret, open_stores, system_clock
from tillport.adapters.conformance.samples import NOON, attempt
from tillport.adapters.sql.effects_stacks import DbapiEffectQueue
from tillport.ports.effects import Effect
from tillport.ports.ledger import AttemptState, Outcome


@pytest.fixture
def paid(database: str) -> str:
    """The log of three events, and the attempt behind the first."""

    async def fill() -> None:
        async with open_stores(Secret(database), system_clock()) as stores:
            outcome = Outcome(state=AttemptState.SUCCEEDED, charge_id="ch_1", payment_intent_id="pi_1")
            await stores.ledger.open(attempt(1, outcome=outcome, busy_until=0.0))
            await stores.ledger.open(attempt(2, outcome=Outcome(state=AttemptState.UNKNOWN)))

    asyncio.run(fill())
    return database


def test_a_payment_is_explained_to_people(run, paid: str) -> None:
    done = run("explain", "pi_1", "--database", paid)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Charged 12.50 USD as ch_1.\n")
    for said in ("server_1 asked for 12.50 USD", "charge.succeeded came", "evt_2", "not published yet"):
        assert said in done.stdout, said
    assert "tok_1" not in done.stdout


def test_a_payment_is_explained_to_programs(run, paid: str) -> None:
    told = json.loads(run("explain", "key_1", "--json", "--database", paid).stdout)
    assert told["asked"] == "key_1"
    assert {"ch_1", "pi_1", "key_1"} <= set(told["names"])
    steps = [one["step"] for one in told["story"]]
    assert steps == ["attempt", "outcome", "event", "event"]


def test_what_nobody_knows_is_told(run, paid: str) -> None:
    done = run("explain", "ch_9", "--database", paid)
    assert (done.returncode, done.stdout) == (1, "")
    assert "tillport reconcile" in done.stderr


def test_the_status_says_what_waits(run, paid: str) -> None:
    done = run("status", "--database", paid)
    assert done.returncode == 0, done.stderr
    assert "has never run" in done.stdout
    assert "unpublished        3, the oldest since" in done.stdout
    assert "unknown charges    1, the oldest since" in done.stdout
    told = json.loads(run("status", "--json", "--database", paid).stdout)
    assert (told["head"], told["unpublished"], told["unknown_charges"], told["dead_letters"]) == (3, 3, 1, 0)


@pytest.fixture
def worked(paid: str) -> str:
    """The same, with a handler that gave up on the second event and began after the first."""

    async def fill() -> None:
        path = paid.removeprefix("sqlite:///")
        async with aclosing(DbapiEffectQueue(lambda: sqlite3.connect(path), threads=1)) as queue:
            await queue.create_tables()
            await queue.begin("ship", position=1)
            dead = Effect(handler="ship", event_id="evt_2", position=2, payment_key="pi_2")
            await queue.enlist("ship", [dead], after=1, position=3)
            await queue.postpone(dead, error="ValueError: no such parcel", due_at=None)

    asyncio.run(fill())
    return paid


def test_effects_are_told_of_where_there_are_any(run, worked: str) -> None:
    told = run("explain", "ch_1", "--database", worked)
    assert "effect 'ship': gave up after 1 failures" in told.stdout
    assert "no such parcel" in told.stdout
    status = run("status", "--database", worked)
    assert "at position 3, 0 due, 1 dead" in status.stdout
    assert json.loads(run("status", "--json", "--database", worked).stdout)["dead_letters"] == 1


def test_effects_may_be_in_a_database_of_their_own(run, database: str, worked: str, tmp_path) -> None:
    import shutil

    shutil.copy(worked.removeprefix("sqlite:///"), tmp_path / "effects.sqlite3")
    apart = f"sqlite:///{tmp_path / 'effects.sqlite3'}"
    told = json.loads(run("status", "--json", "--database", database, "--effects-database", apart).stdout)
    assert told["dead_letters"] == 1
    missing = run("status", "--database", database, "--effects-database", "sqlite:///none.sqlite3")
    assert missing.returncode == 2


def test_a_handler_is_given_what_it_never_had(run, worked: str) -> None:
    done = run("events", "replay", "--handler", "ship", "--after", "0", "--database", worked)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Offered 3 events to 'ship'; it takes those that it never had.\n"
    assert "at position 3, 2 due, 1 dead" in run("status", "--database", worked).stdout
    unknown = run("events", "replay", "--handler", "mail", "--after", "0", "--database", worked)
    assert unknown.returncode == 2
    assert "no handler 'mail'" in unknown.stderr


def test_who_is_handed_events_again_hears_that_older_ones_are_gone(run, worked: str) -> None:
    forgotten = run("events", "forget", "--older-than", "1d", "--database", worked)
    assert "1 event forgotten" in forgotten.stdout, "the dead letter holds the others back"
    for after, told in (("0", True), ("1", False)):
        done = run("events", "replay", "--handler", "ship", "--after", after, "--database", worked)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Offered 2 events")
        assert ("Older events are gone" in done.stderr) is told


def test_without_effects_there_is_nobody_to_hand_events_to(run, database: str) -> None:
    with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as file, file:
        file.execute("DROP TABLE IF EXISTS tillport_effects")
        file.execute("DROP TABLE IF EXISTS tillport_effect_handlers")
    done = run("events", "replay", "--handler", "ship", "--after", "0", "--database", database)
    assert done.returncode == 2
    assert "--effects-database" in done.stderr
    assert run("status", "--database", database).returncode == 0, "who only looks is not bothered"


def test_lists_narrow_by_type_payment_and_time(run, database: str) -> None:
    def listed(*options: str) -> list[str]:
        done = run("events", "list", "--json", "--database", database, *options)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["event_id"] for line in done.stdout.splitlines()]

    assert listed("--type", "charge.refunded") == ["evt_2"]
    assert listed("--payment", "ch_1") == ["evt_1", "evt_2"]
    assert listed("--payment", "ch_1", "--type", "charge.succeeded") == ["evt_1"]
    assert listed("--since", str(int(NOON) + 2)) == ["evt_2", "evt_3"]
    assert listed("--until", str(int(NOON) + 2)) == ["evt_1"]
    assert listed("--since", "1h") == []


def test_an_export_is_an_object_a_line_with_the_body_as_it_was(run, database: str) -> None:
    done = run("events", "export", "--database", database)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["event_id"] for row in rows] == ["evt_1", "evt_2", "evt_3"]
    assert rows[1]["body"]["id"] == "evt_2"
    assert rows[1]["aliases"] == ["ch_1"]
    assert rows[0]["received_at"] == NOON + 1 + 0.123456
    assert "3 events" in done.stderr
    some = run("events", "export", "--after", "1", "--up-to", "2", "--database", database)
    assert [json.loads(line)["event_id"] for line in some.stdout.splitlines()] == ["evt_2"]


def test_an_export_changes_no_number_and_hides_client_secrets() -> None:
    from tillport.adapters.cli.replay import exported
    from tillport.adapters.conformance.samples import event
    from tillport.ports.event_log import RecordedEvent

    body = b'{\n  "id": "evt_1",\n  "rate": 1.50,\n  "big": 12345678901234567890123\n}'
    line = exported(RecordedEvent(1, event(1, body=body)))
    assert "\n" not in line
    assert '"rate":1.50' in line.replace(" ", "")
    assert "12345678901234567890123" in line
    secret = exported(RecordedEvent(1, event(1, body=b'{"client_secret":"pi_1_secret_2"}')))
    assert "pi_1_secret_2" not in secret


def test_the_whole_log_is_not_replayed_by_a_slip(run, database: str) -> None:
    done = run("events", "replay", "--database", database)
    assert done.returncode == 2
    assert "--after" in done.stderr


def test_a_courier_in_another_process_is_not_replayed_to(run, database: str) -> None:
    done = run("events", "replay", "--after", "0", "--database", database)
    assert done.returncode == 2
    assert "TILLPORT_MESSAGING_URL" in done.stderr


def test_events_are_replayed_to_nats(run, database: str, tmp_path) -> None:
    from tillport.adapters.nats.testing import NatsServer

    with NatsServer(tmp_path) as server:
        done = run("events", "replay", "--after", "1", "--messaging", server.url, "--database", database)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "Published 2 events again, up to position 3.\n"
