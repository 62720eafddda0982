"""`tillport reconcile` as a person runs it: a process of its own, against a Stripe over HTTP."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def stripe_address() -> Iterator[str]:
    """Run the fake Stripe in a process of its own."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tillport.simulator", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stdout is not None
        for line in server.stdout:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                yield found[0]
                break
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()


def test_what_stripe_remembers_is_recorded(run, database: str, stripe_address: str) -> None:
    import urllib.request

    key = "sk_test_tillportsimulator"
    request = urllib.request.Request(
        f"{stripe_address}/v1/customers", data=b"name=a", headers={"Authorization": f"Bearer {key}"}
    )
    try:
        urllib.request.urlopen(request).close()
    except urllib.error.HTTPError as error:
        pytest.fail(error.read().decode())
    import time

    time.sleep(1.1)  # an event is listed once its second is over
    done = run(
        "reconcile", "--since", "1h", "--json", "--database", database,
        stripe_secret_key=key, stripe_address=stripe_address,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["recorded"] == {"customer.created": 1}
    assert "events" in done.stderr, "progress is told"
    assert "customer.created" in run("events", "list", "--database", database).stdout


def test_without_a_key_it_is_refused_in_words(run, database: str) -> None:
    done = run("reconcile", "--database", database)
    assert done.returncode == 2
    assert "TILLPORT_STRIPE_SECRET_KEY" in done.stderr


@pytest.mark.parametrize("since", ["yesterday", "0d", "2999-01-01", "-7d", ""])
def test_a_time_that_is_none_is_refused_in_words(run, database: str, since: str) -> None:
    done = run("reconcile", f"--since={since}", "--database", database, stripe_secret_key="sk_test_x")
    assert done.returncode == 2, done.stderr
    assert "7d" in done.stderr


def test_it_makes_no_database_where_there_is_none(run, tmp_path) -> None:
    done = run("reconcile", "--database", "sqlite:///none.sqlite3", stripe_secret_key="sk_test_x")
    assert done.returncode == 2
    assert not (tmp_path / "none.sqlite3").exists()


def test_an_interrupted_run_says_how_to_go_on(database: str) -> None:
    """A Stripe that takes calls and never answers: whoever waits for it may press Ctrl-C."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        running = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tillport.adapters.cli",
                "reconcile",
                "--undelivered",
                "--database",
                database,
            ],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | {
                "TILLPORT_STRIPE_SECRET_KEY": "sk_test_x",
                "TILLPORT_STRIPE_ADDRESS": f"http://127.0.0.1:{silent.getsockname()[1]}",
            },
        )
        silent.settimeout(90)
        connection, _ = silent.accept()
        with connection:
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    [resumed] = re.findall(r"Go on with: tillport reconcile --since (.*)", said)
    assert resumed.endswith(" (and the same --undelivered, --database)")
    assert "Traceback" not in said
