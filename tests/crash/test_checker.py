"""The checker itself, on histories that are written down here: one in which all went well, and the same with one wrong."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
from wreck.checker import Books, all_of, problems
from wreck.shoppers import Purchase

from tillport.simulator import Simulator
from tillport.simulator.errors import ApiError


@attrs.define
class History:
    """What a wreck leaves behind."""

    simulator: Simulator
    acknowledged: list[str]
    purchases: list[Purchase]
    rows: list[tuple[int, str, str]]
    attempts: Counter[str]
    told: list[tuple[str, str]]

    def problems(self) -> Sequence[str]:
        last = max((position for position, _, _ in self.rows), default=0)
        books = Books(rows=self.rows, attempts=self.attempts, relayed=last)
        return problems(self.simulator, self.acknowledged, self.purchases, books, self.told)

    def pay(self, number: str, card: str) -> Any:
        return self.simulator.payment_intents.create(
            amount=500, currency="usd", payment_method=card, confirm=True, metadata={"purchase": number}
        )

    def fail(self, number: str) -> None:
        with pytest.raises(ApiError, match="declined"):
            self.pay(number, "pm_card_chargeDeclined")

    def swap(self, order: list[Any]) -> None:
        """Change places of the first and the last event of a payment."""
        first, *_, last = (place for place, row in enumerate(self.rows) if row[2] == self.rows[0][2])
        order[first], order[last] = order[last], order[first]


@pytest.fixture
def history() -> History:
    simulator = Simulator(seed=1)
    history = History(simulator, [], [], [], Counter(succeeded=2), [])
    for number in ("one", "two"):
        paid = history.pay(number, "pm_card_visa")
        purchase = Purchase(number, 500, answers=[(503, {}), (200, {"id": paid.latest_charge})], asked=2)
        history.purchases.append(purchase)
    for position, event in enumerate(reversed(all_of(simulator.events)), 1):
        about = event.data.object
        history.rows.append((position, event.id, getattr(about, "payment_intent", None) or about.id))
    history.acknowledged = [event_id for _, event_id, _ in history.rows]
    history.told = [(event_id, key) for _, event_id, key in history.rows]
    return history


def test_a_history_in_which_all_went_well_has_no_problem(history: History) -> None:
    assert history.problems() == []
    history.told += history.told  # heard twice, in order both times
    assert history.problems() == []


def own_keys(history: History) -> None:
    history.told = [(event_id, event_id) for event_id, _ in history.told]


WRONG: dict[str, tuple[Callable[[History], object], str]] = {
    "published and not recorded": (
        lambda h: h.told.append(("evt_of_nobody", h.rows[-1][2])),
        "evt_of_nobody was published and never recorded",
    ),
    "not published": (lambda h: h.told.pop(), "was recorded and never published"),
    "published out of order": (lambda h: h.swap(h.told), "was published out of order"),
    "published under keys that have no order": (own_keys, "was published under evt_"),
    "a position given twice": (
        lambda h: h.rows.append((1, *h.rows.pop()[1:])),
        "position 1 was given 2 times",
    ),
    "no position": (lambda h: h.rows.append((0, *h.rows.pop()[1:])), "1 events of the log have no position"),
    "an attempt forgotten": (lambda h: h.attempts.subtract(["succeeded"]), "the ledger knows 1"),
    "no attempt at all": (lambda h: h.attempts.clear(), "the ledger knows 0"),
    "an attempt never settled": (lambda h: h.attempts.update(succeeded=-1, unknown=1), "attempts were forgotten"),
    "tried under another key": (
        lambda h: h.fail("one"),
        "one was tried under several keys",
    ),
    "charged twice": (lambda h: h.pay("one", "pm_card_visa"), "one was charged 2 times"),
    "charged unasked": (lambda h: h.pay("three", "pm_card_visa"), "three was charged, and nobody asked for it"),
    "never told": (lambda h: h.purchases[0].answers.pop(), "one was never told"),
    "told of a decline": (lambda h: h.purchases[0].answers.append((402, {})), "told of a decline"),
    "told of another's": (
        lambda h: h.purchases[0].answers.append(h.purchases[1].answers[-1]),
        "one was told of ch_",
    ),
    "acknowledged and lost": (lambda h: h.rows.pop(), "was acknowledged and is not in the log"),
    "lost": (lambda h: (h.rows.pop(), h.acknowledged.clear()), "never reached the log"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "said"), WRONG.values(), ids=WRONG)
def test_what_went_wrong_is_said(history: History, spoil: Callable[[History], object], said: str) -> None:
    spoil(history)
    assert any(said in problem for problem in history.problems()), history.problems()
