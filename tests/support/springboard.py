"""An interpreter that has imported the libraries already, and forks for every run of a program.

A command of `tillport` spends most of its processor time on importing SQLAlchemy, Alembic and their like; a suite that
runs two hundred of them pays that once here. Each run is a process of its own all the same: its own folder,
environment, arguments, standard streams and exit code, and its interpreter ends as any other does. What is Tillport's
is not imported beforehand, so that every run shows that a command imports what it needs.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LIBRARIES = (
    "aiohttp", "alembic.autogenerate", "alembic.command", "asyncio", "asyncpg", "attrs", "cyclopts", "msgspec", "nats",
    "sqlalchemy.ext.asyncio", "sqlite3", "stripe",
)  # fmt: skip


class Springboard:
    """Run the command line, from libraries that are there already. A context; one run at a time."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._interpreter: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(
        self, *arguments: str, folder: Path, environment: Mapping[str, str], timeout: float
    ) -> "subprocess.CompletedProcess[str]":
        """Run `tillport` with these arguments and return what came of it, as `subprocess.run` would."""
        with self._one, tempfile.TemporaryDirectory() as place:
            streams = {name: str(Path(place, name)) for name in ("stdout", "stderr")}
            order = {"arguments": arguments, "folder": str(folder), "environment": dict(environment)}
            try:
                code = self._ask(order | streams, timeout)
            except BaseException:  # in the middle of a run, whose answer must not be taken for the next one's
                self._end()
                raise
            stdout, stderr = (Path(path).read_text("utf-8") for path in streams.values())
        if code == -signal.SIGKILL:
            raise subprocess.TimeoutExpired(arguments, timeout, stdout, stderr)
        return subprocess.CompletedProcess(["tillport", *arguments], code, stdout, stderr)

    def _ask(self, order: Mapping[str, Any], timeout: float) -> int:
        """Have an order followed, and return the exit code of the process that did; kill it when the time is up."""
        if self._interpreter is None:
            self._interpreter = subprocess.Popen(
                [sys.executable, str(Path(__file__))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        orders, answers = self._interpreter.stdin, self._interpreter.stdout
        assert orders is not None
        assert answers is not None
        orders.write(json.dumps(order) + "\n")
        orders.flush()
        pid = int(answers.readline())
        end = threading.Timer(timeout, _kill, [pid])
        end.start()
        try:
            return int(answers.readline())
        except BaseException:
            _kill(pid)
            raise
        finally:
            end.cancel()
            end.join()

    def _end(self) -> None:
        interpreter, self._interpreter = self._interpreter, None
        if interpreter is not None:
            interpreter.communicate()  # the end of its orders is its own


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# In the interpreter --------------------------------------------------------------------------------------------------


def _wait_for_orders() -> Sequence[str] | None:
    """Fork for each order. Return its arguments in the child that is to follow it, None when no more will come."""
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order)
            return list(order["arguments"])
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return None


def _become(order: Mapping[str, Any]) -> None:
    """Give this process the streams, folder and environment that the order names."""
    to_write = os.O_WRONLY | os.O_CREAT
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, order["stdout"], to_write),
        (2, order["stderr"], to_write),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])


def _main() -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # what is here for good need not be looked through in every child
    arguments = _wait_for_orders()
    if arguments is not None:
        sys.path[0] = str(Path.cwd())  # as `python -m` has it
        sys.argv = ["tillport", *arguments]
        program: Callable[[], None] = importlib.import_module("tillport.adapters.cli").main
        program()


if __name__ == "__main__":
    _main()
