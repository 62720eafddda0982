"""kill -9 in the middle of a stream: whatever was acknowledged is there after the restart.

What this does not prove: that the disk keeps what it said it has when the power fails.
"""

import random
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from tillport.adapters.sql.sqlite import SqliteEventLog, SqliteLedger
from tillport.adapters.sql.sqlite_store import SqliteStore

RECORDER = Path(__file__).with_name("recorder.py")


def killed_run(path: Path, first: int, after_seconds: float) -> list[str]:
    """Start the recorder, kill it, and return what it was told is recorded."""
    process = subprocess.Popen(
        [sys.executable, str(RECORDER), str(path), str(first)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = [process.stdout.readline().strip()]  # it is at work
    time.sleep(after_seconds)
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().splitlines(keepends=True)
    process.stdout.close()
    process.wait()
    # A line without its end was cut by the kill: it was told to nobody.
    return told + [line.strip() for line in rest if line.endswith("\n")]


async def check(path: Path, told: list[str]) -> None:
    async with aclosing(SqliteStore(path)) as store:
        log, ledger = SqliteEventLog(store), SqliteLedger(store)
        there: list[str] = []
        after, head = 0, await log.head()
        while after < head:
            page = await log.read(after=after, limit=1000)
            there += [one.event.id for one in page.events]
            after = page.position
        missing = {one for one in told if one.startswith("evt_")} - set(there)
        assert not missing
        assert len(there) == len(set(there))
        for key in [one for one in told if one.startswith("key_")]:
            assert await ledger.find(key) is not None, key
        whole = await store.read(lambda db: db.execute("PRAGMA integrity_check").fetchone()[0])
        assert whole == "ok"


async def crash(path: Path, *, seconds: float, seed: int) -> tuple[int, int]:
    """Kill one process after another on one file; return the kills and what was acknowledged."""
    rng = random.Random(seed)
    told: list[str] = []
    kills = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        told += killed_run(path, 1_000_000 * kills + 1, rng.uniform(0.0, 0.4))
        kills += 1
        await check(path, told)
    return kills, len(told)


async def test_what_was_acknowledged_survives_kill_9(tmp_path) -> None:
    kills, told = await crash(tmp_path / "till.sqlite3", seconds=3, seed=1)
    assert kills >= 1
    assert told >= kills


@pytest.mark.campaign(seconds=180)
async def test_a_long_campaign_of_kills_loses_nothing(tmp_path, campaign_seconds) -> None:
    seed = random.SystemRandom().randrange(10**6)
    kills, told = await crash(tmp_path / "till.sqlite3", seconds=campaign_seconds, seed=seed)
    print(f"seed {seed}: {kills} kills, {told} acknowledged, nothing lost")


async def test_the_check_itself_sees_a_loss(tmp_path) -> None:
    path = tmp_path / "till.sqlite3"
    told = killed_run(path, 1, 0.1)
    with pytest.raises(AssertionError):
        await check(path, [*told, "evt_999999999"])
    with pytest.raises(AssertionError):
        await check(path, [*told, "key_999999999"])
