"""What the command line's tests share: the program as a person runs it, and a log with something in it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from springboard import Springboard

from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.sqlite import SqliteEventLog
from tillport.adapters.sql.sqlite_store import SqliteStore

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PROGRAM = [sys.executable, "-m", "tillport.adapters.cli"]


def clean_environment(**settings: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TILLPORT_")}
    return plain | {f"TILLPORT_{name.upper()}": value for name, value in settings.items()}


@pytest.fixture(scope="session")
def springboard() -> Iterator[Springboard]:
    with Springboard() as springboard:
        yield springboard


@pytest.fixture
def run(tmp_path: Path, springboard: Springboard) -> Run:
    """Run `tillport …` in an empty folder, with these settings in its environment."""

    def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        environment = clean_environment(**settings)
        return springboard.run(*arguments, folder=tmp_path, environment=environment, timeout=60)

    return run


@pytest.fixture
def run_anew(tmp_path: Path) -> Run:
    """The same from a cold start, as a person's shell would do it."""

    def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*PROGRAM, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=clean_environment(**settings),
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Return the URL of a log that holds three events."""
    path = tmp_path / "till.sqlite3"

    async def fill() -> None:
        async with aclosing(SqliteStore(path)) as store:
            await SqliteEventLog(store).record(
                [
                    event(1),
                    event(2, type="charge.refunded", transaction_id="ch_1", aliases=("ch_1",)),
                    event(3),
                ]
            )

    asyncio.run(fill())
    return f"sqlite:///{path}"
