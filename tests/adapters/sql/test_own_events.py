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


def test_what_follows_goes_on_to_the_newest(own) -> None:
    note(own, 3, 4)
    note(own, 5)
    assert numbers(own.following(2, limit=10)) == [3, 4, 5]
    assert numbers(own.following(3, limit=1)) == [4]
    assert numbers(own.following(5, limit=10)) == []
    assert numbers(own.following(1, limit=10)) == [], "what stands at 2 is not here"


@pytest.mark.parametrize("following", [(4, 5), (1,)], ids=["a gap", "noted late"])
def test_what_does_not_follow_on_what_is_here_takes_its_place(own, following) -> None:
    """Somebody else's event may stand in a gap, and two commits under way at once may be noted the other way round."""
    note(own, 2)
    note(own, *following)
    assert numbers(own.following(1, limit=10)) == []
    assert numbers(own.following(following[0] - 1, limit=10)) == list(following)


def test_a_commit_of_nothing_new_changes_nothing(own) -> None:
    note(own, 1)
    own.note([event(1)], {})
    assert numbers(own.following(0, limit=10)) == [1]


def test_what_is_old_is_not_here_any_more(own, watch) -> None:
    note(own, 1)
    watch.seconds += SECONDS_MAX / 2
    note(own, 2)
    watch.seconds += SECONDS_MAX / 2 + 0.1
    assert numbers(own.following(0, limit=10)) == []
    assert numbers(own.following(1, limit=10)) == [2]
    watch.seconds -= 50  # a clock that went back makes nothing younger
    assert numbers(own.following(1, limit=10)) == []


def test_memory_is_bounded_in_number_and_in_bytes(own) -> None:
    for number in range(1, EVENTS_MAX + 3):
        note(own, number)
    assert numbers(own.following(1, limit=10)) == []
    assert len(own.following(2, limit=EVENTS_MAX + 10)) == EVENTS_MAX
    large = event(1, body=b'{"id": "evt_1", "filler": "%s"}' % (b"x" * (BYTES_MAX // 4)))
    for number in range(EVENTS_MAX + 3, EVENTS_MAX + 8):
        own.note([large], {large.id: number})
    assert numbers(own.following(EVENTS_MAX + 3, limit=10)) == []
    assert numbers(own.following(EVENTS_MAX + 4, limit=10)) == [
        EVENTS_MAX + 5,
        EVENTS_MAX + 6,
        EVENTS_MAX + 7,
    ]


def test_of_events_with_one_id_the_first_is_noted(own) -> None:
    own.note([event(1), event(1, body=b'{"id": "another"}'), event(2)], {event(1).id: 7, event(2).id: 8})
    assert [recorded.event for recorded in own.following(6, limit=9)] == [event(1), event(2)]


def test_nothing_is_left_when_a_body_was_replaced(own) -> None:
    note(own, 1, 2)
    own.clear()
    assert numbers(own.following(0, limit=9)) == []
    note(own, 3)
    assert numbers(own.following(2, limit=9)) == [3]


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
        with closing(store._file.connect(for_writing=True)) as connection:
            connection.execute('UPDATE "StripeEvents" SET body = \'{"changed": true}\'')
        assert [one.event for one in (await log.read(after=0)).events] == [event(1), event(2)]
        assert await log.replace_body(event(1).id, b'{"erased": 1}', now=1.0)
        assert [one.event.body for one in (await log.read(after=0)).events] == [
            b'{"erased": 1}',
            b'{"changed": true}',
        ]
    finally:
        await store.aclose()
