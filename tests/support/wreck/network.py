"""The network between the processes: a balancer in front, and wires that can be cut, in a thread of their own."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self

from tillport.adapters.conformance.proxy import TcpProxy


class Network:
    """An event loop in a thread, on which proxies live; call it from anywhere."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)

    def wire(self, target_port: int) -> "Wire":
        """Return a wire to that port, in place."""
        wire = Wire(self, TcpProxy(target_port=target_port))
        self.run(wire.proxy.start())
        return wire

    def balancer(self, ports: Callable[[], list[int]]) -> int:
        """Listen on a port that hands each connection to the next of those ports that takes it; return the port."""
        turn = itertools.count()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            targets = ports()
            start = next(turn)
            for n in range(len(targets)):
                try:
                    answer, ask = await asyncio.open_connection(
                        "127.0.0.1", targets[(start + n) % len(targets)]
                    )
                except OSError:
                    continue
                try:
                    await asyncio.gather(_pipe(reader, ask), _pipe(answer, writer))
                finally:
                    ask.transport.abort()
                    writer.transport.abort()
                return
            writer.transport.abort()

        server = self.run(asyncio.start_server(accept, "127.0.0.1", 0))
        self._balancer = server
        return int(server.sockets[0].getsockname()[1])

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            if hasattr(self, "_balancer"):
                self._balancer.close()
            rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Wire:
    """One connection's way: `cut`, `black_hole`, `reset`, `heal`."""

    def __init__(self, network: Network, proxy: TcpProxy) -> None:
        self._network = network
        self.proxy = proxy
        self.port = 0

    def cut(self) -> None:
        self._network.run(self.proxy.cut())

    def heal(self) -> None:
        self._network.run(self.proxy.heal())

    def close(self) -> None:
        self._network.run(self.proxy.close())

    def black_hole(self) -> None:
        self._call(self.proxy.black_hole)

    def reset(self) -> None:
        self._call(self.proxy.reset)

    def _call(self, function: Callable[[], None]) -> None:
        async def call() -> None:
            function()

        self._network.run(call())


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
