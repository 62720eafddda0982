"""kill -9 of the service, or of the process that writes for it, around the call to Stripe and in a stream of webhooks.

Real processes, a real SQLite file, the simulator on a real port. Nothing acknowledged is lost, nothing is charged twice,
whatever is recorded is told. What this does not prove: a power cut, or a disk that lies about fsync.
"""

import time
from pathlib import Path
from typing import Any

import pytest
from wreck.alone import Wreck
from wreck.checker import Books, problems, read_sqlite, story
from wreck.shoppers import CARDS, Purchase, Shopper

from tillport.simulator import Fault, Faults

# Sockets whose other end was killed in mid-word are closed by the garbage collector, here and in the simulator.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
patient = pytest.mark.timeout(400)
"""On a crowded machine a start takes seconds, and coming to rest a minute."""


@pytest.fixture
def wreck(tmp_path: Path) -> Any:
    wreck = Wreck(tmp_path, seed=11)
    wreck.open()
    yield wreck
    wreck.close()


def judge(wreck: Wreck, purchases: list[Purchase]) -> None:
    books = read_sqlite(wreck.database)
    service = wreck.service
    print(
        story(purchases, books, service.kills + service.writer_kills),
        f"{service.writer_kills} of them writers",
    )
    assert service.kills
    assert any(purchase.asked > 1 for purchase in purchases), "a kill that nobody noticed proves nothing"
    assert wreck.acknowledged
    assert problems(wreck.simulator, wreck.acknowledged, purchases, books) == []


@patient
def test_a_service_killed_again_and_again_loses_and_doubles_nothing(wreck: Wreck) -> None:
    purchases = wreck.shop(6, shoppers=4, pause=(0.1, 0.8), kills=2, writer_kills=1)
    judge(wreck, purchases)


@pytest.mark.campaign(seconds=1800)
def test_a_long_campaign_of_kills(wreck: Wreck, campaign_seconds: float) -> None:
    purchases = wreck.shop(campaign_seconds, shoppers=6, pause=(0.05, 1.0), kills=1)
    judge(wreck, purchases)


@patient
@pytest.mark.parametrize("delay_seconds", [0.0, 0.1, 0.3])
def test_a_charge_whose_service_dies_around_the_call_is_neither_doubled_nor_forgotten(
    wreck: Wreck, delay_seconds: float
) -> None:
    wreck.simulator.set_faults(Faults())
    # Not so slow that the service would give it up (`PATIENCE`), and slow enough to be killed while it waits.
    wreck.simulator.script(Fault(kind="slow", method="POST", path="/v1/payment_intents", seconds=1.2))
    person = Shopper("only", wreck.simulator, lambda: wreck.service.port, seed=5, cards=CARDS[:1])
    person.start()
    person.enough()  # after the first purchase
    while not wreck.simulator.charges.list().data:  # the money has moved, and nobody knows yet
        assert person.is_alive()
        time.sleep(0.01)
    time.sleep(delay_seconds)
    wreck.service.kill()
    wreck.service.start()
    person.join(120)
    wreck.rest()
    judge(wreck, person.purchases)


@patient
def test_the_checker_finds_what_is_wrong(wreck: Wreck) -> None:
    """The negative control: the same books with a row torn out, a charge doubled, an answer changed."""
    wreck.simulator.set_faults(Faults())
    purchases = wreck.shop(0, shoppers=1, pause=(0, 0))
    books = read_sqlite(wreck.database)
    assert problems(wreck.simulator, wreck.acknowledged, purchases, books) == []
    torn = Books(rows=books.rows[1:], attempts=books.attempts, relayed=books.relayed)
    assert any(
        "not in the log" in line for line in problems(wreck.simulator, wreck.acknowledged, purchases, torn)
    )
    doubled = Books(rows=[*books.rows, books.rows[0]], attempts=books.attempts, relayed=books.relayed)
    assert any(
        "2 times" in line for line in problems(wreck.simulator, wreck.acknowledged, purchases, doubled)
    )
    lagging = Books(rows=books.rows, attempts=books.attempts, relayed=0)
    assert any(
        "the relay stands" in line
        for line in problems(wreck.simulator, wreck.acknowledged, purchases, lagging)
    )
    wreck.simulator.payment_intents.create(
        amount=purchases[0].amount_minor, currency="usd", payment_method="pm_card_visa", confirm=True,
        metadata={"purchase": purchases[0].number},
    )  # fmt: skip
    assert any("charged" in line for line in problems(wreck.simulator, wreck.acknowledged, purchases, books))
