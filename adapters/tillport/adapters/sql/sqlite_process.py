"""A process of its own that writes to a SQLite file, for a service that wants its interpreter for itself.

A thread that writes takes the interpreter from the event loop several times for each commit, and gets it back late when the
loop is busy. A process takes nothing: a batch goes to it over a socket, and the answer comes back like any other input.

What can go wrong, and what comes of it:

* The process is killed, or dies: the writes in its hands are told that they failed (they may be committed or not, as when
  the connection to a database server breaks), and the next ones get another process.
* This process is killed: the other one sees the socket's end, finishes the commit in its hands and ends.
* It can't be started: writes fail with the reason, and each next one tries again.

Nothing is sent while an answer is awaited. What comes meanwhile shares the next commit, and is left out if its caller goes
away before.
"""

import asyncio
import logging
import os
import pickle
import socket
import sqlite3
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import attrs

from tillport.adapters.sql.sqlite_child import LENGTH_BYTES, head_of, length_of
from tillport.adapters.sql.sqlite_file import SqliteFile, StoreUnavailable, one_for_each, unavailable
from tillport.adapters.sql.sqlite_writer import SHARED_COMMIT_MAX, Answer, Write, settle

logger = logging.getLogger("tillport.sqlite")

_PATIENCE_SECONDS: Final = 10.0
"""How long a process that was let go may take to close its file."""


@attrs.frozen(eq=False)
class _Job:
    pickled: bytes
    answer: "asyncio.Future[Any]"


@attrs.define(eq=False)
class WriterProcess:
    """Write by another process, which starts at the first write. Belongs to one event loop. Not for Windows."""

    _file: SqliteFile
    _waiting: deque[_Job] = attrs.field(init=False, factory=deque)
    _in_flight: list[_Job] = attrs.field(init=False, factory=list)
    _child: "_Child | None" = attrs.field(init=False, default=None)
    _starting: "asyncio.Task[None] | None" = attrs.field(init=False, default=None)
    _to_be_sent: bool = attrs.field(init=False, default=False)
    _ending: set["asyncio.Future[None]"] = attrs.field(init=False, factory=set)

    @property
    def pid(self) -> int | None:
        """The process that is there now, if any."""
        return None if self._child is None else self._child.process.pid

    def begin(self, write: Write) -> "asyncio.Future[Any]":
        """Have something written. The answer comes when it is committed.

        It is what `write.work` returned or raised, or `StoreUnavailable`. The work and its values must be such as can be
        pickled: a function of a module, and plain values (`functools.partial` joins them).
        """
        job = _Job(pickle.dumps(tuple(write)), asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._send_soon()
        return job.answer

    async def aclose(self) -> None:
        """Return when everything that was begun is committed and the process has ended. Nothing new may be begun."""
        if begun := [job.answer for job in (*self._in_flight, *self._waiting)]:
            await asyncio.wait(begun)
        if self._starting is not None:  # for somebody who went away
            await asyncio.wait([self._starting])
        if self._child is not None:
            self._child.transport.close()
            self._end(self._child.process)
            self._child = None
        if self._ending:
            await asyncio.wait(self._ending)

    def _send_soon(self) -> None:
        # After what else is to be done in this step of the loop. Those whom an answer wakes have the next batch to write:
        # it goes out as soon as they have had their turn, and shares its commit with what waited meanwhile.
        if not (self._in_flight or self._to_be_sent or self._starting):
            self._to_be_sent = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._to_be_sent = False
        jobs: list[_Job] = []
        while self._waiting and len(jobs) < SHARED_COMMIT_MAX:
            job = self._waiting.popleft()
            if not job.answer.done():  # else its caller went away
                jobs.append(job)
        if not jobs:
            return
        if self._child is None:
            self._waiting.extendleft(reversed(jobs))
            self._starting = asyncio.get_running_loop().create_task(self._start())
            self._starting.add_done_callback(self._started)
        else:
            self._in_flight = jobs
            pickled = [job.pickled for job in jobs]
            # Else it is told as lost in a moment, and these with it.
            if not self._child.transport.is_closing():
                self._child.transport.writelines([head_of(sum(map(len, pickled))), *pickled])

    async def _start(self) -> None:
        try:
            process, ours = await asyncio.to_thread(_spawn, self._file)
            await self._connect(process, ours)
        except OSError as error:
            raise StoreUnavailable(f"No process can be started that writes to it: {error}.") from error

    async def _connect(self, process: "subprocess.Popen[bytes]", ours: socket.socket) -> None:
        child = self._child = _Child(process, self._answered, self._lost)  # before it can be lost
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: child, sock=ours)
        except BaseException:  # nothing can be sent to it, and nobody would hear of its end
            self._child = None
            ours.close()
            process.kill()
            self._end(process)
            raise

    def _started(self, task: "asyncio.Task[None]") -> None:
        self._starting = None
        if task.cancelled():  # the loop is ending
            return
        error = task.exception()
        # Nobody may wait for ever while one after the other ends at once.
        if error is None and self._child is None:
            error = _ended()
        if error is not None:
            failed = list(self._waiting)
            self._waiting.clear()
            for job in failed:
                settle(job.answer, (None, one_for_each(error)))
        else:
            self._send()

    def _answered(self, answers: list[Answer]) -> None:
        jobs, self._in_flight = self._in_flight, []
        for job, answer in zip(jobs, answers, strict=True):
            settle(job.answer, answer)
        self._send_soon()

    def _lost(self, child: "_Child") -> None:
        if self._child is not child:
            return  # it was let go
        self._child = None
        child.process.kill()  # should it live on without its socket
        self._end(child.process)
        failed, self._in_flight = self._in_flight, []
        logger.warning("the process that wrote to %s has ended; the next write gets another", self._file.path)
        for job in failed:
            settle(job.answer, (None, _ended()))
        if self._waiting:
            self._send_soon()

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        ending = asyncio.get_running_loop().run_in_executor(None, _wait_for, process)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


class _Child(asyncio.Protocol):
    """The other process, as the event loop hears of it."""

    transport: asyncio.Transport

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        answered: Callable[[list[Answer]], None],
        lost: Callable[["_Child"], None],
    ) -> None:
        self.process = process
        self._answered = answered
        self._lost = lost
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        received = len(self._received) - LENGTH_BYTES
        # One at a time is asked for: nothing follows.
        if received >= 0 and received == length_of(self._received):
            answers = pickle.loads(self._received[LENGTH_BYTES:])  # noqa: S301 - from a process of ours
            self._received = b""
            self._answered(answers)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._lost(self)


def _spawn(file: SqliteFile) -> tuple["subprocess.Popen[bytes]", socket.socket]:
    """Start the process on a file with its tables. Raises `OSError` and `StoreUnavailable`."""
    try:
        file.connect(for_writing=True).close()
    except sqlite3.Error as error:
        raise unavailable(error) from error
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-P", "-m", "tillport.adapters.sql.sqlite_child"]
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [*command, str(file.path.absolute()), str(file.busy_timeout_seconds)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                process_group=0,  # what is typed at a terminal is meant for the service
                # It needs none of the service's secrets.
                env={name: value for name, value in os.environ.items() if not name.startswith("TILLPORT_")},
            )
        except BaseException:
            ours.close()
            raise
    ours.setblocking(False)
    return process, ours


def _ended() -> StoreUnavailable:
    return StoreUnavailable("The process that writes to it has ended.")


def _wait_for(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
