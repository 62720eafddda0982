"""The status says what waits, how old it is, and nothing else."""

import attrs

from tillport.adapters.conformance.samples import NOON, attempt, event
from tillport.adapters.memory.attempts import MemoryAttempts
from tillport.adapters.memory.cursors import MemoryCursors
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.memory.ledger import MemoryLedger
from tillport.adapters.runtime.relay import RelayWork
from tillport.domain.forget import RETENTION
from tillport.domain.status import RELAY, Status, take_status
from tillport.ports.effects import Standing
from tillport.ports.ledger import AttemptState, Outcome


@attrs.define
class Place:
    log: MemoryEventLog = attrs.field(factory=MemoryEventLog)
    cursors: MemoryCursors = attrs.field(factory=MemoryCursors)
    ledger: MemoryLedger = attrs.field(factory=MemoryLedger)

    async def status(self, now: float = NOON, **options) -> Status:
        return await take_status(self.log, self.cursors, MemoryAttempts(self.ledger), now=now, **options)

    async def reach(self, name: str, position: int) -> None:
        await self.cursors.claim(name, owner="me", now=NOON, until=NOON + 1)
        await self.cursors.advance(name, owner="me", position=position)


async def test_a_till_that_was_never_used_waits_for_nothing() -> None:
    status = await Place().status()
    assert (status.head, status.relay_position, status.unpublished) == (0, None, 0)
    assert (status.oldest_unpublished_seconds, status.oldest_unknown_seconds) == (None, None)
    assert (status.unknown_charges, status.dead_letters, dict(status.consumers)) == (0, 0, {})


async def test_what_waits_to_be_published_is_counted_from_the_oldest() -> None:
    place = Place()
    await place.log.record([event(number, received_at=NOON + number) for number in range(1, 6)])
    status = await place.status(NOON + 61)
    assert (status.relay_position, status.unpublished, status.oldest_unpublished_seconds) == (None, 5, 60.0)
    await place.reach(RELAY, 3)
    status = await place.status(NOON + 61)
    assert (status.relay_position, status.unpublished, status.oldest_unpublished_seconds) == (3, 2, 57.0)
    await place.reach(RELAY, 5)
    status = await place.status(NOON + 61)
    assert (status.unpublished, status.oldest_unpublished_seconds) == (0, None)


async def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    place = Place()
    await place.log.record([event(1, received_at=NOON + 50)])
    assert (await place.status(NOON)).oldest_unpublished_seconds == 0.0


async def test_unknown_charges_are_counted_with_the_age_of_the_oldest() -> None:
    place = Place()
    for number, state in enumerate([AttemptState.UNKNOWN, AttemptState.SUCCEEDED, AttemptState.UNKNOWN]):
        await place.ledger.open(attempt(number, outcome=Outcome(state=state), started_at=NOON + number))
    status = await place.status(NOON + 10)
    assert (status.unknown_charges, status.oldest_unknown_seconds) == (2, 10.0)


async def test_consumers_stand_beside_the_relay_and_handlers_bring_their_dead() -> None:
    place = Place()
    await place.reach(RELAY, 0)
    await place.reach("books", 7)
    await place.reach(RETENTION, 0)  # who forgets holds a lease, and reads nothing

    class Queue:
        async def standings(self):
            return [Standing(handler="ship", position=5, due=2, dead=3), Standing(handler="mail", position=5)]

    status = await place.status(effects=Queue())
    assert dict(status.consumers) == {"books": 7}
    assert status.dead_letters == 3


def test_the_relay_moves_the_cursor_that_the_status_reads() -> None:
    assert attrs.fields(RelayWork).name.default == RELAY
