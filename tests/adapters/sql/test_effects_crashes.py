"""kill -9 of workers in the middle of their handlers: every effect exists once when the work is done."""

import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tillport.adapters.sql.testing import PostgresServer

WORKER = Path(__file__).with_name("effects_worker.py")
EVENTS = 40
TABLE = "CREATE TABLE lines (line TEXT)"


def start(stack: str, url: str, *hangs_at: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(WORKER), stack, url, *map(str, hangs_at)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


def go(workers: "list[subprocess.Popen[bytes]]") -> None:
    """Let them begin at the same time."""
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"go\n")
        worker.stdin.close()


def kill_in_mid_handler(workers: "list[subprocess.Popen[bytes]]") -> int:
    """Kill them all when one of them is in a handler that hangs; return how many handlers were begun."""
    told = b""
    outs = [worker.stdout for worker in workers if worker.stdout is not None]
    while b"hangs\n" not in told:
        ready = select.select(outs, [], [], 60)[0]
        assert ready, told
        for out in ready:
            piece = os.read(out.fileno(), 4096)
            assert piece, "it ended before it was killed"
            told += piece
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    for worker, out in zip(workers, outs, strict=True):
        worker.wait()
        told += out.read()
        out.close()
    return told.count(b"evt_")


def survive(stack: str, url: str, *, rounds: int, seed: int) -> int:
    """Kill two workers at a time, round after round, then let one finish. Return how many handlers were begun."""
    chance = random.Random(seed)
    begun = 0
    for _ in range(rounds):
        workers = [start(stack, url, chance.randrange(2, 14)) for _ in range(2)]
        go(workers)
        begun += kill_in_mid_handler(workers)
    last = start(stack, url)
    began = time.monotonic()
    go([last])
    assert last.stdout is not None
    begun += last.stdout.read().count(b"\n")
    last.stdout.close()
    assert last.wait(60) == 0
    assert time.monotonic() - began < 50, "a dead worker's work is taken over in seconds"
    return begun


def check(lines: list[str], begun: int) -> None:
    assert sorted(lines) == sorted(f"evt_{number}" for number in range(1, EVENTS + 1))
    assert begun > EVENTS, "some handlers were begun and never committed: the kills were in their midst"


@pytest.mark.timeout(180)
def test_killed_workers_leave_each_effect_once_on_sqlite(tmp_path) -> None:
    path = tmp_path / "host.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(TABLE)
    begun = survive("sqlite", str(path), rounds=3, seed=1)
    with closing(sqlite3.connect(path)) as connection:
        check([line for (line,) in connection.execute("SELECT line FROM lines")], begun)


@pytest.mark.timeout(180)
def test_killed_workers_leave_each_effect_once_on_postgresql() -> None:
    with PostgresServer() as server:
        server.start()
        url = server.create_database()
        with psycopg.connect(url) as connection:
            connection.execute(TABLE)
        begun = survive("postgres", url, rounds=3, seed=2)
        with psycopg.connect(url) as connection:
            check([line for (line,) in connection.execute("SELECT line FROM lines")], begun)
