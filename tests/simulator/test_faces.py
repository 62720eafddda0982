"""The official SDK, in-process and over HTTP, with webhooks that really arrive."""

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stripe

from tillport.simulator import Attempt, Fault, Faults, Simulator
from tillport.simulator.sdk import SimulatorHTTPClient
from tillport.simulator.server import Server

PAY: Any = {
    "amount": 2000,
    "currency": "usd",
    "confirm": True,
    "payment_method_data": {"type": "card", "card": {"token": "tok_visa"}},
    "expand": ["latest_charge"],
}


class Hook:
    """A receiver of webhooks on a free port."""

    def __init__(self) -> None:
        got: list[tuple[bytes, str]] = []
        # What the application does before it answers.
        self.work: Callable[[], object] = lambda: None
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                got.append((body, self.headers["stripe-signature"]))
                hook.work()
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

            def log_message(self, *args: Any) -> None:
                pass

        self.got = got
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def wait(self, count: int) -> list[tuple[bytes, str]]:
        end = time.monotonic() + 60
        while len(self.got) < count and time.monotonic() < end:
            time.sleep(0.01)
        return self.got


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(Simulator(seed=1, settle_seconds=0.05)) as running:
        yield running


def post(url: str, body: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "application/x-www-form-urlencoded" if isinstance(body, bytes) else "application/json"
    with urllib.request.urlopen(
        urllib.request.Request(url, data, {"content-type": kind}), timeout=30
    ) as answer:
        return answer.read()


def test_the_sdk_pays_in_process_and_hears_the_webhooks() -> None:
    sim = Simulator(seed=1)
    heard: list[Attempt] = []

    def sink(attempt: Attempt) -> int:
        heard.append(attempt)
        return 200

    client = stripe.StripeClient(
        sim.secret_key, http_client=SimulatorHTTPClient(sim, sink=sink), max_network_retries=2
    )
    endpoint = client.v1.webhook_endpoints.create({"url": "http://hook.test/", "enabled_events": ["*"]})
    sim.script(Fault(kind="answer_lost", method="POST"))
    intent = client.v1.payment_intents.create(PAY)
    assert intent.last_response.headers["idempotent-replayed"] == "true"
    assert intent.latest_charge.status == "succeeded"
    for attempt in heard:
        event = stripe.Webhook.construct_event(
            attempt.body, attempt.headers["Stripe-Signature"], endpoint.secret
        )
        assert event.request.idempotency_key
    assert len(heard) == 3
    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_intents.create(
            PAY | {"payment_method_data": {"type": "card", "card": {"token": "tok_chargeDeclined"}}}
        )
    assert caught.value.error.decline_code == "generic_decline"
    assert caught.value.error.payment_intent.status == "requires_payment_method"
    sim.script("rate_limited")
    with pytest.raises(stripe.RateLimitError):
        client.v1.payment_intents.list()
    assert len(list(client.v1.payment_intents.list({"limit": 1}).auto_paging_iter())) == 2


def test_the_wait_of_older_sdks_is_cut_as_well() -> None:
    http = SimulatorHTTPClient(Simulator(seed=1), retry_delay_seconds=0.5)
    # Before 15.3.1 the SDK hands its hook the response, for a Retry-After in it.
    assert http._sleep_time_seconds(1, (b"", 409, {})) == http._sleep_time_seconds(1) == 0.5


async def test_the_sdk_pays_in_process_asynchronously() -> None:
    sim = Simulator(seed=1)
    heard: list[str] = []

    async def sink(attempt: Attempt) -> int:
        await asyncio.sleep(0)
        heard.append(attempt.event_type)
        return 200

    http = SimulatorHTTPClient(sim, async_sink=sink)
    client = stripe.StripeClient(sim.secret_key, http_client=http, max_network_retries=1)
    await client.v1.webhook_endpoints.create_async(
        {"url": "http://hook.test/", "enabled_events": ["charge.succeeded"]}
    )
    sim.script(Fault(kind="timeout_after", method="POST"))
    assert (await client.v1.payment_intents.create_async(PAY)).status == "succeeded"
    assert heard == ["charge.succeeded"]


def test_the_sdk_pays_over_http_and_the_webhooks_arrive(server: Server, hook: Hook) -> None:
    sim = server.simulator
    client = stripe.StripeClient(sim.secret_key, base_addresses={"api": server.url}, max_network_retries=2)
    public = stripe.StripeClient(sim.publishable_key, base_addresses={"api": server.url})
    endpoint = client.v1.webhook_endpoints.create({"url": hook.url, "enabled_events": ["*"]})
    token = public.v1.tokens.create(
        {"card": {"number": "4242424242424242", "exp_month": "12", "exp_year": "2030", "cvc": "123"}}
    )
    sim.script(Fault(kind="answer_lost", method="POST"))
    intent = client.v1.payment_intents.create(
        PAY | {"payment_method_data": {"type": "card", "card": {"token": token.id}}}
    )
    assert intent.last_response.headers["idempotent-replayed"] == "true"
    got = hook.wait(4)
    events = [stripe.Webhook.construct_event(body, header, endpoint.secret) for body, header in got]
    assert sorted(event.type for event in events) == [
        "charge.succeeded",
        "charge.updated",
        "payment_intent.created",
        "payment_intent.succeeded",
    ]
    assert client.v1.events.retrieve(events[0].id).id == events[0].id


async def test_aiohttp_and_httpx_pay_over_http(server: Server) -> None:
    key, addresses = server.simulator.secret_key, {"api": server.url}
    http = stripe.AIOHTTPClient()
    client = stripe.StripeClient(key, base_addresses=addresses, max_network_retries=2, http_client=http)
    server.simulator.script(Fault(kind="answer_lost", method="POST"))
    intent = await client.v1.payment_intents.create_async(PAY)
    assert intent.last_response.headers["idempotent-replayed"] == "true"
    await http.close_async()


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
async def test_httpx_pays_over_http(server: Server) -> None:
    http = stripe.HTTPXClient()
    client = stripe.StripeClient(
        server.simulator.secret_key,
        base_addresses={"api": server.url},
        max_network_retries=2,
        http_client=http,
    )
    assert (await client.v1.payment_intents.create_async(PAY)).status == "succeeded"
    await http.close_async()


@pytest.mark.parametrize("kind", ["truncated", "reset_before", "answer_lost"])
def test_a_spoiled_connection_is_an_error_to_the_client(server: Server, kind: str) -> None:
    server.simulator.script(kind)
    client = stripe.StripeClient(server.simulator.secret_key, base_addresses={"api": server.url})
    with pytest.raises(stripe.APIConnectionError):
        client.v1.payment_intents.list()
    assert client.v1.payment_intents.list().data == []


def test_the_webhook_may_come_before_the_answer(server: Server, hook: Hook) -> None:
    sim = server.simulator
    sim.webhook_endpoints.create(url=hook.url, enabled_events=["charge.succeeded"])
    sim.script(Fault(kind="webhook_first", method="POST"))
    client = stripe.StripeClient(sim.secret_key, base_addresses={"api": server.url})
    client.v1.payment_intents.create(PAY)
    assert len(hook.got) == 1


def test_a_handler_that_asks_the_api_does_not_wait_for_its_own_answer(server: Server, hook: Hook) -> None:
    sim = server.simulator
    endpoint = sim.webhook_endpoints.create(url=hook.url, enabled_events=["payment_intent.created"])
    sim.set_faults(Faults(webhook_first=1.0))
    client = stripe.StripeClient(sim.secret_key, base_addresses={"api": server.url})
    hook.work = lambda: client.v1.webhook_endpoints.retrieve(endpoint.id)
    started = time.monotonic()
    client.v1.payment_intents.create({"amount": 2000, "currency": "usd"})
    assert len(hook.got) == 1
    assert [entry.status for entry in sim.account.deliveries.log] == [200]
    assert time.monotonic() - started < 15  # for thirty seconds a delivery waits for its endpoint


def test_the_control_routes_move_the_clock_and_script_faults(server: Server, hook: Hook) -> None:
    sim = server.simulator
    sim.webhook_endpoints.create(url=hook.url, enabled_events=["payment_intent.succeeded"])
    post(f"{server.url}/_sim/script", [{"kind": "duplicate", "type": "payment_intent.succeeded"}])
    intent = sim.payment_intents.create(
        amount=2000, currency="usd", confirm=True, payment_method="pm_card_threeDSecure2Required"
    )
    url = intent.next_action["use_stripe_sdk"]["stripe_js"]
    assert url.startswith(server.url)
    assert b"succeeded" in post(url, b"outcome=succeed")
    assert len(hook.wait(2)) == 2
    before = sim.clock.now()
    assert json.loads(post(f"{server.url}/_sim/clock", {"seconds": 3600}))["now"] >= before + 3600
    with urllib.request.urlopen(f"{server.url}/_sim/", timeout=5) as answer:
        assert json.load(answer)["counts"]["payment_intents"] == 1
    with pytest.raises(urllib.error.HTTPError, match="400"):
        post(f"{server.url}/_sim/script", [{"kind": "meteor"}])
