"""A TCP proxy that misbehaves on demand: what a network does to a connection, without touching the network.

Put it between an adapter and its server. Four things can happen to the connections through it:

* `delay_seconds`: every byte arrives late, in both directions, without slowing the rate;
* `black_hole`: connections are accepted and stay open, and nothing arrives. After `heal` everything arrives that was
  held up, as TCP's retransmissions would bring it: late bytes of a connection that was long given up included;
* `reset`: the present connections end at once with an RST, new ones work; `reset_after_bytes` does it in mid-message;
* `cut`: the present connections are reset and new ones refused, until `heal`.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from types import TracebackType
from typing import Self

import attrs

_CHUNK_BYTES = 65_536
_CHUNKS_UNDER_WAY = 256


@attrs.define(eq=False)
class _Pair:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    def reset(self) -> None:
        for writer in (self.client, self.server):
            endpoint = writer.get_extra_info("socket")
            if endpoint is not None:
                # Lingering for 0 seconds turns the close into an RST (socket(7), SO_LINGER).
                with contextlib.suppress(OSError):
                    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class TcpProxy:
    """Forward connections on a loopback port to a server, for as long as it is told to.

    async with TcpProxy(target_port=4222) as proxy:
        ...  # connect to 127.0.0.1:proxy.port
        await proxy.cut()
        await proxy.heal()
    """

    def __init__(self, *, target_port: int, target_host: str = "127.0.0.1") -> None:
        self.target_port = target_port
        self.target_host = target_host
        self.delay_seconds = 0.0
        self.reset_after_bytes: int | None = None
        """When so many more bytes have gone to the server, every connection is reset."""
        self.connections = 0
        """How many were accepted so far."""
        self._port = 0
        self._holder: socket.socket | None = None
        """Bound to the port and deaf, so that nobody else is given it while it is cut."""
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port to connect to; the same after a cut."""
        return self._port

    async def start(self) -> None:
        """Listen. Does nothing if it does already."""
        if (
            self._holder is None and sys.platform == "linux"
        ):  # where it keeps away others, and not a server that names it
            self._holder = socket.socket()
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._holder.bind(("127.0.0.1", self._port))
            self._port = self._holder.getsockname()[1]
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Reset every connection and stop listening."""
        await self.cut()
        if self._holder is not None:
            self._holder.close()
            self._holder = None
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def reset(self) -> None:
        """End the present connections at once, as a crashed router or peer does. New ones work."""
        for pair in list(self._pairs):
            pair.reset()

    async def cut(self) -> None:
        """Reset the present connections and refuse new ones until `heal`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()
        await asyncio.sleep(0)

    def black_hole(self) -> None:
        """Let nothing through, and tell nobody, until `heal`."""
        self._flowing.clear()

    async def heal(self) -> None:
        """Let everything through again."""
        self._flowing.set()
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _accept(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(client_in, client_out))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        try:
            server_in, server_out = await asyncio.open_connection(self.target_host, self.target_port)
        except OSError:
            client_out.transport.abort()
            return
        pair = _Pair(client_out, server_out)
        self._pairs.add(pair)
        pumps = [
            asyncio.ensure_future(self._pump(client_in, server_out, counted=True)),
            asyncio.ensure_future(self._pump(server_in, client_out, counted=False)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            self._pairs.discard(pair)
            client_out.close()
            server_out.close()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(pumps)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool) -> None:
        """Carry one direction: read as it comes, and write each chunk when its time has come."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_UNDER_WAY)
        loop = asyncio.get_running_loop()

        async def write() -> None:
            while True:
                due, chunk = await under_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._flowing.wait()
                if not chunk:
                    return
                if counted and self._ends_within(len(chunk)):
                    sink.write(chunk[: self.reset_after_bytes])
                    self.reset_after_bytes = None
                    await sink.drain()
                    self.reset()
                    return
                sink.write(chunk)
                await sink.drain()

        writing = asyncio.ensure_future(write())
        try:
            while True:
                chunk = await source.read(_CHUNK_BYTES)
                await under_way.put((loop.time() + self.delay_seconds, chunk))
                if not chunk or writing.done():
                    break
            await writing
        except OSError:
            pass
        finally:
            writing.cancel()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writing

    def _ends_within(self, size: int) -> bool:
        if self.reset_after_bytes is None:
            return False
        if self.reset_after_bytes > size:
            self.reset_after_bytes -= size
            return False
        return True
