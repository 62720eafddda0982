"""Command one: it succeeds when all of it happens, fails in words when something is broken, and leaves nothing behind.

Each `--break` takes one thing away on purpose. A demo that still succeeded would prove nothing when it does.
"""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import children_of, lives

from tillport.adapters.cli.demo.http import call, call_json

DEMO = [sys.executable, "-m", "tillport.adapters.cli", "demo"]


def demo(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*DEMO, *arguments], capture_output=True, text=True, timeout=90, check=False)


def test_every_step_of_the_demo_happens() -> None:
    done = demo()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "All of it happened. 12 steps" in done.stdout
    assert "\033[" not in done.stdout  # plain where nobody watches
    for secret in ("4242424242424242", "sk_test", "whsec_0", "client_secret"):
        assert secret not in done.stdout


@pytest.mark.parametrize(
    ("broken", "step", "seen"),
    [
        ("deliveries", "webhook arrives", "drop"),
        ("secret", "webhook arrives", "answered 400"),
        ("decline", "declined", "200"),
        ("retry", "made once", "'ch_"),
        ("duplicate", "event twice", "None"),
        ("forgery", "forged", "200"),
    ],
)
def test_a_step_that_is_broken_on_purpose_fails_the_demo_in_words(broken: str, step: str, seen: str) -> None:
    done = demo("--break", broken)
    assert done.returncode == 1
    failure = done.stdout.partition("The demo failed")[2]
    assert step in failure.splitlines()[0]
    assert seen in failure
    assert "All of it happened" not in done.stdout


@pytest.fixture
def kept() -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [*DEMO, "--keep"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # though this may run under nohup
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if words in line:
            return text
    raise AssertionError(f"never said {words!r}: {text}")


def gone(pids: list[int], *, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(map(lives, pids)):
            return True
        time.sleep(0.05)
    return False


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@on_linux
def test_what_is_kept_answers_the_seeds_curl_line_and_ends_at_ctrl_c(kept) -> None:
    text = read_until(kept, "tillport events list")
    url = re.search(r'curl -X "POST" "(http://\S+/services/Stripe/charge)"', text)
    assert url is not None
    answer = call_json("POST", url[1], {"amount": 1250, "token": "tok_visa"})
    assert answer.status == 200
    stripe = re.search(r"simulated Stripe +(http://\S+)", text)
    assert stripe is not None
    assert call("GET", f"{stripe[1]}/_sim/").json()["counts"]["charges"] >= 4
    children = list(children_of(kept.pid))
    assert len(children) == 2
    kept.send_signal(signal.SIGINT)
    assert kept.wait(60) == 0
    assert gone(children)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@on_linux  # which alone tells children of their parent's death
def test_nothing_outlives_a_demo_that_is_killed(kept, number: int) -> None:
    text = read_until(kept, "tillport events list")
    folder = re.search(r"sqlite:///(/.+)/", text)
    assert folder is not None
    children = list(children_of(kept.pid))
    assert len(children) == 2
    kept.send_signal(number)
    kept.wait(60)
    assert gone(children)
    if number == signal.SIGKILL:
        shutil.rmtree(folder[1])  # nobody was left to do it
    assert not Path(folder[1]).exists()
