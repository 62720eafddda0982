"""What works beside the service, as the benchmark sees it: a process of its own that is asked how far it has come."""

import json
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from ingesting._progress import READY
from ingesting._till import HERE, Till, ask


class Beside(ABC):
    """A worker in a process of its own, from when it is ready to when it is closed."""

    what = "done"

    def __init__(self, module: str, *arguments: str) -> None:
        self._module, self._done_before = module, 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"ingesting.{module}", *arguments],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != READY:
            self.close()
            sys.exit(f"{module} did not begin")

    def turn(self, ended: float, expected: int, *, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until that many things are done in all; say what was done until the load ended, and what after."""
        deadline = time.monotonic() + seconds
        while (found := self._ask(ended))["now"] < expected and time.monotonic() < deadline:
            time.sleep(0.02)
        while_loaded, self._done_before = found["then"] - self._done_before, found["now"]
        return {
            "while_loaded": while_loaded,
            "behind": expected - found["then"],
            "beside_lag_ms": max(0.0, found["last_at"] - ended) * 1e3,
            "all_done": found["now"] == expected,
        }

    @abstractmethod
    def exact(self, till: Till) -> bool:
        """Return whether everything that was recorded since the start was done, once, and nothing else."""

    def close(self) -> None:
        """End the worker in order, and kill it if it will not."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _ask(self, moment: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{moment!r}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self._module} ended early")
        found: dict[str, Any] = json.loads(answer)
        return found


class Consumer(Beside):
    """A durable consumer of NATS. The ids that it kept are in a file, one a line."""

    what = "consumed"

    def __init__(self, nats_url: str, file: Path) -> None:
        self._file = file
        super().__init__("_consumer", nats_url, str(file))

    def exact(self, till: Till) -> bool:
        """Compare the ids with the table's newest rows."""
        kept = self._file.read_text("utf-8").split()
        return len(kept) == len(set(kept)) == till.fresh and set(kept) == till.event_ids()


class Effects(Beside):
    """Effects at work: one handler that inserts a row for each event, `workers` of it."""

    what = "effects"

    def __init__(self, till_url: str, url: str, *, workers: int) -> None:
        self._url = url
        super().__init__("_effects", till_url, url, str(workers))

    def exact(self, till: Till) -> bool:
        """Compare the rows of the handler with the log's."""
        rows = ask(self._url, "SELECT event_id FROM receipts")
        return len(rows) == till.fresh and {str(row[0]) for row in rows} == till.event_ids()
