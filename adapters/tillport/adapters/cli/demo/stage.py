"""The stage: a simulated Stripe and the service, each a process of its own, and an end without leftovers.

The service's port is bound here and handed down, so that nobody can take it in between, the webhook endpoint can be
registered before the service runs, and what arrives early waits instead of being refused. Secrets go down by the
environment: a process list shows arguments.
"""

import ctypes
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import attrs

from tillport.adapters.cli.demo.http import call
from tillport.adapters.compose import variable

CLI = (sys.executable, "-m", "tillport.adapters.cli")
APP_ID = "DEMO-APP"
START_SECONDS = 60.0
STOP_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
# There is no SIGHUP on Windows.
_ENDING = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class NoStage(Exception):
    """A server did not start. Says which, and its last words."""


@attrs.define(eq=False)
class Stage:
    """Both servers, in a folder that holds the database and what they logged. Use it as a context manager."""

    folder: Path
    app_key: str = attrs.field(init=False, repr=False, factory=lambda: f"app-{secrets.token_hex(12)}")
    server_key: str = attrs.field(init=False, repr=False, factory=lambda: f"server-{secrets.token_hex(12)}")
    stripe_url: str = attrs.field(init=False, default="")
    url: str = attrs.field(init=False, default="")
    _listening: socket.socket | None = attrs.field(init=False, default=None)
    _children: dict[str, subprocess.Popen[bytes]] = attrs.field(init=False, factory=dict)
    _logs: list[IO[bytes]] = attrs.field(init=False, factory=list)

    def __enter__(self) -> Self:
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
                signal.signal(number, _end)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children.values():
            child.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for log in self._logs:
            log.close()
        if self._listening is not None:
            self._listening.close()

    @property
    def database(self) -> Path:
        """The service's SQLite file."""
        return self.folder / "tillport.sqlite3"

    @property
    def webhook_url(self) -> str:
        """Where Stripe delivers: the seed's form of the URL."""
        return f"{self.url}/{APP_ID}/{self.app_key}/services/Stripe/webhooks/handler"

    @property
    def seed_charge_url(self) -> str:
        """Where a client charges: the seed's form of the URL."""
        return f"{self.url}/{APP_ID}/{self.app_key}/services/Stripe/charge"

    def start_stripe(self) -> float:
        """Start the simulated Stripe and return how many seconds it took. Raises `NoStage`."""
        began = time.monotonic()
        child = self._spawn("stripe", [*CLI, "simulate", "--port", "0"], {}, ())
        while True:
            found = re.search(r"http://127\.0\.0\.1:\d+", self.said("stripe"))
            if found:
                self.stripe_url = found[0]
                return time.monotonic() - began
            self._check("stripe", child, began)

    def start_service(self, *, stripe_key: str, publishable_key: str, signing_secret: str) -> float:
        """Start the service on the port that was taken for it, and return how many seconds it took."""
        assert self._listening is not None
        began = time.monotonic()
        settings = {
            "stripe_secret_key": stripe_key,
            "stripe_publishable_key": publishable_key,
            "stripe_address": self.stripe_url,
            "signing_secrets": signing_secret,
            "currency": "usd",
            "app_id": APP_ID,
            "app_keys": self.app_key,
            "server_keys": self.server_key,
            "database_url": f"sqlite:///{self.database}",
            "maximum_amount_minor": "100000",
        }
        fd = self._listening.fileno()
        child = self._spawn("service", [*CLI, "serve", "--fd", str(fd)], settings, (fd,))
        while "Tillport on" not in self.said("service"):
            self._check("service", child, began)
        # From now on the port is the service's alone: should it die, connections are refused and don't hang.
        self._listening.close()
        self._listening = None
        if call("GET", f"{self.url}/ready").status != 200:
            raise NoStage(f"The service started and is not ready.\n{self.said('service')}")
        return time.monotonic() - began

    def said(self, name: str) -> str:
        """Return what a server has printed and logged so far."""
        path = self.folder / f"{name}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def running(self) -> bool:
        """Tell whether both servers still run."""
        return all(child.poll() is None for child in self._children.values())

    def _spawn(
        self, name: str, command: list[str], settings: Mapping[str, str], fds: tuple[int, ...]
    ) -> subprocess.Popen[bytes]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TILLPORT_")}
        environment |= {variable(key): value for key, value in settings.items()}
        log = (self.folder / f"{name}.log").open("wb")
        self._logs.append(log)
        child = subprocess.Popen(  # noqa: S603 - our own program, with arguments from above
            command,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=fds,
            start_new_session=True,  # Ctrl-C is ours to hear; they are ended by us, in order
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no thread runs yet
        )
        self._children[name] = child
        return child

    def _check(self, name: str, child: subprocess.Popen[bytes], began: float) -> None:
        if child.poll() is not None:
            raise NoStage(f"The {name} process ended with code {child.returncode}.\n{self.said(name)}")
        if time.monotonic() - began > START_SECONDS:
            raise NoStage(f"The {name} process did not start in {START_SECONDS:.0f} s.\n{self.said(name)}")
        time.sleep(0.02)


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """Have the kernel end this child when the demo dies, by kill -9 too."""
    assert _libc is not None
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(number: int, _frame: object) -> None:
    """End this process by an exception, so that the servers are ended and the folder is removed."""
    signal.signal(number, signal.SIG_IGN)  # a terminal that is closed says so twice
    raise SystemExit(128 + number)
