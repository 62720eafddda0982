"""`tillport db`: the tables, by command."""

import sqlite3
from contextlib import closing

import pytest


def test_a_database_is_made_checked_and_left_alone(run, tmp_path) -> None:
    done = run("db", "check")
    assert done.returncode == 2
    assert "There is no database file tillport.sqlite3" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert run("db", "upgrade").returncode == 0
    assert run("db", "upgrade").returncode == 0
    done = run("db", "check")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_table_that_is_missing_is_told(run, tmp_path) -> None:
    assert run("db", "upgrade").returncode == 0
    with closing(sqlite3.connect(tmp_path / "tillport.sqlite3")) as file:
        file.execute("DROP TABLE tillport_aliases")
    done = run("db", "check")
    assert done.returncode == 1
    assert "tillport_aliases" in done.stderr


def test_tables_of_a_newer_version_are_told_and_left_alone(run, tmp_path) -> None:
    url = f"sqlite:///{tmp_path / 'till.sqlite3'}"
    assert run("db", "upgrade", "--database", url).returncode == 0
    with closing(sqlite3.connect(tmp_path / "till.sqlite3", isolation_level=None)) as db:
        db.execute("UPDATE tillport_version SET version_num = '9999'")
    for command in ("check", "upgrade"):
        done = run("db", command, "--database", url)
        assert (done.returncode, done.stdout) == (1, "")
        assert "a newer one was here" in done.stderr
        assert "Run: tillport db upgrade" not in done.stderr


def test_a_file_that_is_in_use_or_has_a_hosts_tables_is_told_as_such(run, tmp_path) -> None:
    with closing(sqlite3.connect(tmp_path / "tillport.sqlite3", isolation_level=None)) as file:
        file.execute("CREATE TABLE tillport_attempts (key TEXT)")
        file.execute("BEGIN IMMEDIATE")
        held_up = run("db", "upgrade")
        file.execute("ROLLBACK")
        not_ours = run("db", "upgrade")
    assert (held_up.returncode, not_ours.returncode) == (1, 1)
    assert "Nothing was changed. Try again" in held_up.stderr
    assert "a host's own migrations perhaps" in not_ours.stderr


def test_the_sql_is_printed_without_a_database(run) -> None:
    done = run("db", "upgrade", "--sql", "--database", "postgresql://nobody:hunter2@127.0.0.1:9/none")
    assert done.returncode == 0
    assert 'CREATE TABLE "StripeEvents"' in done.stdout


def test_only_the_sql_that_a_database_lacks_is_printed(run, tmp_path) -> None:
    everything = run("db", "upgrade", "--sql").stdout
    since = run("db", "upgrade", "--sql", "--after", "0001").stdout
    assert "CREATE TABLE" in everything
    assert "CREATE TABLE" not in since
    with closing(sqlite3.connect(tmp_path / "tillport.sqlite3", isolation_level=None)) as file:
        file.executescript(everything.partition("-- Running upgrade 0001 -> ")[0])
        assert "revision 0001" in run("db", "check").stderr
        file.executescript(since)
    assert run("db", "check").returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--sql", "--after", "0000"], "there is 0001, "), (["--after", "0001"], "--after goes with --sql")],
)
def test_a_revision_that_can_not_be_begun_after_is_refused(run, words: list[str], told: str) -> None:
    done = run("db", "upgrade", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_a_database_that_is_not_there_is_told_without_its_password(run) -> None:
    done = run("db", "check", "--database", "postgresql://nobody:hunter2@127.0.0.1:9/none")
    assert done.returncode == 1
    assert "could not be used" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["db", "check"], ["status"], ["events", "list"], ["effects", "list"]])
def test_an_unknown_kind_of_database_is_refused(run, words: list[str]) -> None:
    done = run(*words, "--database", "mysql://root:hunter2@db/shop")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Use sqlite:///file or postgresql://" in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["db", "upgrade", "--database"],
        ["erase", "cus_1", "--database"],
        ["events", "forget", "--older-than", "90d", "--effects-database"],
        ["effects", "list", "--database"],
    ],
    ids=" ".join,
)
def test_a_database_that_is_named_by_nothing_is_not_the_settings_own(run, words: list[str]) -> None:
    assert run("db", "upgrade").returncode == 0
    done = run(*words, "")
    assert (done.returncode, done.stdout) == (2, "")
    assert "The database URL is empty." in done.stderr


@pytest.mark.parametrize("words", [["db", "upgrade"], ["status"], ["events", "list"], ["effects", "list"]])
@pytest.mark.parametrize(
    "password", ["/hunter2", "hunter2/", "1/hunter2", "?hunter2", "#hunter2", "[hunter2"]
)
def test_a_password_that_breaks_its_url_is_not_shown(run, words: list[str], password: str) -> None:
    done = run(*words, "--database", f"postgresql://till:{password}@127.0.0.1:9/till")
    assert (done.returncode, done.stdout) == (2, "")
    assert "%2F" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
