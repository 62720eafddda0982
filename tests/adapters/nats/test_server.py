"""The server for tests leaves no process behind, even when whoever started it is killed outright."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import lives

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
