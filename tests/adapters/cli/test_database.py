"""`tillport db`: the tables, by command."""

import sqlite3
from contextlib import closing


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


def test_the_sql_is_printed_without_a_database(run) -> None:
    done = run("db", "upgrade", "--sql", "--database", "postgresql://nobody:hunter2@127.0.0.1:9/none")
    assert done.returncode == 0
    assert 'CREATE TABLE "StripeEvents"' in done.stdout


def test_a_database_that_is_not_there_is_told_without_its_password(run) -> None:
    done = run("db", "check", "--database", "postgresql://nobody:hunter2@127.0.0.1:9/none")
    assert done.returncode == 1
    assert "could not be used" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_kind_of_database_is_refused(run) -> None:
    done = run("db", "check", "--database", "mysql://root@db/shop")
    assert done.returncode == 2
    assert "Use sqlite:///file or postgresql://" in done.stderr
