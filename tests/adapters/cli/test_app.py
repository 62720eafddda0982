"""The command line: help that helps, refusals that say what to do, exit codes that programs can rely on."""

import socket

import pytest


def test_help_names_every_command(run_anew) -> None:
    done = run_anew("--help")
    assert done.returncode == 0
    for command in ("demo", "serve", "simulate", "events", "db", "version"):
        assert command in done.stdout


def test_help_is_quick_since_it_imports_nothing_slow(run_anew, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    told = run_anew("--help").stderr.splitlines()
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told}
    assert "cyclopts" in imported, "the control: it is seen what is imported"
    assert imported & {"alembic", "asyncpg", "litestar", "nats", "sqlalchemy", "stripe", "uvicorn"} == set()


@pytest.mark.parametrize(
    "words",
    [["demo", "--help"], ["serve", "--help"], ["simulate", "--help"], ["events", "--help"], ["version"]],
)
def test_every_command_explains_itself(run_anew, words: list[str]) -> None:
    done = run_anew(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout) > 60


@pytest.mark.parametrize(
    "words",
    [
        ["charge"],
        ["serve", "--prot", "1"],
        ["serve", "--port", "x"],
        ["serve", "--port", "65536"],
        ["events", "show"],
        ["demo", "--break", "it"],
    ],
)
def test_a_wrong_command_line_is_refused_with_2(run_anew, words: list[str]) -> None:
    done = run_anew(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "Error" in done.stderr


def test_serve_refuses_to_start_half_configured(run_anew) -> None:
    done = run_anew("serve", currency="usd", stripe_secret_key="sk_test_abcdefgh")
    assert done.returncode == 2
    assert "TILLPORT_SIGNING_SECRETS" in done.stderr
    assert "TILLPORT_SERVER_KEYS" in done.stderr
    assert "sk_test" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_settings_file_that_is_not_there_is_told(run_anew) -> None:
    done = run_anew("serve", "--config", "none.toml")
    assert done.returncode == 2
    assert "none.toml can't be read" in done.stderr


def test_the_version_is_the_installed_ones(run_anew) -> None:
    assert run_anew("--version").stdout.strip() in run_anew("version").stdout


def test_a_fault_that_does_not_exist_is_refused(run_anew) -> None:
    done = run_anew("simulate", "--port", "0", "--fault", "earthquake")
    assert done.returncode == 2
    assert "unknown fault 'earthquake'" in done.stderr


def test_a_simulator_that_can_not_listen_says_so(run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run("simulate", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"tillport simulate: Can't listen on 127.0.0.1 port {port}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["events", "show", "\udcff"],
        ["effects", "show", "\udcff"],
        ["consumers", "drop", "\udcff"],
        ["simulate", "--seed", "\udcff"],
        ["serve", "--host", "\udcff"],
        ["status", "--database=\udcff"],
        ["\udcff"],
    ],
    ids=ascii,
)
def test_a_command_line_that_is_no_text_is_refused(run_anew, words: list[str]) -> None:
    done = run_anew(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "tillport: The command line is not UTF-8.\n"


def test_what_a_command_is_about_has_a_place_and_no_option(run) -> None:
    for words in (["explain"], ["erase"], ["events", "show"], ["effects", "show"], ["consumers", "drop"]):
        done = run(*words)
        assert done.returncode == 2
        assert "--" not in done.stderr, words
