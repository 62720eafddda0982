"""The official Stripe CLI, unmodified: resource commands, fixtures, triggers with their webhooks, and `listen`."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe
from realclients import Hook, cli, hooked

from tillport.simulator import Simulator
from tillport.simulator.server import Server

pytestmark = pytest.mark.node

TRIGGERS = (
    "balance.available cash_balance.funds_available charge.captured charge.dispute.closed charge.dispute.created "
    "charge.dispute.updated customer_cash_balance_transaction.created "
    "charge.failed charge.refund.updated charge.refunded charge.succeeded customer.created customer.deleted "
    "customer.source.created customer.source.updated customer.updated payment_intent.amount_capturable_updated "
    "payment_intent.canceled payment_intent.created payment_intent.partially_funded payment_intent.payment_failed "
    "payment_intent.processing payment_intent.requires_action payment_intent.succeeded "
    "payment_method.attached payment_method.detached payment_method.updated "
    "setup_intent.canceled setup_intent.created setup_intent.requires_action setup_intent.setup_failed "
    "setup_intent.succeeded"
).split()


class Cli:
    """The CLI with a home of its own, pointed at a server."""

    def __init__(self, program: str, server: Server, home: Path) -> None:
        self._program = program
        self._server = server
        self._env = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "STRIPE_API_KEY": server.simulator.secret_key,
            "STRIPE_CLI_TELEMETRY_OPTOUT": "1",
        }

    def line(self, *words: str) -> list[str]:
        return [self._program, *words, "--api-base", self._server.url]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.line(*words), env=self._env, capture_output=True, text=True, timeout=60)

    def json(self, *words: str) -> Any:
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        # A deletion is announced before the answer.
        return json.loads(done.stdout[done.stdout.index("{") :])

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.line(*words), env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


@pytest.fixture(scope="module")
def program() -> str:
    return cli()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(Simulator(seed=1, settle_seconds=0.05)) as running:
        yield running


@pytest.fixture
def hook() -> Iterator[Hook]:
    with hooked() as hook:
        yield hook


@pytest.fixture
def run(program: str, server: Server, tmp_path: Path) -> Cli:
    return Cli(program, server, tmp_path)


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_trigger_makes_its_event_arrive(run: Cli, server: Server, hook: Hook, name: str) -> None:
    endpoint = server.simulator.webhook_endpoints.create(url=hook.url, enabled_events=["*"])
    done = run.run("trigger", name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert hook.wait_for(name)["api_version"] == "2026-10-28.endive"
    for body, signature in list(hook.got):
        stripe.Webhook.construct_event(body, signature, endpoint.secret)


# Invoices, which docs/simulator.md lists as not modelled.
def test_a_trigger_beyond_the_scope_is_told_so(run: Cli) -> None:
    done = run.run("trigger", "invoice.paid")
    assert done.returncode != 0
    assert "simulator_not_modelled" in done.stdout + done.stderr


def test_the_resource_commands_create_list_change_and_delete(run: Cli) -> None:
    customer = run.json("customers", "create", "--name", "Ada", "-d", "metadata[order]=6735")
    assert customer["metadata"] == {"order": "6735"}
    assert (
        run.json("customers", "update", customer["id"], "--email", "ada@shop.test")["email"]
        == "ada@shop.test"
    )
    assert [c["id"] for c in run.json("customers", "list", "--limit", "3")["data"]] == [customer["id"]]
    intent = run.json(
        *("payment_intents", "create", "--amount", "2000", "--currency", "usd"),
        *("-d", "payment_method=pm_card_visa", "-d", "confirm=true", "-d", "expand[]=latest_charge"),
    )
    assert intent["latest_charge"]["amount"] == 2000
    refund = run.json("refunds", "create", "--charge", intent["latest_charge"]["id"])
    assert refund["status"] == "succeeded"
    assert run.json("get", f"/v1/refunds/{refund['id']}")["id"] == refund["id"]
    assert run.json("customers", "delete", customer["id"], "--confirm")["deleted"] is True
    missing = run.run("charges", "retrieve", "ch_nowhere")
    assert "resource_missing" in missing.stdout + missing.stderr


def test_a_fixture_file_runs(run: Cli, tmp_path: Path) -> None:
    steps = [
        {"name": "buyer", "path": "/v1/customers", "method": "post", "params": {"name": "Ada"}},
        {
            "name": "payment",
            "path": "/v1/payment_intents",
            "method": "post",
            "params": {
                "customer": "${buyer:id}",
                "amount": 2000,
                "currency": "usd",
                "payment_method": "pm_card_visa",
                "payment_method_types": ["card"],
                "confirm": True,
            },
        },
    ]
    page = tmp_path / "fixture.json"
    page.write_text(json.dumps({"_meta": {"template_version": 0}, "fixtures": steps}))
    done = run.run("fixtures", str(page))
    assert done.returncode == 0, done.stdout + done.stderr
    assert run.json("payment_intents", "list")["data"][0]["status"] == "succeeded"


def test_an_event_is_resent_by_the_cli(run: Cli, server: Server, hook: Hook) -> None:
    endpoint = server.simulator.webhook_endpoints.create(url=hook.url, enabled_events=["customer.created"])
    server.simulator.customers.create(name="Ada")
    event = hook.wait_for("customer.created")
    hook.got.clear()
    run.json("events", "resend", event["id"], "--webhook-endpoint", endpoint.id)
    assert hook.wait_for("customer.created")["id"] == event["id"]


def test_listen_forwards_what_is_triggered_and_reports_the_answers(
    run: Cli, server: Server, hook: Hook
) -> None:
    secret = run.run("listen", "--print-secret").stdout.strip()
    assert secret.startswith("whsec_")
    listening = run.start("listen", "--no-wss", "--skip-update", "--all-snapshot", "--forward-to", hook.url)
    try:
        assert listening.stdout is not None
        text = ""
        while secret not in text:
            line = listening.stdout.readline()
            assert line, text
            text += line
        hook.status = 500
        done = run.run("trigger", "charge.captured")
        assert done.returncode == 0, done.stdout + done.stderr
        hook.wait_for("charge.captured")
        for body, signature in list(hook.got):
            stripe.Webhook.construct_event(body, signature, secret)
        # No list shows the listener, and a failure is not tried again: it is noted.
        assert server.simulator.webhook_endpoints.list().data == []
        log = server.simulator.account.deliveries.log
        end = time.monotonic() + 60
        while not any(e.event_type == "charge.captured" and e.status == 500 for e in log):
            assert time.monotonic() < end, list(log)
            time.sleep(0.02)
        assert server.simulator.events.list(delivery_success=False).data == []
    finally:
        listening.terminate()
        listening.communicate(timeout=60)
    end = time.monotonic() + 60
    server.simulator.customers.create(name="nobody listens")
    while server.simulator.account.deliveries.backlog and time.monotonic() < end:
        time.sleep(0.02)
    assert "customer.created" not in hook.types()


def test_listen_needs_a_secret_key(run: Cli, server: Server) -> None:
    run._env["STRIPE_API_KEY"] = "sk_test_of_somebody_else"
    done = run.run("listen", "--print-secret")
    assert done.returncode != 0
    assert "Invalid API Key" in done.stdout + done.stderr
