"""Fixtures for anybody's tests: a fake Stripe of its own for each test. Nothing is imported before a test asks.

Loaded by pytest wherever Tillport is installed; `-p no:tillport` leaves it out. PYTEST_DONT_REWRITE
"""

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import stripe

    from tillport.simulator import Simulator
    from tillport.simulator.chaos import Report
    from tillport.simulator.server import Server


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tillport", "Tillport's simulated Stripe")
    group.addoption(
        "--stripe-seed",
        default=os.environ.get("TILLPORT_STRIPE_SEED", "0"),
        help="seed of the simulated Stripe's ids and chance (default 0, or TILLPORT_STRIPE_SEED)",
    )


@pytest.fixture
def stripe_simulator(request: pytest.FixtureRequest) -> "Simulator":
    """A fake Stripe of this test's own, in virtual time, with a journal. `sim.advance(60, sink)` moves its clock."""
    from tillport.simulator import ManualClock, Simulator

    return Simulator(clock=ManualClock(), seed=request.config.getoption("--stripe-seed"), journal=100_000)


@pytest.fixture(scope="session")
def stripe_host(request: pytest.FixtureRequest) -> "Simulator":
    """The simulator that holds the private accounts of this session's tests; real time."""
    from tillport.simulator import Simulator

    return Simulator(seed=request.config.getoption("--stripe-seed"), journal=100_000)


@pytest.fixture
def stripe_account(stripe_host: "Simulator", request: pytest.FixtureRequest) -> "Iterator[Simulator]":
    """A private account for this test in the session's simulator, in real time, with keys and a path of its own.

    It can be served beside others (`stripe_server`); it is thrown away after the test.
    """
    made = stripe_host.private_accounts.create(seed=request.config.getoption("--stripe-seed"))
    try:
        yield made
    finally:
        stripe_host.private_accounts.remove(made.account.name)


@pytest.fixture
def stripe_client(stripe_simulator: "Simulator") -> "stripe.StripeClient":
    """The official SDK's client on `stripe_simulator`, sync and async, without a socket."""
    import stripe

    from tillport.simulator.sdk import SimulatorHTTPClient

    return stripe.StripeClient(
        stripe_simulator.secret_key, http_client=SimulatorHTTPClient(stripe_simulator), max_network_retries=2
    )


@pytest.fixture(scope="session")
def stripe_host_server(stripe_host: "Simulator") -> "Iterator[Server]":
    """The session's simulator on a free loopback port; started when the first test asks."""
    from tillport.simulator.server import Server

    with Server(stripe_host) as server:
        yield server


class ServedAccount:
    """One private account on a loopback port: the account, and where and with which key it is reached."""

    def __init__(self, account: "Simulator", url: str) -> None:
        self.account = account
        # The server's root: the key says which account is meant.
        self.url = url
        # The same with the account in the path.
        self.base_url = account.base_url
        self.secret_key = account.secret_key
        self.publishable_key = account.publishable_key

    def __repr__(self) -> str:
        return f"ServedAccount({self.base_url!r})"


@pytest.fixture
def stripe_server(stripe_host_server: "Server", stripe_account: "Simulator") -> ServedAccount:
    """`stripe_account` on a loopback port, for any client in any language; webhooks are really POSTed."""
    return ServedAccount(stripe_account, stripe_host_server.url)


@pytest.fixture
def stripe_chaos(request: pytest.FixtureRequest) -> "Callable[..., Report]":
    """Throw a storm at a webhook, and fail the test with the report if anything broke.

    `stripe_chaos(url_or_function, secret, seed=…, bounds=Bounds(seconds=3), effects=…)`; returns the report.
    """

    def run(target: Any, secret: str, **options: Any) -> "Report":
        from tillport.simulator.chaos import throw

        options.setdefault("seed", request.config.getoption("--stripe-seed"))
        report = throw(target, secret, **options)
        if report.broken:
            pytest.fail(report.text(), pytrace=False)
        return report

    return run
