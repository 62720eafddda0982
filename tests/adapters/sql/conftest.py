"""Benches over SQLite files."""

import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import attrs
import pytest

from tillport.adapters.sql.sqlite_file import BUSY_TIMEOUT_SECONDS
from tillport.adapters.sql.sqlite_store import SqliteStore

T = TypeVar("T")


@attrs.define
class SqliteBench:
    """One SQLite file; `adapter` is what is made of a store."""

    path: Path
    adapter: Callable[[SqliteStore], object]
    busy_timeout_seconds: float
    writes_apart: bool

    @asynccontextmanager
    async def open(self) -> AsyncIterator[object]:
        store = SqliteStore(
            self.path, busy_timeout_seconds=self.busy_timeout_seconds, writes_apart=self.writes_apart
        )
        try:
            yield self.adapter(store)
        finally:
            await store.aclose()

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Another process holds the write lock."""
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            other.close()


@pytest.fixture
def new_bench(tmp_path, request) -> Callable[..., Callable[[], AbstractAsyncContextManager]]:
    """Return what makes a bench of an adapter; `writes_apart` as the store has it."""
    numbers = itertools.count()
    # Only where the file is locked on purpose is it a waste of time to wait: elsewhere the disk may be slow.
    patience_seconds = 0.5 if "outage" in request.node.name else BUSY_TIMEOUT_SECONDS

    def maker(adapter, *, writes_apart=False):
        @asynccontextmanager
        async def new() -> AsyncIterator[SqliteBench]:
            yield SqliteBench(tmp_path / f"{next(numbers)}.sqlite3", adapter, patience_seconds, writes_apart)

        return new

    return maker


@pytest.fixture(params=[False, True], ids=["thread", "process"])
def writes_apart(request):
    """Each who may write to a SQLite file in turn, as the store's argument says it."""
    return request.param
