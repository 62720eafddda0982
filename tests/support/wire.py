"""One connection to a protocol over real sockets, client and server in one event loop.

In one loop a test says exactly which bytes a server reads together and what it has done when the next come: there are
no sleeps to guess, and nothing depends on how fast the machine is.
"""

import array
import asyncio
import contextlib
import fcntl
import socket
import termios
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import attrs
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tillport.adapters.litestar import WebhookLane, create_face
from tillport.adapters.runtime.group_commit import GroupCommit
from tillport.domain import Till

STEPS_PATIENCE = 100_000
"""Turns of the loop, not seconds: a test that waits for what never comes says so."""
QUIET_TURNS = 40
CLOSING_TURNS = 10
"""How long it takes at most from an answer to the end of its connection."""


class SlowLog:
    """A log that takes some turns of the loop to record, or waits until it is told to go on, or fails."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self.turns = 0
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.entered = 0

    async def record(self, events: Sequence[Any]) -> Any:
        self.entered += 1
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await self._log.record(events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


@attrs.define(eq=False)
class Side:
    """A service in memory, reached by the lane or by uvicorn's protocol alone."""

    world: Any
    with_lane: bool
    grouped: bool = True
    """Whether requests share commits, as in `tillport serve`."""
    keep_alive_seconds: float = 60.0
    doorbell: Any = None
    log: SlowLog = attrs.field(init=False)
    till: Till = attrs.field(init=False)
    state: ServerState = attrs.field(init=False, factory=ServerState)
    lane: WebhookLane = attrs.field(init=False)
    handed_over: int = attrs.field(init=False, default=0)
    _config: uvicorn.Config = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.log = SlowLog(self.world.log)
        till = attrs.evolve(self.world.till, log=GroupCommit(self.log) if self.grouped else self.log)
        if self.doorbell is not None:
            till = attrs.evolve(till, doorbell=self.doorbell)
        self.till = till
        face = create_face(till, self.world.keys, settings=self.world.settings)
        self.lane = face.lane
        self._config = uvicorn.Config(
            face.app,
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=self.keep_alive_seconds,  # type: ignore[arg-type] # an int for uvicorn, which adds it up
        )
        self._config.load()
        self.state.default_headers = [(b"date", b"today"), (b"x-default", b"1")]

    def protocol(self) -> asyncio.Protocol:
        loop = asyncio.get_running_loop()
        others = partial(HttpToolsProtocol, self._config, self.state, {}, loop)
        if not self.with_lane:
            return others()

        def handing_over() -> asyncio.Protocol:
            self.handed_over += 1
            return others()

        return self.lane.connection(
            self.state, others=handing_over, keep_alive_seconds=self.keep_alive_seconds
        )

    async def recorded(self, after: int = 0) -> list[tuple[str, bytes]]:
        page = await self.world.log.read(after=after, limit=1000)
        return [(at.event.id, at.event.body) for at in page.events]

    @contextlib.asynccontextmanager
    async def connected(self) -> "AsyncIterator[Wire]":
        """Open a connection; at the end the client leaves, and nothing may be left of it."""
        loop = asyncio.get_running_loop()
        client, accepted = socket.socketpair()  # no network: what one end sends is at the other at once
        client.setblocking(False)
        accepted.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(self.protocol, accepted)
        wire = Wire(self, client, accepted, transport)
        try:
            yield wire
        finally:
            client.close()
            if self.log.gate is not None:
                self.log.gate.set()
            await wire.until(lambda: not self.state.connections and not self.state.tasks)


@attrs.define(eq=False)
class Wire:
    """The client's end, and a look at the server's."""

    side: Side
    client: socket.socket
    accepted: socket.socket
    transport: asyncio.Transport
    answers: bytes = b""
    closed: bool = False

    async def send(self, piece: bytes) -> None:
        """Send a piece and let the server read what it wants of it."""
        self._receive()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sent = 0
            while sent < len(piece):
                with contextlib.suppress(BlockingIOError):
                    sent += self.client.send(piece[sent:])
                await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Go on until nothing is under way and nothing that is there will be read."""
        state, quiet, answered = self.side.state, 0, -1
        for _ in range(STEPS_PATIENCE):
            going_on = state.total_requests != answered or (self._unread() and self._reads())
            quiet, answered = 0 if going_on else quiet + 1, state.total_requests
            # A task may wait for a body that does not come. All others take a few turns more than the log does.
            if quiet > (self.side.log.turns + QUIET_TURNS if state.tasks else CLOSING_TURNS):
                break
            await asyncio.sleep(0)
        else:
            raise AssertionError("it never came to rest")
        self._receive()

    async def until(self, true: Callable[[], object]) -> None:
        for _ in range(STEPS_PATIENCE):
            if true():
                break
            await asyncio.sleep(0)
        else:
            raise AssertionError("it never came true")
        self._receive()

    async def closes(self) -> None:
        """Wait, in seconds, until the server has closed the connection."""
        async with asyncio.timeout(60):
            while not self.closed:
                await asyncio.sleep(0.01)
                self._receive()

    def _reads(self) -> bool:
        return not self.transport.is_closing() and self.transport.is_reading()

    def _unread(self) -> int:
        if self.transport.is_closing():
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self.accepted.fileno(), termios.FIONREAD, count)
        return count[0]

    def _receive(self) -> None:
        if self.client.fileno() < 0:
            return
        with contextlib.suppress(BlockingIOError):
            try:
                while piece := self.client.recv(65_536):
                    self.answers += piece
                self.closed = True
            except ConnectionResetError:
                self.closed = True
