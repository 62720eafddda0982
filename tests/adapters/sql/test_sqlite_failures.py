"""What can happen to a SQLite file, and that it costs the calls that met it and nothing after that."""

import asyncio
import os
import resource
import sqlite3
import threading
from contextlib import AsyncExitStack, aclosing, closing, contextmanager, suppress
from pathlib import Path

import pytest

from tillport.adapters.conformance.samples import NOON, attempt, event
from tillport.adapters.sql.migrate import on_database, sql, upgrade
from tillport.adapters.sql.sqlite import SqliteCursors, SqliteEventLog, SqliteLedger
from tillport.adapters.sql.sqlite_file import StoreUnavailable
from tillport.adapters.sql.sqlite_store import SqliteStore
from tillport.adapters.sql.sqlite_writer import COMMITS_PER_CHECKPOINT
from tillport.ports.event_log import LogUnavailable
from tillport.ports.ledger import LedgerUnavailable


@pytest.fixture
async def store(tmp_path):
    async with aclosing(SqliteStore(tmp_path / "till.sqlite3", busy_timeout_seconds=0.2)) as store:
        yield store


@pytest.fixture(params=[False, True], ids=["thread", "process"])
async def either_store(tmp_path, request):
    """A store whose writer is a thread, and one whose writer is a process."""
    store = SqliteStore(tmp_path / "till.sqlite3", busy_timeout_seconds=0.2, writes_apart=request.param)
    async with aclosing(store):
        yield store


@contextmanager
def full_disk(store, *, room):
    """Let no file grow beyond what the log file has now, plus `room` bytes."""
    writer = store._process.pid if store.writes_apart else 0  # 0 is this process
    soft, hard = resource.prlimit(writer, resource.RLIMIT_FSIZE)
    size = store.path.with_name(store.path.name + "-wal").stat().st_size
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (size + room, hard))
    try:
        yield
    finally:
        resource.prlimit(writer, resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 1, 5000, 9000])
async def test_a_full_disk_is_told_loses_nothing_and_is_forgotten(either_store, room) -> None:
    log, ledger = SqliteEventLog(either_store), SqliteLedger(either_store)
    await log.record([event(1)])
    with full_disk(either_store, room=room):
        with pytest.raises(LogUnavailable):
            await log.record([event(2, body=b'"' + b"x" * 20_000 + b'"')])
        with pytest.raises(LedgerUnavailable):
            await ledger.open(attempt(1, fingerprint="x" * 1_000_000))
        assert await log.find("evt_1") is not None, "what was recorded can be read"
    assert list(await log.record([event(1), event(2)])) == [False, True]
    assert (await ledger.open(attempt(1))).new
    page = await log.read(after=0)
    assert [one.event for one in page.events] == [event(1), event(2)]


async def test_a_file_that_appears_later_is_used_then(tmp_path, writes_apart) -> None:
    path = tmp_path / "not yet" / "till.sqlite3"
    async with aclosing(SqliteStore(path, writes_apart=writes_apart)) as store:
        log, ledger, cursors = SqliteEventLog(store), SqliteLedger(store), SqliteCursors(store)
        with pytest.raises(LogUnavailable):
            await log.record([event(1)])
        with pytest.raises(LogUnavailable):
            await log.read(after=0)
        with pytest.raises(LedgerUnavailable):
            await ledger.find("key_1")
        with pytest.raises(LogUnavailable):
            await cursors.claim("relay", owner="a", now=NOON, until=NOON)
        store.path.parent.mkdir()
        assert list(await log.record([event(1)])) == [True]


async def test_a_file_that_is_no_database_is_told(tmp_path, writes_apart) -> None:
    path = tmp_path / "till.sqlite3"
    path.write_bytes(b"this is no database at all, however long one looks at it" * 100)
    async with aclosing(SqliteStore(path, writes_apart=writes_apart)) as store:
        with pytest.raises(LogUnavailable, match="not a database"):
            await SqliteEventLog(store).record([event(1)])
    assert path.read_bytes().startswith(b"this is"), "and is left as it is"


async def test_a_file_of_another_version_is_refused(store) -> None:
    await SqliteEventLog(store).record([event(1)])
    await store.aclose()
    with closing(sqlite3.connect(store.path)) as raw, raw:
        raw.execute("UPDATE tillport_version SET version_num = '9999'")
    async with aclosing(SqliteStore(store.path)) as newer:
        with pytest.raises(LogUnavailable, match="tillport db upgrade"):
            await SqliteEventLog(newer).head()


async def test_many_may_create_one_file_at_once(tmp_path, writes_apart) -> None:
    async with AsyncExitStack() as stores:
        logs = []
        for _ in range(8):
            store = SqliteStore(tmp_path / "till.sqlite3", writes_apart=writes_apart)
            await stores.enter_async_context(aclosing(store))
            logs.append(SqliteEventLog(store))
        answers = await asyncio.gather(*(log.record([event(1), event(10 + n)]) for n, log in enumerate(logs)))
    assert sum(first for first, _ in answers) == 1
    assert all(second for _, second in answers)


async def test_readers_do_not_wait_for_a_writer(store) -> None:
    log = SqliteEventLog(store)
    await log.record([event(1)])
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM tillport_cursors")
        assert await log.head() == 1  # a reader that waited would be refused after 0.2 s
        other.execute("ROLLBACK")


async def test_a_cancelled_caller_does_not_break_the_writer(either_store) -> None:
    log = SqliteEventLog(either_store)
    await log.head()
    for number in range(20):
        task = asyncio.ensure_future(log.record([event(number)]))
        await asyncio.sleep(0 if number % 2 else 0.002)
        task.cancel()
    assert list(await log.record([event(100)])) == [True]
    found = {one.event.id for one in (await log.read(after=0)).events}
    assert "evt_100" in found


def _claim(name: str):
    def work(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO tillport_cursors VALUES (?, 1, NULL, 0)", (name,))
        return name

    return work


async def _writing(store, work=lambda _: None):
    """Begin a write that waits for the gate, and return it and the gate once it is under way."""
    begun, gate = threading.Event(), threading.Event()
    write = asyncio.ensure_future(store.write(lambda db: (begun.set(), gate.wait(60), work(db))))
    assert await asyncio.to_thread(begun.wait, 60)
    return write, gate


async def test_what_waits_shares_a_commit(store) -> None:
    await store.write(lambda _: None)
    statements: list[str] = []
    first, gate = await _writing(store, lambda db: db.set_trace_callback(statements.append))
    rest = [asyncio.ensure_future(store.write(_claim(f"c{number}"))) for number in range(5)]
    await asyncio.sleep(0.01)
    gate.set()
    await first
    assert await asyncio.gather(*rest) == ["c0", "c1", "c2", "c3", "c4"]
    assert statements.count("COMMIT") == 2
    assert len(await SqliteCursors(store).positions()) == 5


async def test_of_those_who_share_a_commit_each_fails_alone(store) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        _claim("half")(connection)
        raise ZeroDivisionError

    def violates(connection: sqlite3.Connection) -> None:
        _claim("other half")(connection)
        _claim("c1")(connection)

    def has_its_own_transaction(connection: sqlite3.Connection) -> None:
        assert connection.in_transaction

    first, gate = await _writing(store)
    works = [_claim("c1"), fails, violates, has_its_own_transaction, _claim("c2")]
    rest = [asyncio.ensure_future(store.write(work)) for work in works]
    await asyncio.sleep(0.01)
    gate.set()
    await first
    answers = await asyncio.gather(*rest, return_exceptions=True)
    assert answers[0] == "c1"
    assert isinstance(answers[1], ZeroDivisionError)
    assert isinstance(answers[2], sqlite3.IntegrityError)
    assert answers[3:] == [None, "c2"]
    assert sorted(await SqliteCursors(store).positions()) == ["c1", "c2"]


async def test_a_cancelled_write_that_waits_is_left_out(store) -> None:
    first, gate = await _writing(store)
    rest = [asyncio.ensure_future(store.write(_claim(name))) for name in ("stays", "goes", "stays too")]
    await asyncio.sleep(0.01)
    rest[1].cancel()
    await asyncio.sleep(0)
    gate.set()
    await first
    await asyncio.gather(*rest, return_exceptions=True)
    assert sorted(await SqliteCursors(store).positions()) == ["stays", "stays too"]


async def test_a_closed_store_says_so(either_store) -> None:
    await either_store.aclose()
    with pytest.raises(StoreUnavailable):
        await either_store.read(lambda _: None)
    with pytest.raises(LogUnavailable):
        await SqliteEventLog(either_store).record([event(1)])


async def test_a_failure_within_a_transaction_undoes_all_of_it(store) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO tillport_cursors VALUES ('half', 1, NULL, 0)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write(half)
    assert await SqliteCursors(store).positions() == {}


async def test_commits_wait_for_the_disk_and_readers_cannot_write(store) -> None:
    assert await store.write(lambda db: db.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"
    full = 2
    assert await store.write(lambda db: db.execute("PRAGMA synchronous").fetchone()[0]) == full
    with pytest.raises(StoreUnavailable, match="READONLY"):
        await store.read(lambda db: db.execute("DELETE FROM tillport_cursors"))


def mode_of(path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


def made_by_upgrade(path) -> None:
    on_database(f"sqlite:///{path}", upgrade)


def made_by_printed_sql(path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql("sqlite"))


def made_from_a_copy(path) -> None:
    made_by_upgrade(path.with_name("original"))
    with closing(sqlite3.connect(path.with_name("original"))) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("VACUUM INTO ?", (str(path),))


@pytest.mark.parametrize("creates", [True, False])
@pytest.mark.parametrize("make", [made_by_upgrade, made_by_printed_sql, made_from_a_copy])
async def test_a_file_that_was_made_otherwise_is_switched_to_wal(
    make, creates, writes_apart, tmp_path
) -> None:
    path = tmp_path / "till.sqlite3"
    make(path)
    assert mode_of(path) == "delete"
    async with aclosing(SqliteStore(path, creates=creates, writes_apart=writes_apart)) as store:
        await SqliteEventLog(store).record([event(1)])
        assert mode_of(path) == "wal"


def times_open(path, pid: int | None) -> int:
    """Tell how often a process has a file open; never, if there is none."""
    times = 0
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):
            times += link.readlink() == path
    return times


async def test_who_has_the_file_when_it_should_be_switched_holds_up_no_write(writes_apart, tmp_path) -> None:
    path = tmp_path / "till.sqlite3"
    made_by_upgrade(path)
    async with aclosing(SqliteStore(path, writes_apart=writes_apart)) as store:
        log = SqliteEventLog(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # lets nobody switch
            recording = asyncio.ensure_future(log.record([event(0)]))

            def is_open() -> bool:
                """Tell whether whoever writes has it; `other`, which is ours, does not count."""
                return times_open(path, store._process.pid if writes_apart else os.getpid()) > (
                    not writes_apart
                )

            while not is_open():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)  # in which it tries to switch it: that is the first thing that it does
            other.execute("COMMIT")
            assert list(await recording) == [True]
            assert mode_of(path) == "delete"
        for number in range(1, 3 * COMMITS_PER_CHECKPOINT):
            await log.record([event(number)])
        async with asyncio.timeout(10):
            while mode_of(path) != "wal":  # noqa: ASYNC110 - a thread or a process of the store's does it
                await asyncio.sleep(0.01)
        assert await log.head() == 3 * COMMITS_PER_CHECKPOINT


@pytest.mark.parametrize("length", [40, 6000], ids=["in its row", "in pages of its own"])
async def test_what_was_erased_or_forgotten_is_not_left_in_the_file(length, tmp_path, monkeypatch) -> None:
    """Also where SQLite was built without it, as python.org's is; Debian's overwrites by itself."""
    connect = sqlite3.connect

    def connect_as_elsewhere(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA secure_delete=OFF")
        return connection

    monkeypatch.setattr("tillport.adapters.sql.sqlite_file.sqlite3.connect", connect_as_elsewhere)
    path = tmp_path / "till.sqlite3"
    bodies = [b'{"email": "%s@example.com"}' % (name * length) for name in (b"ada", b"bob", b"cleo")]
    async with aclosing(SqliteStore(path)) as store:
        log = SqliteEventLog(store)
        await log.record([event(number, body=body) for number, body in enumerate(bodies)])
        assert await log.replace_body("evt_1", b"{}", now=1.0)
        assert await log.forget(received_before=1e12, up_to=1, now=1.0) == 1
    found = [name in path.read_bytes() for name in (b"adaada", b"bobbob", b"cleocleo")]
    assert found == [False, False, True]


@pytest.mark.parametrize("alias", ["ch_77", "pi_77", "re_77"])
async def test_an_alias_is_found_by_index(store, alias) -> None:
    from tillport.adapters.sql.schema import events
    from tillport.adapters.sql.selection import read_statement, shape_of
    from tillport.adapters.sql.sqlite_store import SQLITE
    from tillport.ports.selector import Compare

    log = SqliteEventLog(store)
    await log.record(
        [event(number, aliases=(f"ch_{number}", f"pi_{number}", f"re_{number}")) for number in range(1, 301)]
    )
    where = Compare("id", "=", alias)
    assert [one.event.id for one in (await log.read(after=0, where=where)).events] == ["evt_77"]
    statement = read_statement(shape_of(where), SQLITE, events.c.seq, events)
    values = statement.positional(b_after=0, b_head=300, b_limit=10, s0=alias)
    plan = await store.read(lambda db: db.execute("EXPLAIN QUERY PLAN " + statement.text, values).fetchall())
    lines = [line[-1] for line in plan]
    assert not [line for line in lines if line.startswith("SCAN")], lines
    assert any("ix_StripeEvents_id" in line for line in lines), lines
    assert any("ix_StripeEvents_payment_key" in line for line in lines), lines


async def test_a_file_that_may_not_be_written_to_is_told_with_what_it_takes(tmp_path) -> None:
    """As for a user who may read the file alone: SQLite takes one by a later version's hand for read-only, too."""
    path = tmp_path / "till.sqlite3"
    async with aclosing(SqliteStore(path)) as store:
        await SqliteEventLog(store).record([event(1)])
    header = bytearray(path.read_bytes())
    header[18] = 3  # the version of the format that one must know to write (sqlite.org/fileformat.html)
    path.write_bytes(header)
    async with aclosing(SqliteStore(path)) as store:
        with pytest.raises(LogUnavailable, match="SQLITE_READONLY") as refused:
            await SqliteEventLog(store).record([event(2)])
    assert "may this user write to it and to its folder" in refused.value.remedy
