"""What a payment may leave behind: nothing that the garbage collector walks, and nothing twice."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from tillport.simulator import ManualClock, RealClock, Simulator
from tillport.simulator.deliverer import Deliverer
from tillport.simulator.render import pretty


def _pay(sim: Simulator, count: int, capture: str = "automatic_async") -> list[Any]:
    paid = [
        sim.payment_intents.create(
            amount=2000 + i,
            currency="USD",
            payment_method="pm_card_visa",
            confirm=True,
            capture_method=capture,
            metadata={"order": str(i)},
            idempotency_key=f"{sim.account.events.count}",
        )
        for i in range(count)
    ]
    sim.advance(5, lambda attempt: 200)
    return paid


def _tracked(sim: Simulator, count: int, capture: str = "automatic_async") -> int:
    """Return how many more objects the collector walks after so many payments."""
    _pay(sim, 20)  # what is made once is made, and the logs of the last deliveries have begun
    gc.collect()
    before = len(gc.get_objects())
    _pay(sim, count, capture)
    gc.collect()
    return len(gc.get_objects()) - before


@pytest.fixture
def sim() -> Simulator:
    sim = Simulator(clock=ManualClock(), seed=3)
    sim.webhook_endpoints.create(url="http://hook.test/", enabled_events=["*"])
    return sim


@pytest.mark.parametrize(
    ("capture", "status"), [("automatic_async", "succeeded"), ("manual", "requires_capture")]
)
def test_the_garbage_collector_walks_nothing_that_a_payment_leaves(
    sim: Simulator, capture: str, status: str
) -> None:
    # A payment that waits for its capture also leaves work for the day on which it expires.
    assert _tracked(sim, 300, capture) < 100
    assert sim.payment_intents.list(limit=1).data[0].status == status


def test_an_account_with_work_for_later_is_forgotten_with_its_simulator() -> None:
    sim = Simulator(clock=ManualClock(), seed=3)
    _pay(sim, 3, "manual")
    gone = weakref.ref(sim.account)
    del sim
    gc.collect()
    assert gone() is None


def test_what_the_collector_does_walk_would_be_noticed(sim: Simulator) -> None:
    class Kept:
        pass

    kept: list[Kept] = []
    sim.account.deliveries.log.clear()
    original = sim.account.emit

    def emit(*args: Any, **named: Any) -> Any:
        kept.append(Kept())
        return original(*args, **named)

    sim.account.emit = emit  # type: ignore[method-assign] # the negative control leaves something on purpose
    assert _tracked(sim, 300) > 300


def test_payments_share_what_they_have_in_common(sim: Simulator) -> None:
    one, other = _pay(sim, 2)
    assert one.currency is other.currency
    assert one.created is other.created
    first, second = sim.charges.list(limit=2).data
    assert first.fraud_details is second.fraud_details


def test_one_scratch_serves_answers_of_any_size(sim: Simulator) -> None:
    _pay(sim, 60)
    large, small = sim.charges.list(limit=50), sim.charges.list(limit=1)
    texts = pretty(small), pretty(large), pretty(small)
    assert texts[0] == texts[2]
    assert len(texts[1]) > 20 * len(texts[0])
    assert texts[0].startswith(b'{\n  "object": "list",\n')
    assert texts[0].endswith(b"}")


async def test_what_falls_due_before_the_timer_rings_is_not_kept_waiting() -> None:
    sim = Simulator(clock=RealClock(), seed=3, settle_seconds=3000.0, retry_seconds=(2000.0,))
    heard: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        heard.append((await reader.readexactly(length)).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    deliverer = Deliverer(sim)
    try:
        sim.webhook_endpoints.create(url=f"http://127.0.0.1:{port}/", enabled_events=["*"])
        for _ in range(2):
            deliverer.start()
            sim.payment_intents.create(
                amount=2000, currency="usd", payment_method="pm_card_visa", confirm=True
            )
            await deliverer.settled()  # and now the timer waits for the settlement
            sim.customers.create(email="a@example.com")
            await deliverer.settled()
            # Moved by hand, the settlement is due at once, whatever the timer says.
            sim.advance(3000.0)
            await deliverer.settled()
            await deliverer.stop()
    finally:
        await deliverer.stop()
        server.close()
    assert [heard[at].count('"type": "charge.updated"') for at in (4, 9)] == [1, 1]
    assert len(heard) == 10
