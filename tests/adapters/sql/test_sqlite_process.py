"""The process that writes: what is acknowledged is there however it ends, and it never outlives the one it writes for."""

import asyncio
import logging
import os
import pickle
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import aclosing, closing
from functools import partial
from operator import methodcaller
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import lives, state_of

from tillport.adapters.conformance.event_log import everything
from tillport.adapters.conformance.samples import NOON, event
from tillport.adapters.runtime.group_commit import GroupCommit
from tillport.adapters.sql import sqlite_process
from tillport.adapters.sql.sqlite import SqliteCursors, SqliteEventLog
from tillport.adapters.sql.sqlite_child import LENGTH_BYTES, head_of, serve
from tillport.adapters.sql.sqlite_events import batch_of
from tillport.adapters.sql.sqlite_file import SqliteFile, StoreUnavailable
from tillport.adapters.sql.sqlite_process import WriterProcess
from tillport.adapters.sql.sqlite_retention import forget_stretch
from tillport.adapters.sql.sqlite_store import SqliteStore
from tillport.adapters.sql.sqlite_writer import Write, Writer
from tillport.adapters.sql.sqlite_writes import record_exclusively, run
from tillport.ports.event_log import LogUnavailable

PATIENCE_SECONDS = 20
KILLS = 15
CLAIM = "INSERT INTO tillport_cursors VALUES (?, 1, NULL, 0)"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request):
    """They tell of a connection that ends in different moments, and the service runs on the second."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def store(tmp_path):
    async with aclosing(SqliteStore(tmp_path / "till.sqlite3", writes_apart=True)) as store:
        yield store


@pytest.fixture
def sent(monkeypatch) -> list[int]:
    """How many writes went to the process together, each time."""
    send, sizes = WriterProcess._send, []

    def send_and_note(process: WriterProcess) -> None:
        send(process)
        if process._in_flight:
            sizes.append(len(process._in_flight))

    monkeypatch.setattr(WriterProcess, "_send", send_and_note)
    return sizes


def claim(*names: str):
    return partial(run, statements=[(CLAIM, (name,)) for name in names])


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended; whoever inherited it may not have noticed yet."""
    end = time.monotonic() + PATIENCE_SECONDS
    while lives(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not lives(pid)


async def test_a_killed_process_fails_what_it_had_and_is_replaced(store, caplog) -> None:
    log = SqliteEventLog(store)
    await log.record([event(1)])
    killed = store._process.pid
    recording = asyncio.ensure_future(log.record([event(2)]))
    await asyncio.sleep(0)
    os.kill(killed, signal.SIGKILL)
    with caplog.at_level(logging.WARNING), pytest.raises(LogUnavailable, match="has ended"):
        await recording
    assert "the next write gets another" in caplog.text
    assert list(await log.record([event(3)])) == [True]
    assert store._process.pid != killed
    assert list(await log.record([event(1)])) == [False]
    assert is_gone(killed)


async def test_a_process_that_is_killed_while_nothing_is_written_fails_nobody(store) -> None:
    log = SqliteEventLog(store)
    await log.record([event(1)])
    os.kill(store._process.pid, signal.SIGKILL)
    for _ in range(100 * PATIENCE_SECONDS):
        if store._process.pid is None:
            break
        await asyncio.sleep(0.01)
    assert store._process.pid is None
    assert list(await log.record([event(2)])) == [True]


async def test_what_waits_behind_a_process_that_dies_is_written_by_the_next(store) -> None:
    await store.write(claim())
    os.kill(store._process.pid, signal.SIGSTOP)
    first = asyncio.ensure_future(store.write(claim("first")))
    await asyncio.sleep(0.01)
    second = asyncio.ensure_future(store.write(claim("second")))
    await asyncio.sleep(0.01)
    os.kill(store._process.pid, signal.SIGKILL)
    with pytest.raises(StoreUnavailable):
        await first
    await second
    assert await SqliteCursors(store).positions() == {"second": 1}


async def test_nothing_acknowledged_is_lost_or_doubled_by_kills_under_load(store) -> None:
    log, rng = SqliteEventLog(store), random.Random(3)
    group = GroupCommit(log)
    acknowledged: list[str] = []
    progress = asyncio.Event()
    failures = 0
    stop = False

    async def record(number: int) -> None:
        nonlocal failures
        while not stop:
            one = event(number, body=b'{"x": "' + b"x" * (number % 5000) + b'"}')
            try:
                await group.record([one])
            except LogUnavailable:
                failures += 1  # and comes again with the same, as Stripe does
            else:
                acknowledged.append(one.id)
                progress.set()
                number += 8

    workers = [asyncio.ensure_future(record(number)) for number in range(8)]
    killed: set[int] = set()
    async with asyncio.timeout(KILLS * PATIENCE_SECONDS):
        while len(killed) < KILLS or not failures:  # a kill that meets no commit proves nothing
            progress.clear()
            await progress.wait()  # however long the next one takes to start
            await asyncio.sleep(rng.uniform(0.0, 0.1))
            if (pid := store._process.pid) is not None and pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    stop = True
    await asyncio.gather(*workers)
    await group.aclose()
    there = [one.event.id for one in await everything(log, None)]
    assert len(there) == len(set(there))
    assert set(acknowledged) <= set(there)
    assert await store.read(lambda db: db.execute("PRAGMA integrity_check").fetchone()[0]) == "ok"


def test_it_ends_by_itself_when_the_other_one_is_killed(tmp_path) -> None:
    program = """
        import asyncio, sys
        from tillport.adapters.conformance.samples import event
        from tillport.adapters.sql.sqlite import SqliteEventLog
        from tillport.adapters.sql.sqlite_store import SqliteStore

        async def main():
            store = SqliteStore(sys.argv[1], writes_apart=True)
            log = SqliteEventLog(store)
            await log.record([event(1)])
            print(store._process.pid, flush=True)
            number = 1
            while True:
                number += 1
                await log.record([event(number)])

        asyncio.run(main())
    """
    path = tmp_path / "till.sqlite3"
    with subprocess.Popen(
        [sys.executable, "-c", dedent(program), str(path)], stdout=subprocess.PIPE, text=True
    ) as service:
        pid = int(service.stdout.readline())
        time.sleep(0.2)
        assert lives(pid)
        service.kill()
        assert is_gone(pid)
    with closing(sqlite3.connect(path)) as raw:
        count, last = raw.execute('SELECT count(*), max(seq) FROM "StripeEvents"').fetchone()
    assert count == last >= 1


async def test_closing_finishes_what_was_begun_and_leaves_nobody(tmp_path) -> None:
    store = SqliteStore(tmp_path / "till.sqlite3", writes_apart=True)
    await store.write(claim())
    pid = store._process.pid
    writes = [asyncio.ensure_future(store.write(claim(f"c{number}"))) for number in range(5)]
    await asyncio.sleep(0)
    await store.aclose()
    await asyncio.gather(*writes)
    assert state_of(pid) is None
    assert [file.name for file in tmp_path.iterdir()] == ["till.sqlite3"], "copied, and no log left"


async def test_closing_waits_for_one_that_is_just_being_started(tmp_path) -> None:
    store = SqliteStore(tmp_path / "till.sqlite3", writes_apart=True)
    write = asyncio.ensure_future(store.write(claim("one")))
    await asyncio.sleep(0.005)
    write.cancel()
    await asyncio.sleep(0)
    await store.aclose()
    assert store._process.pid is None


async def test_signals_that_are_meant_for_the_service_leave_it_alone(store) -> None:
    await store.write(claim())
    pid = store._process.pid
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    await store.write(claim("after"))
    assert store._process.pid == pid
    assert os.getpgid(pid) != os.getpgid(0), "what is typed at the terminal goes to the other group"


async def test_it_gets_none_of_the_secrets(store, monkeypatch) -> None:
    monkeypatch.setenv("TILLPORT_STRIPE_SECRET_KEY", "sk_test_of_nobody_else")
    await store.write(claim())
    environment = await asyncio.to_thread(Path(f"/proc/{store._process.pid}/environ").read_bytes)
    assert b"PATH=" in environment
    assert b"sk_test_of_nobody_else" not in environment


async def test_one_that_cannot_be_started_is_told_and_tried_again(store, monkeypatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/nowhere/python")
        writes = (store.write(claim(name)) for name in ("one", "two"))
        one, two = await asyncio.gather(*writes, return_exceptions=True)
        assert isinstance(one, StoreUnavailable)
        assert one is not two, "else they would share a traceback"
        with pytest.raises(LogUnavailable, match="No process can be started"):
            await SqliteEventLog(store).record([event(1)])
    assert list(await SqliteEventLog(store).record([event(1)])) == [True]


async def test_one_that_cannot_be_spoken_to_is_told_and_ended(store, monkeypatch) -> None:
    spawn, spawned = sqlite_process._spawn, []

    def spawn_and_spoil(file):
        process, ours = spawn(file)
        spawned.append((process, ours))
        return process, socket.socket()  # which no event loop takes for what it should be

    with monkeypatch.context() as broken:
        broken.setattr(sqlite_process, "_spawn", spawn_and_spoil)
        for _ in range(2):
            with pytest.raises(ValueError, match="UNIX"):
                await asyncio.wait_for(store.write(claim("one")), PATIENCE_SECONDS)
            assert store._process.pid is None
    await store.write(claim("one"))
    for process, ours in spawned:
        assert await asyncio.to_thread(process.wait, PATIENCE_SECONDS) == -signal.SIGKILL
        ours.close()


@pytest.mark.parametrize("sooner", [False, True], ids=["in the middle", "before anything is sent"])
async def test_one_that_ends_at_once_is_told_each_time_and_nobody_waits_for_ever(
    store, monkeypatch, sooner
) -> None:
    spawn = sqlite_process._spawn

    def spawn_and_let_end(file):
        process, ours = spawn(file)
        process.wait()
        return process, ours

    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/bin/true")
        if sooner:
            broken.setattr(sqlite_process, "_spawn", spawn_and_let_end)
        for _ in range(10):
            with pytest.raises(StoreUnavailable, match="has ended"):
                await asyncio.wait_for(store.write(claim("one")), PATIENCE_SECONDS)
    await store.write(claim("one"))


async def test_what_can_not_be_handed_over_is_told_to_its_caller_alone(store) -> None:
    other = asyncio.ensure_future(store.write(claim("other")))
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        await store.write(lambda _: None)
    await other


async def test_of_those_who_share_a_commit_each_fails_alone(store) -> None:
    await store.write(claim())
    works = [claim("c1"), methodcaller("nothing_of_this_name"), claim("half", "c1"), claim("c2")]
    answers = await asyncio.gather(*map(store.write, works), return_exceptions=True)
    assert answers[0] == answers[3] == [[]]
    assert isinstance(answers[1], AttributeError)
    assert isinstance(answers[2], sqlite3.IntegrityError)
    assert answers[2].sqlite_errorname == "SQLITE_CONSTRAINT_PRIMARYKEY"
    assert sorted(await SqliteCursors(store).positions()) == ["c1", "c2"]


async def test_what_waits_goes_together_and_whoever_went_away_is_left_out(store, sent) -> None:
    await store.write(claim())
    os.kill(store._process.pid, signal.SIGSTOP)
    try:
        first = asyncio.ensure_future(store.write(claim("first")))
        await asyncio.sleep(0.01)
        rest = [asyncio.ensure_future(store.write(claim(f"c{number}"))) for number in range(5)]
        await asyncio.sleep(0.01)
        rest[2].cancel()
        await asyncio.sleep(0)
    finally:
        os.kill(store._process.pid, signal.SIGCONT)
    await first
    await asyncio.gather(*rest, return_exceptions=True)
    assert sent[-2:] == [1, 4]
    assert sorted(await SqliteCursors(store).positions()) == ["c0", "c1", "c3", "c4", "first"]


async def test_who_is_answered_and_has_more_to_write_shares_the_next_commit(store, sent) -> None:
    await store.write(claim())

    async def one_after_the_other() -> None:
        await store.write(claim("first"))
        await store.write(claim("third"))

    os.kill(store._process.pid, signal.SIGSTOP)
    try:
        both = asyncio.ensure_future(one_after_the_other())
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(store.write(claim("second")))
        await asyncio.sleep(0.01)
    finally:
        os.kill(store._process.pid, signal.SIGCONT)
    await asyncio.gather(both, second)
    assert sent[-2:] == [1, 2]


async def test_its_log_begins_anew_before_it_is_large(store) -> None:
    commits, size = 400, 32_768
    text = "INSERT INTO tillport_tombstones (event_id, forgotten_at) VALUES (?, 0)"
    for number in range(commits):
        await store.write(partial(run, statements=[(text, (f"evt_{number}" + "x" * size,))]))
    log = store.path.with_name(store.path.name + "-wal")
    assert log.stat().st_size < commits * size / 2


async def test_a_batch_of_megabytes_arrives_whole(store) -> None:
    log = SqliteEventLog(store)
    events = [event(number, body=b'"' + b"x" * 250_000 + b'"') for number in range(1, 41)]
    assert all(await log.record(events))
    assert [one.event for one in await everything(log, None)] == events


async def test_an_unfinished_try_of_a_batch_leaves_nothing_and_the_batch_can_come_again(store) -> None:
    """One that records several statements in a transaction is killed in the middle of it."""
    log = SqliteEventLog(store)
    await log.record([event(1)])
    blocker = sqlite3.connect(store.path, isolation_level=None)
    with closing(blocker):
        blocker.execute("BEGIN IMMEDIATE")  # so that it waits within its first statement
        many = [event(number) for number in range(2, 1500)]
        recording = asyncio.ensure_future(log.record(many))
        await asyncio.sleep(0.05)
        os.kill(store._process.pid, signal.SIGKILL)
        with pytest.raises(LogUnavailable):
            await recording
        blocker.execute("ROLLBACK")
    assert await log.head() == 1
    assert all(await log.record(many))


def test_it_imports_nothing_that_it_has_no_use_for() -> None:
    """It starts in a moment and is small, whatever the service itself has to import."""
    works = [
        partial(record_exclusively, batch=batch_of([event(1)])),
        claim("c1"),
        partial(forget_stretch, received_before=NOON, up_to=1, now=NOON),
    ]
    program = f"""
        import pickle, sys
        import tillport.adapters.sql.sqlite_child
        for pickled in {[pickle.dumps(work) for work in works]!r}:
            pickle.loads(pickled)
        print(sorted({{"sqlalchemy", "litestar", "msgspec", "asyncio"}} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(program)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


MESSAGE = b"".join(pickle.dumps(tuple(Write(claim(name)))) for name in ("c1", "c2"))
WHOLE = head_of(len(MESSAGE)) + MESSAGE


@given(st.integers(0, len(WHOLE)), st.booleans())
def test_only_a_whole_message_is_acted_upon(tmp_path_factory, sent: int, reset: bool) -> None:
    """The other one may die in the middle of sending, and its socket end in an error."""
    path = tmp_path_factory.mktemp("whole") / "till.sqlite3"
    ours, theirs = socket.socketpair()
    with theirs, closing(Writer(SqliteFile(path))) as writer:
        with ours:
            ours.sendall(WHOLE[:sent])
            if not reset:
                ours.shutdown(socket.SHUT_WR)
        serve(writer, theirs)
        ((names, _),) = writer.commit(
            [Write(partial(run, statements=[("SELECT name FROM tillport_cursors", ())]))]
        )
    assert len(names[0]) == (2 if sent == len(WHOLE) else 0)


def test_half_a_length_is_no_message(tmp_path) -> None:
    """Of zeros alone it would read as an empty one."""
    ours, theirs = socket.socketpair()
    with ours, closing(Writer(SqliteFile(tmp_path / "till.sqlite3"))) as writer:
        ours.sendall(b"\0" * (LENGTH_BYTES - 1))
        ours.shutdown(socket.SHUT_WR)
        with theirs:
            serve(writer, theirs)
        assert ours.recv(1) == b"", "nothing was answered"
