"""What `find` answers when Stripe does not answer as it should, and when a request arrives after all."""

import json

import pytest

from tillport.adapters.conformance.proxy import TcpProxy
from tillport.adapters.stripe import Patience, StripeConnection, StripeGateway
from tillport.ports.errors import TillportError
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder, GatewayUnavailable, OutcomeUnknown
from tillport.simulator import RealClock, Simulator
from tillport.simulator.server import Server

NO_SEARCH = {"status": 400, "body": {"error": {"type": "invalid_request_error", "message": "no search here"}}}
NOTHING_FOUND = {"status": 200, "body": {"object": "search_result", "data": [], "has_more": False}}
EMPTY = {"status": 200, "body": {"object": "list", "data": [], "has_more": False}}


def payment(number, key="key-1", **more):
    charge = {"id": f"ch_{number}", "object": "charge"}
    return {
        "id": f"pi_{number}", "object": "payment_intent", "status": "succeeded", "latest_charge": charge,
        "metadata": {"tillport_attempt": key}, **more,
    }  # fmt: skip


def listed(*payments, has_more=False):
    return {"status": 200, "body": {"object": "list", "data": payments, "has_more": has_more}}


@pytest.mark.parametrize("search", [NO_SEARCH, NOTHING_FOUND, {"status": 200, "body": {"data": 7}}], ids=repr)
async def test_without_search_the_list_decides(server, gateway, clock, search):
    other = payment(1, key="other", metadata=None)
    server.will(search, listed(other, has_more=True), listed(payment(2)))
    found = await gateway.find("key-1", tried_from=1000.5, tried_until=2000.5)
    assert found.charge_id == "ch_2"
    assert json.loads(found.body) == {"id": "ch_2", "object": "charge"}
    assert server.seen[1].form == {
        "created[gte]": "700", "created[lte]": "2481", "limit": "100", "expand[0]": "data.latest_charge"
    }  # fmt: skip
    assert server.seen[2].form["starting_after"] == "pi_1"


async def test_search_is_not_believed_when_it_shows_another_key(server, gateway):
    server.will(listed(payment(1, key="KEY-1")), EMPTY)  # search ignores case
    assert await gateway.find("key-1", tried_from=0, tried_until=0) is None


async def test_absence_is_proof_only_when_nothing_can_arrive_any_more(server, gateway, clock):
    server.will(NOTHING_FOUND, EMPTY, NOTHING_FOUND, EMPTY)
    tried = clock.now()
    with pytest.raises(OutcomeUnknown, match="too early"):
        await gateway.find("key-1", tried_from=tried, tried_until=tried)
    clock.ahead += gateway.absence_seconds
    assert await gateway.find("key-1", tried_from=tried, tried_until=tried) is None


REFUSED = {"error": {"type": "invalid_request_error", "message": "no"}}


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        ([{"status": 401, "body": REFUSED}], GatewayUnavailable),
        ([{"status": 403, "body": REFUSED}], GatewayUnavailable),
        ([{"status": 429, "body": REFUSED}], GatewayUnavailable),
        ([{"status": 500, "body": REFUSED}], GatewayUnavailable),
        ([{"status": 200, "body": b"<html>"}], GatewayUnavailable),
        ([{"reset": True}], GatewayUnavailable),
        ([NOTHING_FOUND, {"status": 500, "body": REFUSED}], GatewayUnavailable),
        ([NOTHING_FOUND, {"status": 200, "body": {"data": "?"}}], OutcomeUnknown),
        ([NOTHING_FOUND, listed({"id": "pi_1"})], OutcomeUnknown),
        ([NOTHING_FOUND, listed(has_more=True)], OutcomeUnknown),
        ([NOTHING_FOUND, listed(payment(1, status="requires_confirmation"))], OutcomeUnknown),
        ([listed(payment(1)), {"status": 404, "body": REFUSED}], GatewayUnavailable),
        ([listed(payment(1)), {"status": 200, "body": {}}], OutcomeUnknown),
    ],
    ids=repr,
)
async def test_trouble_is_never_taken_for_absence(server, gateway, scripts, expected):
    server.will(*scripts)
    with pytest.raises(TillportError) as told:
        await gateway.find("key-1", tried_from=0, tried_until=0)
    assert type(told.value) is expected
    assert told.value.remedy


async def test_a_request_that_arrives_late_is_found_and_still_charges_once():
    """The network swallows a charge, it is given up, and then the network brings it after all."""

    class Clock(RealClock):
        async def sleep_until(self, moment):
            self.advance(max(0.0, moment - self.now()))

    clock = Clock()
    order = ChargeOrder("tok_visa", Money(1250, "usd"))
    with Server(Simulator(clock=clock)) as server:
        async with (
            TcpProxy(target_port=server.port) as network,
            StripeConnection(
                server.simulator.secret_key,
                clock=clock,
                base_address=f"http://127.0.0.1:{network.port}",
                patience=Patience(timeout_seconds=0.3, max_tries=2),
            ) as impatient,
            StripeConnection(
                server.simulator.secret_key,
                clock=clock,
                base_address=f"http://127.0.0.1:{network.port}",
            ) as connection,
        ):
            gateway = StripeGateway(connection)
            begun = clock.now()
            network.black_hole()
            with pytest.raises(OutcomeUnknown):
                await StripeGateway(impatient).charge(order, idempotency_key="key-1")
            tried_until = clock.now()
            await network.heal()
            found = None
            while found is None:
                try:
                    found = await gateway.find("key-1", tried_from=begun, tried_until=tried_until)
                except OutcomeUnknown as error:
                    assert "too early" in str(error)  # noqa: PT017 - not absent: not yet known
            again = await gateway.charge(order, idempotency_key="key-1")
            assert again.payment_intent_id == found.payment_intent_id
            assert len(server.simulator.payment_intents.list().data) == 1
