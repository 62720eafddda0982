"""The simulator as a program: what can't be asked of it is told in one line, with a way out."""

import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tillport.simulator.__main__ import main
from tillport.simulator.server import Server


def told(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        (["--rate", "duplicate"], "write --rate duplicate=0.1"),
        (["--rate", "duplicate=often"], "write --rate duplicate=0.1"),
        (["--rate", "duplicate=nan"], "write --rate duplicate=0.1"),
        (["--rate", "duplicate=2"], "between 0 and 1"),
        (["--rate", "earthquake=0.1"], "choose one of"),
        (["--rate", "=0.1"], "choose one of"),
        (["--fault", "earthquake"], "choose one of"),
        (["--retry-seconds=-1"], "write --retry-seconds 1,5,30"),
        (["--retry-seconds=nan"], "write --retry-seconds 1,5,30"),
        (["--retry-seconds=1,inf"], "write --retry-seconds 1,5,30"),
        (["--retry-seconds=1,,5"], "write --retry-seconds 1,5,30"),
        (["--forward-to", "localhost:8777/x"], "--forward-to http://"),
        (["--port=65536"], "0 takes a free one"),
        (["--seed", "\udcff"], "not UTF-8"),
        (["--sede", "1"], "--help"),
    ],
)
def test_wrong_arguments_are_refused_with_2(capsys, words: list[str], way_out: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--port=0", *words])
    assert ended.value.code == 2
    assert way_out in told(capsys)


def test_a_reset_goes_back_to_what_the_command_line_asked_for(monkeypatch) -> None:
    served: list[Server] = []
    monkeypatch.setattr(Server, "run", lambda self, _ready: served.append(self))
    assert main(["--port=0", "--forward-to=http://127.0.0.1:9/in", "--fault=drop", "--rate=delay=0.5"]) == 0
    (server,) = served
    server._socket.close()
    sim = server.simulator
    sim.customers.create()
    sim.advance(60, lambda _: 200)
    sim.reset()
    assert sim.customers.list().data == []
    assert sim.base_url == server.url
    assert [endpoint.url for endpoint in sim.webhook_endpoints.list().data] == ["http://127.0.0.1:9/in"]
    assert [fault.kind for fault in sim.account.faults.script] == ["drop"]
    assert sim.account.faults.rates.delay == 0.5
    # The time stays where it was moved to.
    assert sim.clock.now() >= sim.account.created + 60


def test_a_port_that_is_taken_is_told_with_1(capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main([f"--port={port}"]) == 1
    assert f"port {port}: Address already in use. Choose another with --port" in told(capsys)


@pytest.mark.parametrize(
    "host", ["a..b", "ü" * 70, "203.0.113.1"], ids=["empty label", "long label", "elsewhere"]
)
def test_a_host_that_is_not_of_this_machine_is_told_with_1(capsys, host: str) -> None:
    assert main(["--port=0", f"--host={host}"]) == 1
    assert f"Can't listen on {host}" in told(capsys)


def test_a_simulator_whose_keys_can_not_be_written_ends(capsys, monkeypatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["--port=0"]) == 1
        with suppress(OSError):
            full.close()
    assert "Can't write: No space left on device." in capsys.readouterr().err
