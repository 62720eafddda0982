"""The table `StripeEvents` over HTTP, and health."""

import asyncio

import attrs
import pytest


async def fill(world, client, make_event, count=5):
    for number in range(1, count + 1):
        body = make_event(number, charge=f"ch_{number % 2}")
        answer = await client.post(
            "/webhooks/stripe", content=body, headers={"Stripe-Signature": world.sign(body)}
        )
        assert answer.status_code == 200


async def test_a_row_has_the_seeds_columns_and_the_body_without_the_secret(world, client, make_event):
    await fill(world, client, make_event, 1)
    (row,) = (await client.get("/events", headers=world.as_server)).json()["events"]
    assert (row["id"], row["type"]) == ("ch_1", "charge.succeeded")
    assert (row["event_id"], row["payment_key"], row["position"]) == ("evt_1", "pi_of_ch_1", 1)
    assert row["body"]["data"]["object"]["amount"] == 1250
    assert row["body"]["data"]["object"]["client_secret"] is None


async def test_pages_follow_each_other_without_gap_or_repeat(world, client, make_event):
    await fill(world, client, make_event, 5)
    seen, position = [], 0
    for _ in range(4):
        page = (await client.get(f"/events?after={position}&limit=2", headers=world.as_server)).json()
        seen += [row["event_id"] for row in page["events"]]
        position = page["position"]
    assert seen == [f"evt_{number}" for number in range(1, 6)]


async def test_a_position_of_another_log_is_told_as_reset(world, client, make_event):
    await fill(world, client, make_event, 1)
    at_the_end = (await client.get("/events?after=1", headers=world.as_server)).json()
    assert at_the_end == {"events": [], "position": 1, "reset": False}
    beyond = (await client.get("/events?after=2", headers=world.as_server)).json()
    assert beyond == {"events": [], "position": 0, "reset": True}


async def test_a_selector_narrows_the_rows(world, client, make_event):
    await fill(world, client, make_event, 4)
    answer = await client.get("/events", params={"selector": "id = 'ch_1'"}, headers=world.as_server)
    assert [row["event_id"] for row in answer.json()["events"]] == ["evt_1", "evt_3"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 400), ("limit=1001", 400), ("limit=x", 400), ("limit=-1", 400), ("limit=", 400),
        ("after=x", 400), ("selector=x", 400), ("where=x", 400), ("after=1&after=2", 400),
        ("&".join(f"a{number}=1" for number in range(30)), 400),
    ],
)  # fmt: skip
async def test_a_bad_query_is_400_with_the_way_out(world, client, query, status):
    answer = await client.get(f"/events?{query}", headers=world.as_server)
    assert answer.status_code == status
    assert answer.json()["error"]["remedy"]


async def test_the_table_needs_a_server_key_in_the_header(world, client):
    assert (await client.get("/events")).status_code == 401
    assert (await client.get("/events", headers=world.as_app)).status_code == 403
    assert (await client.get(f"/events?key={world.server_key}")).status_code == 401


async def test_health_needs_no_key_and_no_log(world, client):
    world.log.available = False
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


async def test_health_may_be_asked_without_a_body(world, client):
    for path in ("/health", "/ready"):
        answer = await client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
    world.log.available = False
    assert (await client.head("/ready")).status_code == 503


async def test_ready_says_whether_the_log_can_be_read(world, client):
    assert (await client.get("/ready")).status_code == 200
    world.log.available = False
    answer = await client.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "log_unavailable"


class HangingLog:
    """It does not answer, and waits for its server when it is told to stop."""

    def __init__(self):
        self.over = asyncio.Event()

    async def head(self):
        try:
            await asyncio.sleep(3600)
        finally:
            await self.over.wait()


async def test_a_log_that_does_not_answer_is_not_ready(world, monkeypatch):
    monkeypatch.setattr("tillport.adapters.litestar.health.READY_SECONDS", 0.05)
    log = HangingLog()
    async with world.client(attrs.evolve(world.till, log=log)) as client, asyncio.timeout(60):
        assert (await client.get("/ready")).status_code == 503
        log.over.set()
