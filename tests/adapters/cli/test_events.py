"""`tillport events`: reading the log beside a service, or without one."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from tillport.adapters.compose import Secret, open_stores, system_clock
from tillport.adapters.conformance.samples import NOON, event


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


def test_the_tail_says_that_what_it_was_to_begin_with_is_gone(database: str) -> None:
    async def forget() -> None:
        async with open_stores(Secret(database), system_clock()) as stores:
            await stores.log.forget(received_before=NOON + 2, up_to=3, now=NOON)

    asyncio.run(forget())
    tail = subprocess.Popen(
        [sys.executable, "-m", "tillport.adapters.cli", "events", "tail", "--after", "0"],
        env=os.environ | {"TILLPORT_DATABASE_URL": database},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert tail.stdout is not None
        assert tail.stderr is not None
        assert "evt_2" in tail.stdout.readline()
        assert "Older events are gone" in tail.stderr.readline()
    finally:
        tail.send_signal(2)
        tail.communicate(timeout=30)


def test_a_payment_is_listed_whole_by_any_of_its_ids(run, tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'payment.sqlite3'}"

    async def fill() -> None:
        async with open_stores(Secret(url), system_clock()) as stores:
            before = event(
                1,
                type="payment_intent.created",
                transaction_id="pi_1",
                payment_key="pi_1",
                aliases=("pi_1",),
            )
            charged = event(2, transaction_id="ch_1", payment_key="pi_1", aliases=("ch_1", "pi_1"))
            refunded = event(3, transaction_id="ch_1", payment_key="pi_1", aliases=("ch_1", "pi_1", "re_1"))
            await stores.log.record([before, charged, refunded, event(4)])

    asyncio.run(fill())
    for name in ("ch_1", "pi_1", "re_1"):
        listed = run("events", "list", "--payment", name, "--database", url).stdout.splitlines()
        assert [line.split()[-1] for line in listed] == ["evt_1", "evt_2", "evt_3"]
        exported = run("events", "export", "--payment", name, "--database", url).stdout.splitlines()
        assert [json.loads(line)["event_id"] for line in exported] == ["evt_1", "evt_2", "evt_3"]


def test_a_client_secret_is_shown_by_raw_alone(run, tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'secret.sqlite3'}"
    body = b'{"id": "evt_1", "data": {"object": {"id": "pi_1", "client_secret": "pi_1_secret_x"}}}'

    async def fill() -> None:
        async with open_stores(Secret(url), system_clock()) as stores:
            await stores.log.record([event(1, body=body)])

    asyncio.run(fill())
    assert "pi_1_secret_x" not in run("events", "show", "evt_1", "--database", url).stdout
    assert "pi_1_secret_x" in run("events", "show", "evt_1", "--raw", "--database", url).stdout


def test_an_event_that_says_odd_things_is_told_as_the_others_are(run, tmp_path) -> None:
    """Of a moment that no calendar has, and of a number that Python would not read."""
    url = f"sqlite:///{tmp_path / 'odd.sqlite3'}"
    body = b'{"id": "evt_2", "created": 1000000000000000000, "big": ' + b"9" * 5000 + b"}"

    async def fill() -> None:
        async with open_stores(Secret(url), system_clock()) as stores:
            await stores.log.record([event(1), event(2, created=10**18, body=body), event(3)])

    asyncio.run(fill())
    listed = run("events", "list", "--json", "--database", url)
    assert [json.loads(line)["event_id"] for line in listed.stdout.splitlines()] == [
        "evt_1",
        "evt_2",
        "evt_3",
    ]
    assert json.loads(listed.stdout.splitlines()[1])["created"] == str(10**18)
    exported = run("events", "export", "--database", url)
    assert (exported.returncode, len(exported.stdout.splitlines())) == (0, 3), exported.stderr
    shown = run("events", "show", "evt_2", "--database", url)
    assert shown.returncode == 0, shown.stderr
    assert f'  "big": {"9" * 5000}\n}}' in shown.stdout
    explained = run("explain", "evt_2", "--database", url)
    assert explained.returncode == 0, explained.stderr
    assert run("explain", "evt_2", "--json", "--database", url).returncode == 0


def test_a_position_or_a_limit_that_can_not_be_is_refused(run, database: str) -> None:
    for words in (["--after", "-1"], ["--limit", "0"], ["--limit", "-3"], ["--limit", "9" * 30]):
        done = run("events", "list", *words, "--database", database)
        assert (done.returncode, done.stdout) == (2, ""), words
    done = run("effects", "list", "--limit", "9" * 30, "--database", database)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("url", ["kafka://till:hunter2@h", "nats", "nats://till:hunter2@h,other"])
def test_what_is_no_courier_is_refused(run, database: str, url: str) -> None:
    done = run("events", "replay", "--after", "0", "--messaging", url, "--database", database)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nats://" in done.stderr
    assert "hunter2" not in done.stderr
