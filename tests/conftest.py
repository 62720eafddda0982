"""What holds for every test: one event loop's kind, no network, campaigns apart, and in CI no skipped test.

Campaigns. A test that is marked `@pytest.mark.campaign(seconds=…)` works for as long as its fixture
`campaign_seconds` says. It has three sizes:

* `pytest` leaves it out (it is deselected, not skipped);
* `pytest -m campaign` runs it at its full length, the one in its mark;
* `TILLPORT_CAMPAIGN_SECONDS=20 pytest` runs all tests, campaigns included, each cut to 20 seconds at most.

Node. A test that is marked `node` is left out where there is no `node` program.

Browser. A test that is marked `browser` is left out, and the run says so, where there is no Chromium (`chromium` on the
path, or where TILLPORT_CHROMIUM says) or no playwright to drive it.

CI. With `CI=true` a skipped test fails the run: what cannot run there must be deselected by name, where it is seen.
"""

import ipaddress
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A shell starts what it runs in the background with SIGINT ignored, and children inherit that; tests send it to theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no bug: no example has a deadline. A failure prints the line that plays it again.
settings.register_profile(
    "tillport", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tillport")

# How many tests there was no browser for.
_UNSEEN = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, which is what the product's adapters are written for."""
    return "asyncio"


# No network ----------------------------------------------------------------------------------------------------------


class NetworkForbidden(AssertionError):
    """A test tried to reach something beyond this machine."""


def _is_local(host: object) -> bool:
    """Tell whether a name or address means this machine."""
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback or name in ("0.0.0.0", "::")
    except ValueError:
        return name.endswith(".localhost")


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Refuse to resolve a foreign name or to connect to a foreign address, in this process."""
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any, /) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
            raise NetworkForbidden(f"a test connects to {address[0]!r}; tests use loopback only")
        connect(self, address)

    def guarded_resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_local(host):
            raise NetworkForbidden(f"a test resolves {host!r}; tests use loopback only")
        return resolve(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_resolve)
        yield


# Campaigns -----------------------------------------------------------------------------------------------------------


def _cut() -> float | None:
    """Read the length to which campaigns are cut, if they are."""
    text = os.environ.get("TILLPORT_CAMPAIGN_SECONDS")
    return float(text) if text else None


def _full_seconds(mark: pytest.Mark) -> float:
    """Read the full length of a campaign from its mark; five minutes unless it says otherwise."""
    return float(mark.kwargs.get("seconds", mark.args[0] if mark.args else 300))


@pytest.fixture
def campaign_seconds(request: pytest.FixtureRequest) -> float:
    """Say how long this campaign may work: its full length, or the cut that the environment asks for."""
    mark = request.node.get_closest_marker("campaign")
    assert mark is not None, "campaign_seconds belongs to tests marked @pytest.mark.campaign(seconds=…)"
    cut = _cut()
    return min(_full_seconds(mark), float("inf") if cut is None else cut)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave campaigns out unless they are asked for; give those that run the time that they need."""
    asked_for = "campaign" in (config.getoption("markexpr") or "") or _cut() is not None
    without_node = shutil.which("node") is None
    chromium = os.environ.get("TILLPORT_CHROMIUM") or shutil.which("chromium")
    without_browser = chromium is None or find_spec("playwright") is None
    kept, left_out = [], []
    for item in items:
        mark = item.get_closest_marker("campaign")
        if without_node and item.get_closest_marker("node") is not None:
            left_out.append(item)
        elif without_browser and item.get_closest_marker("browser") is not None:
            config.stash[_UNSEEN] = config.stash.get(_UNSEEN, 0) + 1
            left_out.append(item)
        elif mark is None:
            kept.append(item)
        elif asked_for or item.nodeid in config.args:
            if item.get_closest_marker("timeout") is None:
                cut = _cut()
                seconds = _full_seconds(mark) if cut is None else min(_full_seconds(mark), cut)
                item.add_marker(pytest.mark.timeout(2 * seconds + 120))
            kept.append(item)
        else:
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


# In CI nothing skips -------------------------------------------------------------------------------------------------


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn a green run with skipped tests red, in CI."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if _in_ci() and exitstatus == 0 and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say why a run without a failed test is red."""
    unseen = terminalreporter.config.stash.get(_UNSEEN, 0)
    if unseen:
        terminalreporter.write_line(f"no Chromium: {unseen} tests in a browser left out", yellow=True)
    skipped = terminalreporter.stats.get("skipped", ())
    if _in_ci() and skipped:
        terminalreporter.write_line(f"CI: {len(skipped)} skipped, and in CI nothing may skip", red=True)
