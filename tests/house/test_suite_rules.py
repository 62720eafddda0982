"""The rules of tests/conftest.py, each seen at work on a small suite of its own."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
INI = '[tool.pytest.ini_options]\nanyio_mode = "auto"\nmarkers = ["campaign(seconds): long", "node: js"]\n'


@pytest.fixture
def suite(tmp_path: Path):
    """Return a function that runs pytest on one test file under the project's conftest."""
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "pyproject.toml").write_text(INI)

    def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_it.py").write_text("import pytest\n" + code)
        plain = {
            name: value
            for name, value in os.environ.items()
            if name not in ("CI", "TILLPORT_CAMPAIGN_SECONDS")
        }
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "anyio", *arguments],
            cwd=tmp_path,
            env=plain | environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


SKIPS = "def test_one(): pytest.skip('no database here')\ndef test_two(): pass\n"
LONG = """
@pytest.mark.campaign(seconds=900)
def test_long(campaign_seconds): print(f"works for {campaign_seconds:g} seconds")
def test_short(): pass
"""


def test_a_skipped_test_fails_the_run_in_ci_alone(suite):
    assert suite(SKIPS).returncode == 0
    in_ci = suite(SKIPS, CI="true")
    assert in_ci.returncode == 1
    assert "in CI nothing may skip" in in_ci.stdout


def test_a_skip_in_a_worker_process_fails_the_run_in_ci_too(suite):
    assert suite(SKIPS, "-p", "xdist", "-n", "1", CI="true").returncode == 1


def test_an_expected_failure_is_no_skip(suite):
    assert suite("@pytest.mark.xfail(strict=True)\ndef test_one(): assert 0\n", CI="true").returncode == 0


def test_a_campaign_is_left_out_unless_asked_for(suite):
    assert "1 passed, 1 deselected" in suite(LONG).stdout


def test_a_campaign_asked_for_has_its_full_length(suite):
    assert "works for 900 seconds" in suite(LONG, "-s", "-m", "campaign").stdout


def test_the_environment_cuts_a_campaign_short(suite):
    run = suite(LONG, "-s", TILLPORT_CAMPAIGN_SECONDS="7")
    assert "works for 7 seconds" in run.stdout
    assert "2 passed" in run.stdout


def test_a_campaign_that_is_cut_to_nothing_does_not_run_for_half_an_hour(suite):
    run = suite(LONG, "-s", TILLPORT_CAMPAIGN_SECONDS="0")
    assert "works for 0 seconds" in run.stdout


def test_without_node_its_tests_are_left_out(suite):
    run = suite("@pytest.mark.node\ndef test_js(): pass\ndef test_py(): pass\n", PATH="/nowhere")
    assert "1 passed, 1 deselected" in run.stdout


@pytest.mark.parametrize("address", [("192.0.2.1", 9), ("2001:db8::1", 9)])
def test_no_test_connects_beyond_this_machine(address):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as sock, pytest.raises(AssertionError, match="loopback only"):
        sock.connect(address)


def test_no_test_resolves_a_foreign_name():
    with pytest.raises(AssertionError, match="loopback only"):
        socket.getaddrinfo("api.stripe.com", 443)


async def test_async_tests_run_on_asyncio(anyio_backend_name):
    assert anyio_backend_name == "asyncio"
