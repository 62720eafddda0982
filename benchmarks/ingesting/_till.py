"""The service under load: `tillport serve` on a database of its own, somebody who listens, and what is in its table."""

import asyncio
import contextlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped] # it ships no types
from ingesting._events import SECRET
from ingesting._fill import fill_postgres, fill_sqlite

from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.adapters.sql.sqlite_store import SqliteStore
from tillport.adapters.sql.testing import PostgresServer

SERVER_KEY = "server_key_of_the_benchmark"
HERE = Path(__file__).parent.parent
_COUNT = 'SELECT count(*) FROM "StripeEvents"'
_RELAYED = "SELECT position FROM tillport_cursors WHERE name = 'relay'"
_EVENT = b"\nevent: "
_KEPT_BYTES = len(_EVENT) - 1
_SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "min_wal_size": "4GB"}
_WAL_MEGABYTES = 2_000


class Served:
    """A server in a process of its own, from its first line of output on."""

    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command, cwd=HERE, env=environment, stdout=subprocess.PIPE, stderr=None, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found is None:
            self.stop()
            sys.exit(f"the server did not start: {line}")
        self.port = int(found[1])
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def stop(self) -> None:
        """End it in order, and kill it if it will not."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Listener:
    """A live subscriber: hears every event, as Stripe sent it, from the moment it connects. A thread counts them."""

    def __init__(self, port: int) -> None:
        self.heard = 0
        self.last_at = 0.0
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(
            b"GET /events/stream?after=latest HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
            b"Authorization: Bearer " + SERVER_KEY.encode() + b"\r\n\r\n"
        )
        self._begun = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        if not self._begun.wait(10):
            sys.exit("the live subscriber was not let in")

    def _listen(self) -> None:
        # Always into the same memory: of the two cores this should take as little as it can.
        buffer, kept = bytearray(_KEPT_BYTES + (1 << 20)), 0
        view = memoryview(buffer)
        with contextlib.suppress(OSError):
            while received := self._socket.recv_into(view[kept:]):
                end = kept + received
                if not self._begun.is_set() and buffer.find(b": listening", 0, end) >= 0:
                    self._begun.set()
                count = buffer.count(_EVENT, 0, end)  # a line of an event's own text begins with `data:`
                if count:
                    self.heard += count
                    self.last_at = time.perf_counter()
                kept = min(end, _KEPT_BYTES)
                buffer[:kept] = buffer[end - kept : end]

    def wait_for(self, events: int, *, seconds: float) -> bool:
        """Return whether that many were heard within that time."""
        deadline = time.monotonic() + seconds
        while self.heard < events and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.heard >= events

    def close(self) -> None:
        """Go away."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Till:
    """The service, its database with that many older rows, and its live subscriber."""

    def __init__(
        self,
        url: str,
        *,
        rows_before: int,
        database_pid: int | None,
        listens: bool,
        messaging_url: str = "memory:",
    ) -> None:
        self.url, self.rows_before, self.database_pid = url, rows_before, database_pid
        self.expected = rows_before
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TILLPORT_")}
        self.server = Served(
            [sys.executable, "-m", "tillport.adapters.cli", "serve"],
            plain
            | {
                "TILLPORT_STRIPE_SECRET_KEY": "sk_test_of_the_benchmark",
                "TILLPORT_STRIPE_ADDRESS": "http://127.0.0.1:9",
                "TILLPORT_SIGNING_SECRETS": SECRET,
                "TILLPORT_CURRENCY": "usd",
                "TILLPORT_SERVER_KEYS": SERVER_KEY,
                "TILLPORT_DATABASE_URL": url,
                "TILLPORT_MESSAGING_URL": messaging_url,
                "TILLPORT_PORT": "0",
            },
        )
        self.listener = Listener(self.server.port) if listens else None

    @property
    def fresh(self) -> int:
        """How many events should have been recorded since the start."""
        return self.expected - self.rows_before

    def settled(self, *, seconds: float = 60.0) -> bool:
        """Return whether the subscriber has heard, and the relay has told, everything that was acknowledged."""
        if self.listener is not None and not self.listener.wait_for(self.fresh, seconds=seconds):
            return False
        deadline = time.monotonic() + seconds
        while self.number(_RELAYED) < self.expected:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def rows(self) -> int:
        """Return how many rows the table has."""
        return self.number(_COUNT)

    def event_ids(self) -> set[str]:
        """Return the ids of the events that were recorded since the start."""
        rows = ask(
            self.url,
            f'SELECT event_id FROM "StripeEvents" ORDER BY seq LIMIT {2**40} OFFSET {self.rows_before}',
        )
        return {str(row[0]) for row in rows}

    def number(self, statement: str) -> int:
        """Return the one number that a statement selects, 0 if it selects none."""
        rows = ask(self.url, statement)
        return int(rows[0][0] or 0) if rows else 0

    def close(self) -> None:
        """End the subscriber, then the service."""
        if self.listener is not None:
            self.listener.close()
        self.server.stop()


def ask(url: str, statement: str) -> Sequence[Sequence[Any]]:
    """Return what a statement selects in the database of a URL."""
    if url.startswith("sqlite:"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)) as connection:
            return connection.execute(statement).fetchall()
    return asyncio.run(_ask_postgres(url, statement))


async def _ask_postgres(url: str, statement: str) -> Sequence[Sequence[Any]]:
    connection = await asyncpg.connect(url)
    try:
        rows: Sequence[Sequence[Any]] = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()


class Databases:
    """Where tills keep their events: files in a folder, or databases of one PostgreSQL of our own."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind, self._folder, self._made = kind, folder, 0
        self._server: PostgresServer | None = None

    @property
    def pid(self) -> int | None:
        """The database's own process, None where it has none."""
        return None if self._server is None else self._server.pid

    def create(self, rows: int) -> str:
        """Make a database with that many older events, and return its URL."""
        self._made += 1
        if self._server is None:
            file = self._folder / f"till{self._made}.sqlite3"
            asyncio.run(_create_sqlite(file))
            if rows:
                fill_sqlite(file, rows)
            return f"sqlite:///{file}"
        url = self._server.create_database()
        asyncio.run(_create_postgres(url, rows))
        return url

    def __enter__(self) -> "Databases":
        if self._kind == "postgres":
            self._server = PostgresServer(settings=_SETTINGS)
            self._server.start()
            _recycle_wal(self._server)
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.__exit__(None, None, None)


def _recycle_wal(server: PostgresServer) -> None:
    """Bring a new server to where one is that has run for a day: its write-ahead log goes into files that are there.

    Else it makes a new file of 16 MB twice a second, and whoever commits meanwhile waits for 50 ms.
    """
    for _ in range(_WAL_MEGABYTES // 100):
        server.psql(
            "SELECT count(pg_logical_emit_message(false, '', repeat('x', 1000000))) FROM generate_series(1, 100)"
        )
    for statement in ("CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT"):
        server.psql(statement)


async def _create_sqlite(file: Path) -> None:
    store = SqliteStore(file)
    await store.write(lambda connection: connection.execute("SELECT 1").fetchone())
    await store.aclose()


async def _create_postgres(url: str, rows: int) -> None:
    store = PostgresStore(url)
    await store.create_tables()
    await store.aclose()
    if rows:
        await fill_postgres(url, rows)


@contextlib.contextmanager
def loads(count: int, *, spread: bool) -> Iterator["subprocess.Popen[str]"]:
    """Run the process that makes the load."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ingesting._load", str(count), *(["spread"] if spread else [])],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
