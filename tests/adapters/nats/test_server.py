"""The server for tests leaves no process behind, even when whoever started it is killed outright."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import lives

from tillport.adapters.conformance.proxy import TcpProxy
from tillport.adapters.nats.testing import NatsServer

KILLED = """
import os, signal, sys
from pathlib import Path
from tillport.adapters.nats.testing import NatsServer

server = NatsServer(Path(sys.argv[1]))
server.start()
{also}
print(server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the watch beside a server looks at /proc")
@pytest.mark.parametrize("also", ["", "server.freeze()", "server.kill(); server.start()"])
def test_a_killed_test_runner_leaves_no_server_behind(also: str, tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", KILLED.format(also=also), tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode < 0, told.stderr
    pid = int(told.stdout)
    deadline = time.monotonic() + 60
    while lives(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with NatsServer(tmp_path) as again:
        assert again.running, "and its store can be used"


def is_free(port: int) -> bool:
    """Tell whether somebody who needs a port could be given this one."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the server could not have it itself")
def test_nobody_is_given_the_port_of_a_server_that_is_down(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    assert not is_free(server.port)
    with server:
        server.kill()
        assert not is_free(server.port)
        server.start()
    assert is_free(server.port)


async def test_nobody_is_given_the_port_of_a_proxy_that_is_cut() -> None:
    async with TcpProxy(target_port=9) as proxy:
        await proxy.cut()
        if sys.platform == "linux":
            assert not is_free(proxy.port)
        await proxy.heal()
    assert is_free(proxy.port)


def test_a_server_that_ended_in_order_leaves_no_watch(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        server.kill()
        server.start()
        server.stop()
        server.start()
        watch = server._watch
    assert server._watch is None
    if watch is not None:
        assert watch.returncode == 0
