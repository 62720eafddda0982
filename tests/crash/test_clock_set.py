"""A clock that is set forth and back under load, by seconds and by an hour, while Stripe's goes right.

A real process, a real SQLite file, the simulator on a real port. Beyond five minutes no webhook is believed, and Stripe sends it
again; nothing is lost, nothing is charged twice, and all is settled once the clock goes right.
"""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from wreck.alone import Wreck
from wreck.checker import problems, read_sqlite
from wreck.shoppers import Shopper

AHEAD_SECONDS = (30, -30, 250, -250, 3600, 0, -3600)


@pytest.fixture
def wreck(tmp_path: Path) -> Any:
    wreck = Wreck(tmp_path, seed=12)
    wreck.open()
    yield wreck
    wreck.close()


@pytest.mark.timeout(400)
def test_a_clock_that_is_set_again_and_again_loses_and_doubles_nothing(wreck: Wreck) -> None:
    def set_the_clock(_people: Sequence[Shopper]) -> None:
        for _ in range(2):
            for ahead_seconds in wreck.random.sample(AHEAD_SECONDS, len(AHEAD_SECONDS)):
                wreck.service.set_clock(ahead_seconds)
                heard = wreck.answers.total()
                time.sleep(wreck.random.uniform(0.2, 0.6))
                while wreck.answers.total() == heard:
                    time.sleep(0.05)  # until it has met at least one webhook
        wreck.service.set_clock(0)

    purchases = wreck.shop_while(set_the_clock, shoppers=4)
    books = read_sqlite(wreck.database)
    assert wreck.answers[400], "an hour that nobody noticed proves nothing"
    with closing(sqlite3.connect(wreck.database)) as file:
        first, last = file.execute('SELECT min(received_at), max(received_at) FROM "StripeEvents"').fetchone()
    assert last - first > 400, "nor do minutes"
    assert wreck.acknowledged
    assert problems(wreck.simulator, wreck.acknowledged, purchases, books) == []
