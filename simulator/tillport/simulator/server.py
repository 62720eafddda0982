"""The simulator on a loopback port: in this thread until stopped, or in a thread of its own for tests and demos."""

import errno
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tillport.simulator.asgi import SimulatorApp
from tillport.simulator.simulator import Simulator


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, plus a way for the app to reset the connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"tillport.abort": self._reset}  # type: ignore[dict-item] # our own key holds a function

    def _reset(self) -> None:
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            # No lingering: the peer gets a reset, not an orderly end.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (TypeError, ValueError) as error:  # how Python says that no name server could be asked for it
        sock.close()
        raise OSError(errno.EINVAL, "that is no host") from error
    except BaseException:
        sock.close()
        raise
    return sock


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


class Server:
    """Serve a simulator on `http://host:port`; port 0 takes a free one. Use it as a context manager.

        with Server(Simulator(seed=1)) as server:
            client = stripe.StripeClient(server.simulator.secret_key, base_addresses={"api": server.url})

    Raise OSError when the port is taken, and for a host that is not of this machine.
    """

    def __init__(
        self,
        simulator: Simulator | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        concurrency: int = 16,
    ) -> None:
        self.simulator = Simulator() if simulator is None else simulator
        self.app = SimulatorApp(self.simulator, concurrency=concurrency)
        self._socket = _bind(host, port)
        shown = f"[{host}]" if ":" in host else host
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{shown}:{self.port}"
        self.simulator.base_url = self.url
        self._started = threading.Event()
        config = uvicorn.Config(
            self.app,
            http=_Protocol,
            ws="websockets-sansio",
            # Nobody's proxy stands before a fake on loopback.
            proxy_headers=False,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=2,
            lifespan="on",
        )
        self._server = _Uvicorn(config, self._started.set)
        self._thread: threading.Thread | None = None

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Serve in this thread until interrupted or stopped."""
        if on_ready is not None:

            def ready() -> None:
                self._started.set()
                on_ready()

            self._server = _Uvicorn(self._server.config, ready)
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def start(self) -> Self:
        """Serve in a thread of its own; return once requests are answered."""
        self._thread = threading.Thread(target=self.run, name="tillport-simulator", daemon=True)
        self._thread.start()
        if not self._started.wait(30.0):
            raise RuntimeError("the simulator's server did not start within 30 seconds")
        return self

    def stop(self) -> None:
        """Stop and wait for the end; does nothing if not started."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(10.0)
            self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(
    simulator: Simulator,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[Server], None] | None = None,
    **options: Any,
) -> None:
    """Serve until interrupted; `on_ready(server)` is called once, when the port answers."""
    server = Server(simulator, host=host, port=port, **options)
    server.run(None if on_ready is None else lambda: on_ready(server))
