"""The storm against applications with known holes, a careful one, and our own service."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import stripe

from tillport.adapters.cli.serve import bind
from tillport.simulator.chaos import Bounds, NotLoopback, Report, storm, throw
from tillport.simulator.chaos.storm import KINDS, variants

SECRET = "whsec_chaos_test_secret"
PATIENT = {"timeout_seconds": 30.0, "slow_seconds": 20.0}
"""Where nobody is to be found slow: a crowded machine may be."""
QUICK = Bounds(seconds=0.5, rate=600, **PATIENT)
NOW = 1_793_491_200

Handle = Callable[[bytes, dict[str, str]], int]


def careful(done: Counter[str] | None = None) -> Handle:
    """Handle webhooks as Stripe's documentation asks for, with the official SDK's verification."""
    seen: set[str] = set()
    lock = threading.Lock()

    def handle(body: bytes, headers: dict[str, str]) -> int:
        try:
            text = body.decode()
            stripe.WebhookSignature.verify_header(text, headers.get("Stripe-Signature", ""), SECRET, 300)
            event = json.loads(text)
            event_id, type_ = event["id"], event["type"]
            if not isinstance(event_id, str) or not isinstance(type_, str):
                return 400
        except (ValueError, TypeError, KeyError, RecursionError, stripe.SignatureVerificationError):
            return 400
        with lock:
            if event_id not in seen:
                seen.add(event_id)
                if done is not None:
                    done[event_id] += 1
        return 200

    return handle


class Application:
    """A plain http.server around a handler; an exception in the handler drops the connection, as it does there."""

    def __init__(self, handle: Handle) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = handle(body, {name.title(): value for name, value in self.headers.items()})
                self.wfile.write(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Handle], str]]:
    running: list[Application] = []

    def start(handle: Handle) -> str:
        running.append(Application(handle))
        return running[-1].url

    yield start
    for application in running:
        application.close()


def codes(report: Report, *, broken: bool = True) -> set[str]:
    return {finding.code for finding in report.findings if finding.broken is broken}


# A careful application ----------------------------------------------------------------------------------------------


def test_a_careful_application_comes_through_clean(serve):
    done: Counter[str] = Counter()
    report = throw(serve(careful(done)), SECRET, seed=3, bounds=QUICK, effects=lambda: done)
    assert not report.broken, report.text()
    assert report.sent == report.planned == 300
    assert set(report.answers) == set(KINDS)
    assert "Nothing broke." in report.text()


def test_a_careful_application_comes_through_clean_whatever_the_seed():
    for seed in range(10):
        report = throw(careful(), SECRET, seed=seed)
        assert not report.broken, report.text()


def test_the_signature_of_the_future_is_a_note_and_no_breakage():
    report = throw(careful(), SECRET, seed=1)
    assert codes(report, broken=False) == {"future_accepted"}


# Holes, each found --------------------------------------------------------------------------------------------------


def no_verification(body: bytes, headers: dict[str, str]) -> int:
    return 200


def any_signature_will_do(body: bytes, headers: dict[str, str]) -> int:
    return 200 if headers.get("Stripe-Signature", "").startswith("t=") else 400


def prefix_of_the_signature(body: bytes, headers: dict[str, str]) -> int:
    parts = dict(p.split("=", 1) for p in headers.get("Stripe-Signature", "").split(",") if "=" in p)
    if not parts.get("t", "").isdigit() or abs(int(parts["t"][:12]) - time.time()) > 300:
        return 400
    whole = stripe.WebhookSignature._compute_signature(
        f"{parts['t']}.{body.decode(errors='replace')}", SECRET
    )
    return 200 if whole.startswith(parts.get("v1", "x")) else 400


def no_tolerance(body: bytes, headers: dict[str, str]) -> int:
    try:
        stripe.WebhookSignature.verify_header(
            body.decode(), headers.get("Stripe-Signature", ""), SECRET, None
        )
    except (ValueError, TypeError, stripe.SignatureVerificationError):
        return 400
    return 200


def sdk_as_in_the_quick_start(body: bytes, headers: dict[str, str]) -> int:
    # TypeError and UnicodeDecodeError of the SDK are not caught: 5xx where it is a server, an exception here.
    try:
        stripe.WebhookSignature.verify_header(body.decode(), headers.get("Stripe-Signature", ""), SECRET, 300)
    except stripe.SignatureVerificationError:
        return 400
    json.loads(body)["type"]
    return 200


def no_duplicates_please() -> Handle:
    seen: set[str] = set()
    inner = careful()

    def handle(body: bytes, headers: dict[str, str]) -> int:
        status = inner(body, headers)
        if status == 200:
            event_id = json.loads(body)["id"]
            if event_id in seen:
                return 409
            seen.add(event_id)
        return status

    return handle


def only_known_types(body: bytes, headers: dict[str, str]) -> int:
    status = careful()(body, headers)
    if status == 200 and json.loads(body)["type"].partition(".")[0] not in (
        "charge", "payment_intent", "refund", "customer",
    ):  # fmt: skip
        return 400
    return status


def one_signature_only(body: bytes, headers: dict[str, str]) -> int:
    if headers.get("Stripe-Signature", "").count("v1=") > 1:
        return 400
    return careful()(body, headers)


def judges_by_created(body: bytes, headers: dict[str, str]) -> int:
    status = careful()(body, headers)
    return 400 if status == 200 and json.loads(body).get("created", 0) < time.time() - 3600 else status


def in_order_please() -> Handle:
    begun: set[str] = set()
    inner = careful()

    def handle(body: bytes, headers: dict[str, str]) -> int:
        status = inner(body, headers)
        event = json.loads(body) if status == 200 else {}
        thing = (event.get("data") or {}).get("object") or {}
        if event.get("type") == "payment_intent.created":
            begun.add(thing["id"])
        elif event.get("type") == "payment_intent.succeeded" and thing["id"] not in begun:
            return 422
        return status

    return handle


HOLES: dict[str, tuple[Callable[[], Handle], set[str]]] = {
    "no verification": (lambda: no_verification, {"forgery_accepted", "stale_accepted"}),
    "any signature will do": (lambda: any_signature_will_do, {"forgery_accepted", "stale_accepted"}),
    "a prefix is enough": (lambda: prefix_of_the_signature, {"forgery_accepted"}),
    "no tolerance": (lambda: no_tolerance, {"stale_accepted"}),
    "uncaught errors": (lambda: sdk_as_in_the_quick_start, {"crash_on_forgery", "crash_on_rubbish"}),
    "duplicates refused": (no_duplicates_please, {"duplicate_refused"}),
    "unknown types refused": (lambda: only_known_types, {"unknown_refused"}),
    "rotation not known": (lambda: one_signature_only, {"rotation_refused"}),
    "late events refused": (lambda: judges_by_created, {"late_refused"}),
    "order expected": (in_order_please, {"reordered_refused"}),
}


@pytest.mark.parametrize("name", HOLES)
def test_a_hole_is_found(name):
    make, expected = HOLES[name]
    report = throw(make(), SECRET, seed=5)
    assert expected <= codes(report), report.text()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", HOLES)
def test_a_hole_is_found_by_a_storm_that_tries_everything_once(name, seed):
    make, expected = HOLES[name]
    # A few shots more than the bare number, for a variant may take several.
    report = throw(make(), SECRET, seed=seed, bounds=Bounds(seconds=1, rate=variants() + 40))
    assert expected <= codes(report), report.text()


def test_effects_that_come_twice_or_for_a_stranger_are_found():
    done: Counter[str] = Counter()
    inner = careful()

    def forgetful(body: bytes, headers: dict[str, str]) -> int:
        status = inner(body, headers)
        if status == 200:
            done[json.loads(body)["id"]] += 1
        return status

    assert codes(throw(forgetful, SECRET, effects=lambda: done)) == {"effect_twice"}
    assert codes(throw(careful(), SECRET, effects=dict)) == {"effect_missing"}


def test_effects_on_forged_events_are_found():
    done: Counter[str] = Counter()

    def gullible(body: bytes, headers: dict[str, str]) -> int:
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            done[json.loads(body)["id"]] = 1
        return careful()(body, headers)

    assert "effect_forged" in codes(throw(gullible, SECRET, effects=lambda: done))


def test_a_storm_says_what_it_was_too_short_to_try():
    short = throw(no_verification, SECRET, seed=0, bounds=Bounds(seconds=0.1, rate=40))
    # By luck no forgery was among the four: that is no clean bill.
    assert not short.broken
    (untried,) = short.findings
    assert untried.code == "untried"
    assert "forged: another secret" in untried.variants
    assert "Nothing broke of what was tried." in short.text()
    for seed in range(5):
        bounds = Bounds(seconds=1, rate=variants() + 60)
        assert "untried" not in codes(throw(careful(), SECRET, seed=seed, bounds=bounds), broken=False)


# Over HTTP ----------------------------------------------------------------------------------------------------------


def test_crashes_over_http_are_dropped_connections(serve):
    report = throw(serve(sdk_as_in_the_quick_start), SECRET, seed=1, bounds=QUICK)
    assert "dropped" in codes(report), report.text()


def test_an_application_that_looks_before_it_acts_is_found_at_a_gentle_rate(serve):
    # Between its look and its act lies less time than between two shots: only what comes at once meets it there.
    bounds = Bounds(seconds=2, rate=50, **PATIENT)
    done: Counter[str] = Counter()
    inner = careful()

    def racing(body: bytes, headers: dict[str, str]) -> int:
        status = inner(body, headers)
        if status == 200 and (event_id := json.loads(body)["id"]) not in done:
            time.sleep(0.005)
            done[event_id] += 1
        return status

    report = throw(serve(racing), SECRET, seed=5, bounds=bounds, effects=lambda: done)
    assert codes(report) == {"effect_twice"}, report.text()
    (found,) = (finding for finding in report.findings if finding.broken)
    assert "duplicate: beside it" in found.variants


def test_a_crash_that_is_a_500_is_found(serve):
    def handle(body: bytes, headers: dict[str, str]) -> int:
        try:
            return sdk_as_in_the_quick_start(body, headers)
        except Exception:  # noqa: BLE001 - what a server's outermost layer does
            return 500

    report = throw(serve(handle), SECRET, seed=1, bounds=QUICK)
    assert {"crash_on_forgery", "crash_on_rubbish"} <= codes(report)


def test_slow_answers_and_none_are_found(serve):
    calls = iter(range(1_000_000))

    def handle(body: bytes, headers: dict[str, str]) -> int:
        time.sleep({3: 0.3, 5: 2.0}.get(next(calls), 0))
        return careful()(body, headers)

    bounds = Bounds(seconds=1, rate=100, slow_seconds=0.25, timeout_seconds=1.0)
    report = throw(serve(handle), SECRET, bounds=bounds)
    assert {"slow", "timeout"} <= codes(report), report.text()


def test_a_storm_at_a_silent_server_ends_in_time(serve):
    over = threading.Event()

    def hang(body: bytes, headers: dict[str, str]) -> int:
        over.wait(100)
        return 200

    began = time.monotonic()
    try:
        report = throw(serve(hang), SECRET, bounds=Bounds(seconds=0.5, rate=100, timeout_seconds=0.5))
    finally:
        over.set()
    assert time.monotonic() - began < 50  # the server would have answered after 100 s
    assert "timeout" in codes(report)
    assert "unsent" in codes(report, broken=False)


def test_an_application_that_dies_is_found(serve):
    application = Application(careful())
    threading.Timer(0.5, application.close).start()
    report = throw(application.url, SECRET, bounds=Bounds(seconds=1.5, rate=200, **PATIENT))
    assert "dead_afterwards" in codes(report)


def test_nothing_there_is_told_at_once():
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    report = throw(f"http://127.0.0.1:{port}/", SECRET, bounds=QUICK)
    assert codes(report) == {"unreachable"}
    assert report.sent == 1


def test_the_wrong_secret_is_told_in_words(serve):
    report = throw(serve(careful()), "whsec_of_another_endpoint", bounds=QUICK)
    assert "valid_refused" in codes(report)
    assert "is this the secret of this endpoint" in report.text()


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook", "http://10.0.0.1/", "http://127.0.0.1.example.com/", "http://0.0.0.0:80/",
        "http://[::2]/", "http://user@example.com:80#@127.0.0.1/", "ftp://127.0.0.1/", "127.0.0.1:8000", "",
        "http://127.0.0.1:99999/", "http://127.0.0.1/\r\nHost: a", "http://2130706433.evil.test/",
    ],
)  # fmt: skip
def test_other_machines_are_refused(url):
    with pytest.raises(NotLoopback):
        throw(url, SECRET)


def test_a_redirect_is_not_followed(serve):
    asked = []

    def handle(body: bytes, headers: dict[str, str]) -> int:
        asked.append(1)
        return 302

    report = throw(serve(handle), SECRET, bounds=QUICK)
    assert len(asked) == report.sent
    assert "valid_refused" in codes(report)


# The storm itself ---------------------------------------------------------------------------------------------------


def test_the_same_seed_throws_the_same_storm():
    assert storm(seed=1, count=200, now=NOW) == storm(seed=1, count=200, now=NOW)
    assert storm(seed=1, count=200, now=NOW) != storm(seed=2, count=200, now=NOW)


@pytest.mark.parametrize("seed", range(20))
def test_a_storm_of_some_size_tries_everything(seed):
    tried = {(s.kind, s.variant) for s in storm(seed=seed, count=variants() + 40, now=NOW)}
    assert {kind for kind, _ in tried} == set(KINDS)
    assert len(tried) >= variants() - 2


@pytest.mark.parametrize("bad", [{"seconds": 601}, {"rate": 0}, {"connections": 65}, {"timeout_seconds": -1}])
def test_a_storm_is_bounded(bad):
    with pytest.raises(ValueError, match="must lie between"):
        Bounds(**bad)
    assert Bounds(seconds=600, rate=2000).shots == 50_000


def test_the_secret_is_in_no_report(serve):
    report = throw(serve(no_verification), SECRET, bounds=QUICK)
    assert SECRET not in report.text() + report.json().decode() + repr(report)


# The command --------------------------------------------------------------------------------------------------------


def command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tillport.adapters.cli", "chaos", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=60,
        check=False,
    )


def test_the_command_exits_1_and_says_what_broke(serve):
    run = command(
        serve(no_verification), "--secret", SECRET, "--seconds", "1", "--rate", "150", "--seed", "7"
    )
    assert run.returncode == 1, run.stderr
    assert "BROKEN  forgery_accepted" in run.stdout
    assert SECRET not in run.stdout + run.stderr


def test_the_command_exits_0_for_a_careful_application_and_speaks_json(serve):
    url = serve(careful())
    run = command(url, "--json", "--seconds", "1", "--rate", "150", TILLPORT_CHAOS_SECRET=SECRET)
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert report["broken"] is False
    assert report["sent"] == 150


@pytest.mark.parametrize(
    "arguments", [("http://example.com/",), ("http://127.0.0.1:1/", "--seconds", "9999")]
)
def test_the_command_refuses_with_words(arguments):
    run = command(*arguments, "--secret", SECRET)
    assert run.returncode == 2
    assert run.stdout == ""
    assert "must lie between" in run.stderr or "this machine" in run.stderr


# Our own service ----------------------------------------------------------------------------------------------------


def test_our_own_service_comes_through_clean(tmp_path: Path):
    log = tmp_path / "log"
    settings = {
        "STRIPE_SECRET_KEY": "sk_test_4eC39HqLyjWDarjtT1",
        "SIGNING_SECRETS": SECRET,
        "CURRENCY": "usd",
        "SERVER_KEYS": "server-key-that-stays-home",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'till.sqlite3'}",
    }
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TILLPORT_")}
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tillport.adapters.cli", "serve", "--port", "0"],
            stdout=out,
            stderr=out,
            cwd=tmp_path,
            env=plain | {f"TILLPORT_{name}": value for name, value in settings.items()},
        )
    try:
        end = time.monotonic() + 90
        while "webhook URL" not in log.read_text():
            assert time.monotonic() < end, log.read_text()
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        url = log.read_text().partition("webhook URL")[2].split()[0]
        report = throw(url, SECRET, seed=11, bounds=Bounds(seconds=1, rate=600, **PATIENT))
    finally:
        process.terminate()
        process.wait(30)
    assert not report.broken, report.text()
    assert codes(report, broken=False) <= set()
