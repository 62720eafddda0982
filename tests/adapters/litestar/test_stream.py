"""Streams: the log first and then its tail, no gap and no repeat, only who may, and they end when asked."""

import json
import re
import socket
import time
from contextlib import closing

import attrs
import httpx
import pytest

from tillport.adapters.litestar.stream import frame
from tillport.ports.event_log import Page


class Listener:
    """A browser's EventSource, the least of it: over a raw socket, read event by event."""

    def __init__(self, port, path, headers=()):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        lines = [f"GET {path} HTTP/1.1", "Host: till.test", *(f"{k}: {v}" for k, v in dict(headers).items())]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.raw, self.text = b"", ""
        self.head = self._until(b"\r\n\r\n").decode()
        self.status = int(self.head.split()[1])

    def _until(self, mark):
        while mark not in self.raw:
            more = self.socket.recv(65_536)
            if not more:
                raise EOFError
            self.raw += more
        found, _, self.raw = self.raw.partition(mark)
        return found

    def block(self):
        """Return the next block of the stream, comments included."""
        while "\n\n" not in self.text:
            self.text += self._chunk()
        found, _, self.text = self.text.partition("\n\n")
        return found

    def _chunk(self):
        size = int(self._until(b"\r\n"), 16)
        if size == 0:
            raise EOFError
        while len(self.raw) < size + 2:
            self.raw += self.socket.recv(65_536)
        chunk, self.raw = self.raw[:size], self.raw[size + 2 :]
        return chunk.decode()

    def event(self):
        """Return the next event as (id, name, data), skipping comments and the like."""
        while True:
            block = self.block()
            data = re.findall(r"^data: ?(.*)$", block, re.MULTILINE)
            if data:
                number = re.search(r"^id: (\d+)$", block, re.MULTILINE)
                name = re.search(r"^event: (.*)$", block, re.MULTILINE)[1]
                return number and int(number[1]), name, json.loads("\n".join(data))

    def close(self):
        self.socket.close()


@pytest.fixture(scope="module")
def world(make_real_world):
    return make_real_world(ping_seconds=0.2)


@pytest.fixture(scope="module")
def port(world, serving):
    with serving(world.app) as port:
        yield port


@pytest.fixture(scope="module")
def tell(world, port, make_event):
    """Deliver a webhook about a charge, as Stripe does."""
    numbers = iter(range(1, 10_000))

    def deliver(charge, kind="charge.succeeded", **more):
        body = make_event(next(numbers), charge=charge, kind=kind, **more)
        answer = httpx.post(
            f"http://127.0.0.1:{port}/webhooks/stripe",
            content=body,
            headers={"Stripe-Signature": world.sign(body)},
        )
        assert answer.status_code == 200
        return json.loads(body)["id"]

    return deliver


def test_a_late_listener_hears_what_was_and_then_what_comes(world, port, tell):
    first = tell("ch_late")
    tell("ch_somebody_else")
    with closing(Listener(port, f"/transactions/ch_late/events?key={world.app_key}")) as listener:
        assert listener.status == 200
        assert "text/event-stream" in listener.head
        _, name, data = listener.event()
        assert (name, data["id"]) == ("charge.succeeded", first)
        second = tell("ch_late", kind="charge.refunded")
        _, name, data = listener.event()
        assert (name, data["id"]) == ("charge.refunded", second)


def test_the_intents_id_finds_the_charges_events(world, port, tell):
    first = tell("ch_by_intent")
    with closing(Listener(port, "/transactions/pi_of_ch_by_intent/events", world.as_app)) as listener:
        assert listener.event()[2]["id"] == first


def test_a_reconnection_goes_on_after_the_last_event_heard(world, port, tell):
    ids = [tell("ch_again") for _ in range(3)]
    with closing(Listener(port, "/transactions/ch_again/events", world.as_app)) as listener:
        position, _, data = listener.event()
        assert data["id"] == ids[0]
    for path, headers in [
        ("/transactions/ch_again/events?after=0", {**world.as_app, "Last-Event-ID": str(position)}),
        (f"/transactions/ch_again/events?after={position}", world.as_app),
    ]:
        with closing(Listener(port, path, headers)) as listener:
            assert [listener.event()[2]["id"] for _ in range(2)] == ids[1:]


def test_an_app_key_sees_the_projection_and_a_server_key_the_body_without_the_secret(world, port, tell):
    tell("ch_private")
    with closing(Listener(port, "/transactions/ch_private/events", world.as_app)) as listener:
        _, _, shown = listener.event()
        assert shown["data"]["amount"] == 1250
        assert "jenny" not in json.dumps(shown)
        assert "client_secret" not in json.dumps(shown)
    with closing(Listener(port, "/transactions/ch_private/events", world.as_server)) as listener:
        _, _, whole = listener.event()
        assert whole["data"]["object"]["billing_details"]["email"] == "jenny@example.com"
        assert whole["data"]["object"]["client_secret"] is None


def test_a_server_key_hears_everything_from_now_on_if_it_wants(world, port, tell):
    tell("ch_before")
    with closing(Listener(port, "/events/stream?after=latest", world.as_server)) as listener:
        listener.block()
        ids = [tell("ch_x"), tell("ch_y")]
        assert [listener.event()[2]["id"] for _ in range(2)] == ids


def test_what_is_sent_in_several_pieces_is_heard_once(world, port, tell):
    ids = [tell("ch_large", padding="x" * 40_000) for _ in range(5)]
    with closing(Listener(port, "/transactions/ch_large/events", world.as_server)) as listener:
        assert [listener.event()[2]["id"] for _ in range(5)] == ids
        ids = [tell("ch_large")]
        assert listener.event()[2]["id"] == ids[0], "and nothing again"


def test_who_wants_what_comes_from_now_on_misses_nothing_while_it_reconnects(world, port, tell):
    tell("ch_before")
    path = "/events/stream?after=latest"
    with closing(Listener(port, path, world.as_server)) as listener:
        position = re.search(r"^id: (\d+)$", listener.block(), re.MULTILINE)[1]
    missed = tell("ch_meanwhile")
    with closing(Listener(port, path, {**world.as_server, "Last-Event-ID": position})) as listener:
        assert listener.event()[2]["id"] == missed


def test_a_selector_is_heard(world, port, tell):
    first = tell("ch_selected")
    path = f"/events/stream?key={world.app_key}&selector=id%20%3D%20%27ch_selected%27"
    with closing(Listener(port, path)) as listener:
        assert listener.event()[2]["id"] == first


def test_an_idle_stream_pings_and_says_how_far_it_has_looked(world, port, tell):
    tell("ch_of_others")
    with closing(Listener(port, "/transactions/ch_nothing/events", world.as_app)) as listener:
        assert listener.block().startswith("retry: ")
        ping = listener.block()
        assert ping.startswith(": ping\nid: ")
        assert int(ping.split()[-1]) >= 1


def test_an_event_that_defies_showing_ends_no_stream(world, port, tell):
    body_with_monster = {"monster": float("inf")}
    assert json.dumps(body_with_monster)  # Python writes Infinity, Stripe never does: refused at the door
    odd = tell("ch_odd", pending_webhooks=10**400)
    fine = tell("ch_odd")
    with closing(Listener(port, "/transactions/ch_odd/events", world.as_app)) as listener:
        assert [listener.event()[2]["id"] for _ in range(2)] == [odd, fine]


def test_a_log_that_goes_away_for_a_while_ends_no_stream_and_loses_nothing(world, port, tell):
    first = tell("ch_break")
    with closing(Listener(port, "/transactions/ch_break/events", world.as_app)) as listener:
        assert listener.event()[2]["id"] == first
        world.log.available = False
        try:
            while "can't be read" not in listener.block():
                pass
        finally:
            world.log.available = True
        second = tell("ch_break")
        assert listener.event()[2]["id"] == second


def test_a_position_of_another_log_is_told_as_reset_and_read_from_the_start(world, port, tell):
    first = tell("ch_reset")
    with closing(Listener(port, "/transactions/ch_reset/events?after=99999999", world.as_app)) as listener:
        number, name, data = listener.event()
        assert (number, name, data["code"]) == (None, "reset", "reset")
        assert listener.event()[2]["id"] == first


class ForgetfulLog:
    """A log whose first page says that older events are gone."""

    def __init__(self, log):
        self._log = log

    async def head(self):
        return await self._log.head()

    async def read(self, *, after, where=None, limit=100):
        page = await self._log.read(after=after, where=where, limit=limit)
        return Page(events=page.events, position=page.position, reset=after == 1)


def test_what_retention_took_is_told_as_reset(world, port, tell, serving, make_real_world):
    mine = tell("ch_old")
    forgetful = attrs.evolve(world.till, log=ForgetfulLog(world.log))
    from tillport.adapters.litestar import create_app

    with (
        serving(create_app(forgetful, world.keys)) as other,
        closing(Listener(other, "/transactions/ch_old/events?after=1", world.as_app)) as listener,
    ):
        assert listener.event()[1] == "reset"
        assert listener.event()[2]["id"] == mine


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/transactions/ch_1/events", {}, 401),
        ("/transactions/ch_1/events?key=wrong", {}, 401),
        ("/transactions/ch_1/events?key=server-key-0123456789abcdef", {}, 401),
        ("/transactions/ch_1/events?key=app-key-0123456789abcdef&key=x", {}, 400),
        ("/transactions/ch_1/events?after=x", "app", 400),
        ("/transactions/ch_1/events?after=-1", "app", 400),
        ("/transactions/ch_1/events?after=9999999999999999999999", "app", 400),
        ("/transactions/ch_1/events?after=%D9%A1", "app", 400),
        ("/events/stream", "app", 403),
        ("/events/stream?selector=type%20%3D%20%27charge.succeeded%27", "app", 403),
        ("/events/stream?selector=id%3D%27ch_1%27%20OR%201%3D1", "app", 400),
        ("/events/stream?selector=", "app", 400),
        ("/events/stream?selector=nonsense", "server", 400),
        ("/events/stream?selector=id%20%3D%20%27ch_%00%27", "server", 400),
        ("/transactions/ch_%00/events", "app", 404),
        ("/transactions/%0A/events", "app", 404),
        ("/events/stream?selector=colour%20%3D%20%27red%27", "server", 400),
    ],
)
async def test_who_may_not_listen_is_told_why(world, path, headers, status):
    chosen = {"app": world.as_app, "server": world.as_server}.get(headers, headers) if headers else {}
    async with world.client() as client:
        answer = await client.get(path, headers=chosen)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["remedy"]


async def test_a_broken_last_event_id_is_400(world):
    async with world.client() as client:
        answer = await client.get(
            "/transactions/ch_1/events", headers={**world.as_app, "Last-Event-ID": "abc"}
        )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Last-Event-ID"


def test_the_open_channel_is_a_setting(world, port, tell, serving):
    from tillport.adapters.litestar import create_app

    first = tell("ch_open")
    till = attrs.evolve(world.till, open_channel=True)
    with (
        serving(create_app(till, world.keys)) as other,
        closing(Listener(other, f"/events/stream?key={world.app_key}")) as listener,
    ):
        heard = listener.event()[2]
        while heard["id"] != first:
            heard = listener.event()[2]
        assert "jenny" not in json.dumps(heard)


def test_more_streams_than_there_is_room_for_are_503(make_real_world, serving):
    world = make_real_world(streams_max=1)
    with (
        serving(world.app) as port,
        closing(Listener(port, "/transactions/ch_1/events", world.as_app)),
        closing(Listener(port, "/transactions/ch_1/events", world.as_app)) as second,
    ):
        assert second.status == 503
        assert "retry-after" in second.head.lower()


def test_a_client_that_leaves_frees_its_place(make_real_world, serving):
    world = make_real_world(streams_max=1)
    with serving(world.app) as port:
        Listener(port, "/transactions/ch_1/events", world.as_app).close()
        deadline = time.monotonic() + 60
        while httpx.get(f"http://127.0.0.1:{port}/ready").json()["streams"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with closing(Listener(port, "/transactions/ch_1/events", world.as_app)) as next_one:
            assert next_one.status == 200


def test_no_event_name_or_body_breaks_out_of_its_frame():
    hostile = frame(1, "a\nid: 99\rdata: x", b'{"a":\r\n1,\r"b":2}\n')
    assert hostile == b'id: 1\nevent: aid: 99data: x\ndata: {"a":\ndata: 1,\ndata: "b":2}\n\n'


def test_browsers_of_the_configured_origins_may_listen(make_real_world, serving):
    world = make_real_world(cors_origins=("https://shop.example",))
    with serving(world.app) as port:
        headers = {**world.as_app, "Origin": "https://shop.example"}
        with closing(Listener(port, "/transactions/ch_1/events", headers)) as listener:
            assert "access-control-allow-origin: https://shop.example" in listener.head.lower()
        headers["Origin"] = "https://evil.example"
        with closing(Listener(port, "/transactions/ch_1/events", headers)) as listener:
            assert "access-control-allow-origin" not in listener.head.lower()
