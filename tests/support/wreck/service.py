"""One service that is started, asked, and killed: the process itself, or the one that writes for it."""

import http.client
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from processes import children_of

from tillport.adapters.sql.testing import held_port
from wreck.clock import CLOCK, CLOCK_FILE

APP_KEY = "app-key-of-the-wreck"
SERVER_KEY = "server-key-of-the-wreck"
_START_SECONDS = 90.0  # a start took twenty on a machine at a load of 10


class ServiceProcess:
    """A `tillport` service on a port that it keeps over restarts. `kill` is SIGKILL."""

    def __init__(
        self,
        *,
        stripe: str,
        signing_secret: str,
        database_url: str,
        log: Path,
        messaging_url: str = "memory:",
    ) -> None:
        holder = held_port()  # between two lives, and before the first, nobody else is to be given it
        self.port = int(holder.getsockname()[1])
        self._let_go_of_the_port = weakref.finalize(self, holder.close)
        self.kills = 0
        self.writer_kills = 0
        self._log = log
        self._clock = log.with_suffix(".clock")
        self._clock.write_bytes(CLOCK.pack(0.0))
        self._environment: Mapping[str, str] = {
            **os.environ,
            "TILLPORT_STRIPE_SECRET_KEY": "sk_test_tillportsimulator",
            "TILLPORT_STRIPE_ADDRESS": stripe,
            "TILLPORT_SIGNING_SECRETS": signing_secret,
            "TILLPORT_CURRENCY": "usd",
            "TILLPORT_APP_KEYS": APP_KEY,
            "TILLPORT_SERVER_KEYS": SERVER_KEY,
            "TILLPORT_DATABASE_URL": database_url,
            "TILLPORT_MESSAGING_URL": messaging_url,
            CLOCK_FILE: str(self._clock),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return once it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("serve.py")), str(self.port)],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"the service did not start:\n{self._log.read_text(errors='replace')[-3000:]}"
                )
            time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
            self.kills += 1

    def kill_writer(self) -> None:
        """Kill the process that writes to a SQLite file for this one, if it is there. The service lives on."""
        assert self._process is not None
        for pid in children_of(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.writer_kills += 1

    def set_clock(self, ahead_seconds: float) -> None:
        """Set its clock to be so far ahead of everybody else's, or behind. It keeps that over restarts."""
        with self._clock.open("r+b") as file:  # in place: the service has it mapped
            file.write(CLOCK.pack(ahead_seconds))

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()
