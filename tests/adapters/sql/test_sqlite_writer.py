"""What the writer does after its commits: the write-ahead log is copied into the file, and stays small."""

import sqlite3
from contextlib import closing
from functools import partial

import pytest

from tillport.adapters.sql import sqlite_writer
from tillport.adapters.sql.migrate import on_database, upgrade
from tillport.adapters.sql.sqlite_file import SqliteFile
from tillport.adapters.sql.sqlite_writer import Write, Writer
from tillport.adapters.sql.sqlite_writes import run

COMMITS = 400
BYTES = 32_768


def log_size_after_commits(path) -> int:
    """Commit a great deal, as a service does under load, and return how large the log has become."""
    with closing(Writer(SqliteFile(path))) as writer:
        for number in range(COMMITS):
            text = "INSERT INTO tillport_tombstones (event_id, forgotten_at) VALUES (?, 0)"
            write = Write(partial(run, statements=[(text, (f"evt_{number}" + "x" * BYTES,))]), once=True)
            ((_, failure),) = writer.commit([write])
            assert failure is None
            writer.copy_back()
        if writer._copied is not None:
            writer._copied.result()
        return path.with_name(path.name + "-wal").stat().st_size


def test_the_log_begins_anew_before_it_is_large(tmp_path) -> None:
    assert log_size_after_commits(tmp_path / "till.sqlite3") < COMMITS * BYTES / 2


def test_a_log_that_is_never_copied_would_be_large(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sqlite_writer, "COMMITS_PER_CHECKPOINT", COMMITS + 1)
    assert log_size_after_commits(tmp_path / "till.sqlite3") > COMMITS * BYTES


def test_what_can_not_be_copied_now_costs_no_write_anything(tmp_path) -> None:
    """Somebody reads an old state of the file all the while: nothing beyond that may be copied."""
    path = tmp_path / "till.sqlite3"
    with closing(SqliteFile(path).connect(for_writing=False)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM tillport_tombstones").fetchone()
        assert log_size_after_commits(path) > COMMITS * BYTES
        reader.execute("COMMIT")


def test_who_was_in_the_way_of_wal_when_the_file_was_opened_is_tried_again(tmp_path, monkeypatch) -> None:
    path = tmp_path / "till.sqlite3"
    on_database(f"sqlite:///{path}", upgrade)

    def mode() -> str:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("PRAGMA journal_mode").fetchone()[0]

    with closing(Writer(SqliteFile(path))) as writer:

        def commit_until_copied() -> None:
            while writer._copied is None:
                writer.commit([Write(partial(run, statements=[]))])
                writer.copy_back()
            writer._copied.result()

        with monkeypatch.context() as patched:
            patched.setattr(SqliteFile, "use_wal", lambda *_: None)  # as if somebody always were
            commit_until_copied()
            writer.copy_back()
            assert mode() == "delete"
        commit_until_copied()
        assert mode() == "wal"


@pytest.mark.parametrize("shared", [1, 3])
def test_a_commit_that_fails_tells_each_of_its_writes_by_itself(tmp_path, shared) -> None:
    path = tmp_path / "not there" / "till.sqlite3"
    with closing(Writer(SqliteFile(path))) as writer:
        answers = writer.commit([Write(partial(run, statements=[]))] * shared)
    failures = [failure for _, failure in answers]
    assert len({id(failure) for failure in failures}) == shared
    assert all("unable to open" in str(failure) for failure in failures)
