"""Standard streams that are full, closed, left by their reader, or of another encoding: one line at most, and no traceback."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tillport.adapters.compose import Secret, open_stores, system_clock
from tillport.adapters.conformance.samples import event

PROGRAM = (sys.executable, "-m", "tillport.adapters.cli")
BODY = '{"id": "evt_1", "name": "Zoë — 漢字"}'.encode()


@pytest.fixture
def log(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'till.sqlite3'}"

    async def fill() -> None:
        async with open_stores(Secret(url), system_clock()) as stores:
            await stores.log.record([event(1, body=BODY)])

    asyncio.run(fill())
    return url


def run(words: list[str], log: str, **options) -> "subprocess.CompletedProcess[bytes]":
    environment = os.environ | {"TILLPORT_DATABASE_URL": log} | options.pop("environment", {})
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([*PROGRAM, *words], env=environment, timeout=60, check=False, **streams)


@contextmanager
def full() -> Iterator[int]:
    device = os.open("/dev/full", os.O_WRONLY)
    yield device
    os.close(device)


WRITING = pytest.mark.parametrize(
    "words",
    [["version"], ["--help"], ["status"], ["events", "export"], ["events", "show", "evt_1", "--raw"]],
    ids=" ".join,
)
BUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


@WRITING
@BUFFERED
def test_what_can_not_be_written_is_told_in_one_line(log: str, words: list[str], unbuffered: str) -> None:
    with full() as device:
        done = run(words, log, stdout=device, environment={"PYTHONUNBUFFERED": unbuffered})
    assert (done.returncode, done.stderr) == (1, b"tillport: Can't write: No space left on device.\n")


@WRITING
def test_a_reader_that_has_enough_is_told_nothing(log: str, words: list[str]) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    done = run(words, log, stdout=writes, environment={"PYTHONUNBUFFERED": ""})
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_complaint_that_can_not_be_written_changes_no_exit_code(log: str) -> None:
    with full() as device:
        assert run(["events", "show", "evt_9"], log, stderr=device).returncode == 1
        assert run(["consumers", "drop", "relay"], log, stderr=device).returncode == 2


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_was_closed_is_no_failure(log: str, closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *PROGRAM, "status"],
        env=os.environ | {"TILLPORT_DATABASE_URL": log},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_another_encoding_writes_texts_as_it_can_and_bodies_as_they_are(log: str) -> None:
    latin = {"PYTHONIOENCODING": "latin-1"}
    shown = run(["events", "show", "evt_1"], log, environment=latin)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert '"Zoë \\u2014 \\u6f22\\u5b57"'.encode("latin-1") in shown.stdout
    assert run(["events", "show", "evt_1", "--raw"], log, environment=latin).stdout == BODY + b"\n"
    exported = run(["events", "export"], log, environment=latin).stdout
    assert exported == run(["events", "export"], log).stdout
    assert BODY.replace(b": ", b":").replace(b", ", b",") in exported
