"""A disk that is truly full (ENOSPC), through the HTTP door, on SQLite and on PostgreSQL's tables and journal.

What does not fit is answered 5xx, so that Stripe sends it again; what was answered 200 is there, before and after; and
when there is room again, the service goes on by itself.
"""

import http.client
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from wreck.service import ServiceProcess

from tillport.adapters.sql.testing import PostgresServer
from tillport.simulator.signed import signed_request

SECRET = "whsec_of_a_full_disk"
MEGABYTE = 1 << 20
TOGETHER = 8


class Door:
    """The webhook of a service, and what it answered."""

    def __init__(self, service: ServiceProcess) -> None:
        self.service = service
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        self.others: list[int] = []

    def send(self, number: int, *, size: int = 60_000) -> int:
        event_id = f"evt_{number}"
        body = {
            "id": event_id,
            "object": "event",
            "type": "charge.succeeded",
            "created": int(time.time()),
            "livemode": False,
            "data": {"object": {"id": f"ch_{number}", "object": "charge", "description": "x" * size}},
        }
        request = signed_request(json.dumps(body), SECRET)
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=30)
        try:
            connection.request("POST", "/webhooks/stripe", request.body, request.headers)
            status = connection.getresponse().status
        finally:
            connection.close()
        if status == 200:
            self.acknowledged.add(event_id)
            self.refused.discard(event_id)
        elif status == 503:
            self.refused.add(event_id)
        else:
            self.others.append(status)
        return status

    def send_all(self, numbers: range) -> list[int]:
        with ThreadPoolExecutor(TOGETHER) as pool:
            return list(pool.map(self.send, numbers))

    def send_until_full(self, *, most: int) -> int:
        """Send until the disk has refused a few batches in a row; return how many were sent."""
        sent = 0
        while sent < most and len(self.refused) < 3 * TOGETHER:
            self.send_all(range(sent, sent + 4 * TOGETHER))
            sent += 4 * TOGETHER
        return sent

    def send_again(self, *, seconds: float) -> None:
        """Do as Stripe does: send what was refused until it is taken."""
        deadline = time.monotonic() + seconds
        while self.refused and time.monotonic() < deadline:
            for event_id in sorted(self.refused):
                if self.send(int(event_id.removeprefix("evt_"))) != 200:
                    time.sleep(0.2)
                    break


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Door]]:
    services: list[ServiceProcess] = []

    def start(url: str) -> Door:
        service = ServiceProcess(
            stripe="http://127.0.0.1:9", signing_secret=SECRET, database_url=url, log=tmp_path / "service.log"
        )
        service.start()
        services.append(service)
        return Door(service)

    yield start
    for service in services:
        service.stop()


def upgrade(url: str) -> None:
    command = [sys.executable, "-m", "tillport.adapters.cli", "db", "upgrade", "--database", url]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def in_sqlite(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as file:
        return [row[0] for row in file.execute('SELECT event_id FROM "StripeEvents"')]


def judge(door: Door, recorded: list[str], sent: int) -> None:
    assert door.others == [], "neither lost nor blamed on Stripe: 200 or 503"
    assert len(set(recorded)) == len(recorded) == sent
    assert door.acknowledged == set(recorded)
    assert not door.refused


def test_sqlite_on_a_full_disk_loses_nothing_and_recovers(small_disk, serve) -> None:
    disk = small_disk(6 * MEGABYTE)
    path = disk.path / "till.sqlite3"
    door = serve(f"sqlite:///{path}")
    sent = door.send_until_full(most=1000)
    assert door.refused, "the disk was full"
    assert door.acknowledged, "and not from the start"
    assert door.acknowledged <= set(in_sqlite(path))
    disk.resize(64 * MEGABYTE)
    door.send_again(seconds=60)
    judge(door, in_sqlite(path), sent)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_postgresql_with_no_room_for_its_tables_loses_nothing_and_recovers(small_disk, serve) -> None:
    disk = small_disk(24 * MEGABYTE)
    with PostgresServer() as server:
        place = disk.path / "space"
        place.mkdir()
        place.chmod(0o700)
        shutil.chown(place, "nobody")
        server.psql(f"CREATE TABLESPACE small LOCATION '{place}'")
        server.psql("CREATE DATABASE till TABLESPACE small")
        url = server.url("till")
        upgrade(url)
        door = serve(url)
        sent = door.send_until_full(most=3000)
        assert door.refused, "the disk was full"
        assert "No space left on device" in server.log()
        assert door.acknowledged, "and not from the start"
        rows = 'SELECT event_id FROM "StripeEvents"'
        assert door.acknowledged <= set(server.psql(rows, database="till").split())
        disk.resize(200 * MEGABYTE)
        door.send_again(seconds=60)
        judge(door, server.psql(rows, database="till").split(), sent)


def test_postgresql_with_no_room_for_its_journal_loses_nothing_and_recovers(small_disk, serve) -> None:
    """Without room for its journal PostgreSQL stops altogether (PANIC), and somebody starts it again."""
    disk = small_disk(40 * MEGABYTE)
    settings = {"max_wal_size": "1GB", "wal_recycle": "off", "wal_init_zero": "on"}
    with PostgresServer(settings=settings) as server:
        server.stop()
        server.move_journal(disk.path / "journal")
        server.start()
        url = server.create_database()
        upgrade(url)
        door = serve(url)
        sent = door.send_until_full(most=4000)
        assert door.refused, "the disk was full"
        assert "No space left on device" in server.log()
        assert door.acknowledged, "and not from the start"
        server.kill()
        disk.resize(400 * MEGABYTE)
        server.start()
        rows, name = 'SELECT event_id FROM "StripeEvents"', url.rpartition("/")[2]
        assert door.acknowledged <= set(server.psql(rows, database=name).split())
        door.send_again(seconds=60)
        judge(door, server.psql(rows, database=name).split(), sent)
