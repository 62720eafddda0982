"""Programs of other people's, as they are published: installed once into a cache, never into the project.

Their versions are pinned here by name. The cache is `.dev/npm` beside `tests` (or where TILLPORT_NPM_CACHE says); it
is made in a folder of its own and moved into place, so that tests in several processes may all ask for it.
"""

import json
import os
import platform
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

STRIPE_NODE = "23.1.0"
STRIPE_CLI = "1.52.0"
_QUIETLY = ("--no-package-lock", "--no-audit", "--no-fund", "--no-progress")


def npm_folder() -> Path:
    """Return the folder whose `node_modules` holds stripe-node and the CLI; install them first if need be."""
    root = Path(os.environ.get("TILLPORT_NPM_CACHE") or Path(__file__).parents[3] / ".dev" / "npm")
    place = root / f"stripe-{STRIPE_NODE}-cli-{STRIPE_CLI}"
    if place.is_dir():
        return place
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not on this machine: stripe-node and the Stripe CLI were not tried")
    root.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=root))
    (fresh / "package.json").write_text(json.dumps({"private": True, "name": "clients"}))
    done = subprocess.run(
        [npm, "install", *_QUIETLY, f"stripe@{STRIPE_NODE}", f"@stripe/cli@{STRIPE_CLI}"],
        cwd=fresh,
        capture_output=True,
        text=True,
        timeout=100,
    )
    if done.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        pytest.skip(f"npm could not install the clients, they were not tried: {done.stderr[-300:]}")
    try:
        fresh.rename(place)
    except OSError:
        # Another process was first.
        shutil.rmtree(fresh, ignore_errors=True)
    return place


def cli() -> str:
    """Return the path of the official CLI's own binary, out of the npm package for this machine."""
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(
        platform.machine().lower(), platform.machine()
    )
    name = f"cli-{platform.system().lower()}-{machine}"
    program = npm_folder() / "node_modules" / "@stripe" / name / "bin" / "stripe"
    if not program.is_file():
        pytest.skip(f"@stripe/{name} has no binary for this machine: the Stripe CLI was not tried")
    return str(program)


class Hook:
    """A receiver of webhooks on a free port: `got` holds (body, signature) in the order of arrival."""

    def __init__(self) -> None:
        got: list[tuple[bytes, str]] = []
        self.status = 200

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(handler) -> None:  # noqa: N805 - `self` is the hook here
                body = handler.rfile.read(int(handler.headers["content-length"]))
                got.append((body, handler.headers["stripe-signature"]))
                handler.wfile.write(b"HTTP/1.1 %d Status\r\nContent-Length: 2\r\n\r\nok" % self.status)

            def log_message(handler, *args: Any) -> None:  # noqa: N805 - the same
                pass

        self.got = got
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def types(self) -> list[str]:
        """Return the types of the events that arrived."""
        return [json.loads(body)["type"] for body, _ in list(self.got)]

    def wait_for(self, type_: str, seconds: float = 60.0) -> dict[str, Any]:
        """Return the first event of that type, waiting for it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for body, _ in list(self.got):
                event: dict[str, Any] = json.loads(body)
                if event["type"] == type_:
                    return event
            time.sleep(0.02)
        raise AssertionError(f"no {type_} in {seconds:.0f} s; there came {self.types()}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def hooked() -> Iterator[Hook]:
    """Keep a receiver open."""
    hook = Hook()
    try:
        yield hook
    finally:
        hook.close()
