"""The auditor: judges the town by the promises alone, from what can be seen from outside.

It knows Stripe's books, what every client was answered, the rows of the log, the courier's messages and what each
subscriber heard. It knows nothing of how the service works.
"""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from town.town import Town

TAKEN = 200


class BrokenPromise(AssertionError):
    """A promise of the design was broken: which, and how it showed."""


def promise(number: int, holds: object, story: str) -> None:
    if not holds:
        raise BrokenPromise(f"promise {number}: {story}")


def _leaves_open(answer: Any) -> bool:
    """Tell whether an answer says nothing of what became of the charge, other than that Stripe waits for a person.

    For that Stripe gives longer than the town is calm.
    """
    if answer.status < 500:
        return b"charge_in_progress" in answer.body
    return b"once a person approves it" not in answer.body


class Auditor:
    """Judge a town that has calmed down."""

    def __init__(self, town: "Town") -> None:
        self.town = town
        self.charges = self._all(town.simulator.charges)
        self.events = {event.id: event for event in self._all(town.simulator.events)}
        page = town.run(town.log.read(after=0, limit=100_000))
        self.rows = page.events

    def judge(self) -> None:
        """Raise `BrokenPromise` for the first promise that does not hold."""
        self.charged_once()
        self.verified()
        self.recorded_once()
        self.nothing_unsaid()
        self.subscribers_heard_theirs()

    def charged_once(self) -> None:
        by_order: dict[str, list[Any]] = {}
        for charge in self.charges:
            by_order.setdefault(charge.metadata["order"], []).append(charge)
        for order in self.town.orders:
            made = by_order.get(str(order.number), [])
            succeeded = [charge for charge in made if charge.status == "succeeded"]
            promise(1, len(succeeded) <= 1, f"order {order.number} was charged {len(succeeded)} times")
            for charge in succeeded:
                promise(
                    1, charge.amount == order.amount_minor, f"order {order.number} was charged another amount"
                )
            told = {json.loads(answer.body)["id"] for answer in order.answers if answer.status == TAKEN}
            promise(1, len(told) <= 1, f"order {order.number} was told of different payments: {told}")
            real = {charge.id for charge in succeeded} | {
                intent.id
                for intent in self._all(self.town.simulator.payment_intents)
                if intent.metadata["order"] == str(order.number)
            }
            promise(
                1, told <= real, f"order {order.number} was told of a payment that is not its own: {told}"
            )
            declined = any(answer.status == 402 for answer in order.answers)
            promise(
                1, not (declined and succeeded), f"order {order.number} was told of a decline, and charged"
            )
            # Ask once more, now that all is calm: whoever was charged is told so.
            self.town.ask(order)
            last = order.answers[-1]
            promise(
                1, not _leaves_open(last), f"order {order.number} was never told what became of it: {last}"
            )
            if succeeded:
                promise(1, last.status == TAKEN, f"order {order.number} was charged and forgotten: {last}")
                promise(
                    1,
                    json.loads(last.body)["id"] == succeeded[0].id,
                    f"order {order.number} got another charge",
                )
        again = Counter(
            charge.metadata["order"]
            for charge in self._all(self.town.simulator.charges)
            if charge.status == "succeeded"
        )
        for number, times in again.items():
            promise(1, times <= 1, f"order {number} was charged again when it asked once more")

    def verified(self) -> None:
        for row in self.rows:
            event = self.events.get(row.event.id)
            promise(2, event is not None, f"{row.event.id} was recorded, and Stripe never made it")
            theirs, ours = json.loads(msgspec.json.encode(event)), json.loads(row.event.body)
            for moving in (theirs, ours):
                moving.pop("pending_webhooks")  # counts down as endpoints acknowledge
            promise(2, theirs == ours, f"{row.event.id} was recorded with another content")

    def recorded_once(self) -> None:
        count = Counter(row.event.id for row in self.rows)
        for event_id, rows in count.items():
            promise(4, rows == 1, f"{event_id} stands in the log {rows} times")
        for body in self.town.acknowledged:
            promise(
                3,
                count[json.loads(body)["id"]],
                f"{json.loads(body)['id']} was acknowledged and is not in the log",
            )
        for event_id in self.events:
            promise(3, count[event_id], f"{event_id} never reached the log, although Stripe tried for days")

    def nothing_unsaid(self) -> None:
        said = [message.id for message in self.town.courier.messages]
        for row in self.rows:
            promise(6, row.event.id in said, f"{row.event.id} was recorded and never published")
        place = {row.event.id: row.position for row in self.rows}
        latest: dict[str, int] = {}
        first_time = dict.fromkeys(said)
        for message_id in first_time:
            promise(6, message_id in place, f"{message_id} was published and never recorded")
            key = next(row.event.payment_key for row in self.rows if row.event.id == message_id)
            promise(6, place[message_id] > latest.get(key, 0), f"{message_id} was published out of order")
            latest[key] = place[message_id]

    def subscribers_heard_theirs(self) -> None:
        for subscriber in self.town.subscribers:
            heard = [item.event.id for item in subscriber.heard]
            due = [
                row.event.id
                for row in self.rows
                if subscriber.transaction_id in json.dumps(json.loads(row.event.body))
            ]
            foreign = set(heard) - set(due)
            promise(
                8, not foreign, f"the subscriber of {subscriber.transaction_id} heard of others: {foreign}"
            )
            promise(
                7, heard == due, f"the subscriber of {subscriber.transaction_id} heard {heard}, not {due}"
            )

    def _all(self, operations: Any) -> list[Any]:
        found: list[Any] = []
        page = operations.list(limit=100)
        while True:
            found += page.data
            if not page.has_more:
                return found
            page = operations.list(limit=100, starting_after=found[-1].id)
