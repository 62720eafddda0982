"""What a process recorded is handed to its own readers without a look at the database, and nothing else is."""

from contextlib import closing

import pytest

from tillport.adapters.conformance.samples import event
from tillport.adapters.sql.own_events import BYTES_MAX, EVENTS_MAX, SECONDS_MAX, OwnEvents
from tillport.adapters.sql.sqlite import SqliteEventLog
from tillport.adapters.sql.sqlite_store import SqliteStore


class Watch:
    seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def own(watch):
    return OwnEvents(now=watch)


def note(own, *numbers):
    """Note `evt_<number>` under that number, as a commit of all of them would."""
    own.note([event(number) for number in numbers], {event(number).id: number for number in numbers})


def numbers(found):
    return [recorded.position for recorded in found]


def test_what_follows_ends_where_something_is_missing(own) -> None:
    note(own, 1, 2, 4)
    assert numbers(own.following(0, limit=10)) == [1, 2]
    assert numbers(own.following(0, limit=1)) == [1]
    assert numbers(own.following(2, limit=10)) == []
    assert numbers(own.following(3, limit=10)) == [4]


def test_what_is_old_is_not_here_any_more(own, watch) -> None:
    note(own, 1)
    watch.seconds += SECONDS_MAX + 0.1
    assert own.get(1) is None
    note(own, 2)
    assert own.get(2) == event(2)
    watch.seconds -= 50  # a clock that went back makes nothing younger
    assert own.get(2) is None


def test_memory_is_bounded_in_number_and_in_bytes(own) -> None:
    note(own, *range(1, EVENTS_MAX + 3))
    assert own.get(2) is None
    assert own.get(3) is not None
    large = event(1, body=b'{"id": "evt_1", "filler": "%s"}' % (b"x" * (BYTES_MAX // 4)))
    for number in range(10_000, 10_005):
        own.note([large], {large.id: number})
    assert [number for number in range(10_000, 10_005) if own.get(number)] == [10_002, 10_003, 10_004]


def test_of_events_with_one_id_the_first_is_noted(own) -> None:
    own.note([event(1), event(1, body=b'{"id": "another"}'), event(2)], {event(1).id: 7})
    assert numbers(own.following(0, limit=9)) == []
    assert own.get(7) == event(1)


def test_a_replaced_body_is_forgotten(own) -> None:
    note(own, 1, 2)
    own.forget(event(1).id)
    assert (own.get(1), own.get(2)) == (None, event(2))


def test_what_was_forgotten_by_its_id_takes_no_room(own, watch) -> None:
    note(own, 1, 2)
    own.forget(event(1).id)
    watch.seconds += SECONDS_MAX + 0.1
    note(own, 3)
    assert numbers(own.following(2, limit=9)) == [3]
    assert own._bytes == len(event(3).body)


async def test_a_log_with_own_events_reads_what_others_wrote_before_between_and_after(tmp_path) -> None:
    mine, others = SqliteStore(tmp_path / "till.sqlite3"), SqliteStore(tmp_path / "till.sqlite3")
    try:
        log, other = SqliteEventLog(mine, own=OwnEvents()), SqliteEventLog(others)
        for number, writer in enumerate([other, log, log, other, log, other], 1):
            assert await writer.record([event(number)]) == [True]
        assert await log.record([event(5), event(7), event(7), event(6)]) == [False, True, False, False]
        for after in range(8):
            for limit in range(9):
                assert await log.read(after=after, limit=limit) == await other.read(after=after, limit=limit)
    finally:
        await mine.aclose()
        await others.aclose()


async def test_own_events_are_not_read_again(tmp_path) -> None:
    store = SqliteStore(tmp_path / "till.sqlite3")
    try:
        log = SqliteEventLog(store, own=OwnEvents())
        await log.record([event(1), event(2)])
        with closing(store._connect(for_writing=True)) as connection:
            connection.execute('UPDATE "StripeEvents" SET body = \'{"changed": true}\'')
        assert [one.event for one in (await log.read(after=0)).events] == [event(1), event(2)]
        assert await log.replace_body(event(1).id, b'{"erased": 1}', now=1.0)
        assert [one.event.body for one in (await log.read(after=0)).events] == [
            b'{"erased": 1}',
            b'{"changed": true}',
        ]
    finally:
        await store.aclose()
