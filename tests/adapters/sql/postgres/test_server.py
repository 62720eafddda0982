"""The server for tests leaves nothing behind, even when whoever started it is killed outright."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tillport.adapters.sql.testing import PostgresServer

_START = """
import os, signal, threading
from tillport.adapters.sql.testing import PostgresServer
server = PostgresServer()
starting = threading.Thread(target=server.start)  # whose end is not the end of the process
starting.start()
starting.join()
{also}
print(server.pid, *server._children(), server._folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="others have no /proc")
@pytest.mark.parametrize("also", ["", "server.kill(); server.start()", "server.freeze()"])
def test_a_killed_test_runner_leaves_no_server_behind(also: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _START.format(also=also)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    *pids, folder = done.stdout.split()
    assert len(pids) > 3, done.stderr
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (
        Path(folder).exists() or any(Path(f"/proc/{pid}").exists() for pid in pids)
    ):
        time.sleep(0.05)
    assert not Path(folder).exists()
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the server could not have it itself")
def test_nobody_is_given_the_port_of_a_server_that_does_not_run() -> None:
    server = PostgresServer()
    try:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", server.port))
    finally:
        server.__exit__(None, None, None)
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.port))
