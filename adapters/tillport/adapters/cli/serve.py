"""`tillport serve`: settings, a socket, the service, and an end that loses nothing.

The socket is bound before anything else, so that a taken port is told at once and a free one is known. Signals are
uvicorn's, except that it would raise them again after its own end: the process would die before the log has drained.

Plain webhooks are taken off the socket by the lane (`tillport.adapters.litestar.lane`), all else by uvicorn's protocol
with bounds (`tillport.adapters.cli.bounded`).
"""

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from tillport.adapters.cli.bounded import BODY_SECONDS, BoundedProtocol
from tillport.adapters.cli.terminal import complain, say
from tillport.adapters.compose import Service, Settings, open_service, read_settings, variable
from tillport.ports.event_log import LogUnavailable

GRACE_SECONDS = 25
"""How long a charge that is under way is waited for. Streams and idle connections end at once."""
KEEP_ALIVE_SECONDS = 130
"""How long a connection may be idle: longer than the proxies in front keep theirs (nginx and AWS 60 s, Caddy 120 s, unless told).
Who sends must be the first to close. Else now and then a request meets a connection that is just being closed, and its
proxy answers 502 for us: Stripe comes back an hour later, and a customer does not know whether they have paid."""
DATABASE_SECONDS = 5.0
"""How long a database that does not answer is waited for at the start."""
SWITCH_SECONDS = 0.0001
"""How long a thread that reads from SQLite waits for a busy event loop to let go of the interpreter. Python's own 5 ms are
as long as ten commits, and to read a page of the log it must be waited for several times."""
WRITES_APART = sys.platform != "win32" and not hasattr(sys, "frozen")
"""Whether a process of its own writes to a SQLite file: where a socket can be its standard input, and where there is a Python to
run it with (in a program frozen into one file, `sys.executable` is that program)."""
GARBAGE_THRESHOLDS = (10_000, 20, 100)
"""How many more objects than freed ones make Python look for cycles. A webhook leaves none, but those that wait for a commit
look like growth: at Python's own 700 it looked at them again and again for nothing, for 2.6 % of the processor time under
load, and now and then at all there is, for 60 ms in which nobody was answered. From 5,000 on it is 0.1 %."""


def run_service(*, host: str | None, port: int | None, config: Path | None, fd: int | None = None) -> int:
    """Serve until stopped; return the exit code."""
    overrides = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = read_settings(file=config, overrides=overrides)
    settings.check(name_of=variable)
    try:
        listening = socket.socket(fileno=fd) if fd is not None else bind(settings.host, settings.port)
    except OSError as error:
        complain(
            f"Can't listen on {settings.host} port {settings.port}: {error.strerror}. "
            "Choose another with --port; 0 takes a free one."
        )
        return 1
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    with listening, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, listening))


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except (TypeError, ValueError) as error:  # how Python says that no name server could be asked for it
        raise OSError(errno.EINVAL, "that is no host") from error


async def _serve(settings: Settings, listening: socket.socket) -> int:
    name, port = listening.getsockname()[:2]
    url = f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
    async with open_service(settings, writes_apart=WRITES_APART) as service:
        await _wait_for_the_log(service)
        server = _Server(server_config(service), partial(_ready, url, settings))
        await server.serve(sockets=[listening])
    return 0 if server.started else 1


def server_config(service: Service) -> uvicorn.Config:
    """Return how uvicorn serves this service: plain webhooks by their lane, everything else by uvicorn's own protocol."""
    face = service.face()

    def connection(
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        return face.lane.connection(
            server_state,
            others=partial(BoundedProtocol, config, server_state, app_state, _loop),
            keep_alive_seconds=config.timeout_keep_alive,
            body_seconds=BODY_SECONDS,
            loop=_loop,
        )

    return uvicorn.Config(
        face.app,
        http=cast("type[asyncio.Protocol]", connection),  # uvicorn says class, and calls it
        proxy_headers=False,  # nothing here asks who the client is, or by which scheme it came
        log_config=None,
        log_level="warning",
        access_log=False,  # URLs of the seed's form hold API keys
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _ready(url: str, settings: Settings) -> None:
    _tune_garbage_collection()
    try:
        say(_welcome(url, settings))
    except OSError as error:  # payments are taken, whether somebody reads this or not
        complain(f"Can't write: {error.strerror}. The service runs, on {url}.")


def _tune_garbage_collection() -> None:
    """Leave what was there at the start out of every later look, and look less often.

    For a process that is ours alone, so never on import and never for an embedder.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


async def _wait_for_the_log(service: Service) -> None:
    """Return once the log answers: a service whose database is not there would only collect failures.

    A database that is just starting too is waited for. Raises `LogUnavailable`.
    """
    clock = service.clock
    deadline = clock.now() + DATABASE_SECONDS
    while True:
        try:
            await service.till.log.head()
        except LogUnavailable:
            if clock.now() >= deadline:
                raise
            await clock.sleep_until(clock.now() + 0.25)
        else:
            return


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def _welcome(url: str, settings: Settings) -> str:
    mode = "live: real money moves" if settings.livemode else "test"
    app_id = settings.app_id or "<APP-ID>"
    return "\n".join(
        [
            f"Tillport on {url} ({mode}; charges in {settings.currency})",
            f"  charge          POST {url}/charges   or   {url}/{app_id}/<API-KEY>/services/Stripe/charge",
            f"  webhook URL     {url}/webhooks/stripe",
            f"  live stream     GET {url}/events/stream?selector=id='ch_…'",
        ]
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:  # no uvloop on Windows: asyncio's own does the same, more slowly
        return None
    return uvloop.new_event_loop
