"""Retention in stretches."""

from contextlib import aclosing

import pytest

from tillport.adapters.conformance.samples import NOON, event
from tillport.adapters.sql import sqlite, sqlite_retention
from tillport.adapters.sql.sqlite import SqliteEventLog
from tillport.adapters.sql.sqlite_store import SqliteStore


@pytest.mark.parametrize("count", [0, 2, 3, 4, 6, 7])
async def test_stretches_add_up(tmp_path, monkeypatch, count) -> None:
    for module in (sqlite, sqlite_retention):
        monkeypatch.setattr(module, "STRETCH", 3)
    async with aclosing(SqliteStore(tmp_path / "till.sqlite3")) as store:
        log = SqliteEventLog(store)
        events = [event(number, aliases=(f"ch_{number}", f"re_{number}")) for number in range(1, 8)]
        await log.record(events)
        before = NOON + 10_000 if count == 7 else events[count].received_at
        assert await log.forget(received_before=before, up_to=10**9, now=NOON) == count
        assert [one.event for one in (await log.read(after=0)).events] == events[count:]
        assert list(await log.record(events)) == [False] * 7
        rows = await store.read(
            lambda db: (
                db.execute("SELECT count(*) FROM tillport_aliases").fetchone()[0],
                db.execute("SELECT count(*) FROM tillport_tombstones").fetchone()[0],
            )
        )
        assert rows == (7 - count, count)
