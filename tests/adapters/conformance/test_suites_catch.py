"""Negative controls: adapters that are wrong in one way each, and the law that says so."""

import asyncio
import unicodedata
from contextlib import asynccontextmanager

import attrs
import pytest

from tillport.adapters.conformance import cursors as cursor_suite
from tillport.adapters.conformance import doorbell as doorbell_suite
from tillport.adapters.conformance import event_log as log_suite
from tillport.adapters.conformance import ledger as ledger_suite
from tillport.adapters.conformance.event_log_histories import check_event_log_histories
from tillport.adapters.conformance.ledger_histories import check_ledger_histories
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.cursors import MemoryCursors
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.memory.ledger import MemoryLedger
from tillport.ports.event_log import EventRefused, LogUnavailable
from tillport.ports.ledger import Opened
from tillport.ports.selector import matches


@attrs.define
class Bench:
    adapter: object

    @asynccontextmanager
    async def open(self):
        yield self.adapter

    @asynccontextmanager
    async def outage(self):
        self.adapter.available = False
        yield
        self.adapter.available = True


class LastBodyWins(MemoryEventLog):
    async def record(self, events):
        new = await super().record(events)
        for one in events:
            await self.replace_body(one.id, one.body, now=0)
        return new


class KeepsTheGoodRows(MemoryEventLog):
    async def record(self, events):
        new = []
        for one in events:
            new += await super().record([one])
        return new


class RefusesNothing(MemoryEventLog):
    async def record(self, events):
        return [self._add(one) for one in events]


class LosesOneInTen(MemoryEventLog):
    async def read(self, *, after, where=None, limit=100):
        page = await super().read(after=after, where=where, limit=limit)
        return attrs.evolve(page, events=tuple(one for one in page.events if one.position % 10 != 5))


class SkipsAfterAFullPage(MemoryEventLog):
    async def read(self, *, after, where=None, limit=100):
        page = await super().read(after=after, where=where, limit=limit)
        return attrs.evolve(page, position=max(after, await self.head()))


class IgnoresSelectors(MemoryEventLog):
    async def read(self, *, after, where=None, limit=100):
        return await super().read(after=after, limit=limit)


class ForgetsIds(MemoryEventLog):
    async def forget(self, **age):
        before = {one.event.id for one in self._events}
        gone = await super().forget(**age)
        self._known -= before - {one.event.id for one in self._events}
        return gone


class NeverSaysReset(MemoryEventLog):
    async def read(self, *, after, where=None, limit=100):
        return attrs.evolve(await super().read(after=after, where=where, limit=limit), reset=False)


class ForgetsWhatIsNeeded(MemoryEventLog):
    async def forget(self, *, received_before, up_to, now):
        return await super().forget(received_before=received_before, up_to=up_to + 10**6, now=now)


def without_accents(name: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFD", name) if not unicodedata.combining(one))


class IgnoresCase(MemoryEventLog):
    """Keeps ids as MySQL does by default, or SQLite with `NOCASE`: some are the same as others."""

    fold = staticmethod(str.casefold)

    def _add(self, event):
        if self.fold(event.id) in {self.fold(known) for known in self._known}:
            return False
        return super()._add(event)


class CutsIds(IgnoresCase):
    fold = staticmethod(lambda name: name[:32])


class CutsLongIds(IgnoresCase):
    fold = staticmethod(lambda name: name[:254])


class IgnoresSpacesAtTheEnd(IgnoresCase):
    fold = staticmethod(str.rstrip)


class IgnoresAccents(IgnoresCase):
    fold = staticmethod(without_accents)


class SelectsByAnyCase(MemoryEventLog):
    fold = staticmethod(str.casefold)

    async def read(self, *, after, where=None, limit=100):
        page = await super().read(after=after)
        wanted = attrs.evolve(where, value=self.fold(where.value))
        found = tuple(one for one in page.events if self._selected(wanted, one.event))
        return attrs.evolve(page, events=found)

    def _selected(self, wanted, event):
        fields = {
            name: self.fold(value) if isinstance(value, str) else value
            for name, value in event.fields().items()
        }
        return matches(wanted, fields, [self.fold(alias) for alias in event.aliases])


class SelectsAliasesByAnyCase(SelectsByAnyCase):
    def _selected(self, wanted, event):
        return matches(wanted, event.fields(), [alias.casefold() for alias in event.aliases])

    async def read(self, *, after, where=None, limit=100):
        if where.field != "id":
            return await MemoryEventLog.read(self, after=after, where=where, limit=limit)
        return await super().read(after=after, where=where, limit=limit)


class SelectsWithoutSpaces(SelectsByAnyCase):
    fold = staticmethod(str.rstrip)


class RemembersTheForgottenByAnyCase(MemoryEventLog):
    forgotten = frozenset()

    async def forget(self, **age):
        before = {one.event.id for one in self._events}
        gone = await super().forget(**age)
        self.forgotten = {id_.casefold() for id_ in before - {one.event.id for one in self._events}}
        return gone

    def _add(self, event):
        return event.id.casefold() not in self.forgotten and super()._add(event)


class RecordsDespiteTheOutage(MemoryEventLog):
    async def record(self, events):
        if not self.available:
            for one in events:
                self._add(one)
            raise LogUnavailable("too late")
        return await super().record(events)


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (LastBodyWins, log_suite.a_repeated_id_is_not_new_and_the_first_body_stays),
        (KeepsTheGoodRows, log_suite.an_event_that_no_store_can_hold_is_refused_with_its_whole_call),
        (RefusesNothing, log_suite.an_event_that_no_store_can_hold_is_refused_with_its_whole_call),
        (LosesOneInTen, log_suite.what_was_recorded_is_read_in_its_order),
        (SkipsAfterAFullPage, log_suite.what_was_recorded_is_read_in_its_order),
        (IgnoresSelectors, log_suite.a_selector_finds_what_it_describes),
        (IgnoresCase, log_suite.events_with_nearly_the_same_id_are_different),
        (CutsIds, log_suite.events_with_nearly_the_same_id_are_different),
        (CutsLongIds, log_suite.events_with_nearly_the_same_id_are_different),
        (IgnoresSpacesAtTheEnd, log_suite.events_with_nearly_the_same_id_are_different),
        (IgnoresAccents, log_suite.events_with_nearly_the_same_id_are_different),
        (SelectsByAnyCase, log_suite.a_selector_takes_nothing_for_what_it_is_nearly),
        (SelectsAliasesByAnyCase, log_suite.a_selector_takes_nothing_for_what_it_is_nearly),
        (SelectsWithoutSpaces, log_suite.a_selector_takes_nothing_for_what_it_is_nearly),
        (RemembersTheForgottenByAnyCase, log_suite.forgetting_an_event_forgets_no_other_that_is_nearly_it),
        (ForgetsIds, log_suite.a_forgotten_event_is_never_recorded_again),
        (NeverSaysReset, log_suite.a_reader_behind_the_horizon_is_told),
        (ForgetsWhatIsNeeded, log_suite.retention_keeps_what_consumers_need_and_what_is_young),
        (RecordsDespiteTheOutage, log_suite.an_outage_is_told_and_records_nothing),
    ],
)
async def test_a_broken_log_breaks_its_law(broken, law) -> None:
    with pytest.raises((AssertionError, TimeoutError, EventRefused)):
        await law(Bench(broken()))


@pytest.mark.parametrize("broken", [LastBodyWins, SkipsAfterAFullPage, IgnoresSelectors])
def test_a_broken_log_is_found_by_histories(broken) -> None:
    @asynccontextmanager
    async def new_bench():
        yield Bench(broken())

    with pytest.raises(AssertionError):
        check_event_log_histories(new_bench, examples=200, shrink=False)


class OpensTwice(MemoryLedger):
    async def open(self, attempt):
        if attempt.key in self._attempts:
            await asyncio.sleep(0)
            return Opened(self._attempts[attempt.key], new=True)
        return await super().open(attempt)


class TakesOverTheBusy(MemoryLedger):
    async def take_over(self, key, *, seen_tries, now, busy_until):
        return await super().take_over(key, seen_tries=seen_tries, now=now + 10**6, busy_until=busy_until)


class ForgetsTheUnknown(MemoryLedger):
    """The worst of all: a charge that may have happened is taken for one that did not."""

    async def settle(self, key, outcome, *, tries):
        await super().settle(key, outcome, tries=tries)
        self._attempts[key] = attrs.evolve(self._attempts[key], outcome=outcome, busy_until=0.0)
        return self._attempts[key]


class SettlesInTwoSteps(MemoryLedger):
    """Reads, and writes later what it made of that: a success is overwritten."""

    async def settle(self, key, outcome, *, tries):
        before = self._attempts[key]
        after = await super().settle(key, outcome, tries=tries)
        self._attempts[key] = before
        await asyncio.sleep(0)
        self._attempts[key] = after
        return after


class TakesOverInTwoSteps(MemoryLedger):
    async def take_over(self, key, **seen):
        before = self._attempts[key]
        taken = await super().take_over(key, **seen)
        self._attempts[key] = before
        await asyncio.sleep(0)
        if taken is not None:
            self._attempts[key] = taken
        return taken


class IgnoresTheCaseOfKeys(MemoryLedger):
    fold = staticmethod(str.casefold)

    async def open(self, attempt):
        alike = [one for key, one in self._attempts.items() if self.fold(key) == self.fold(attempt.key)]
        return Opened(alike[0], new=False) if alike else await super().open(attempt)


class CutsKeys(IgnoresTheCaseOfKeys):
    fold = staticmethod(lambda key: key[:64])


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (SettlesInTwoSteps, ledger_suite.an_outcome_stands_against_a_doubt_of_the_same_moment),
        (SettlesInTwoSteps, ledger_suite.an_outcome_stands_against_a_doubt_in_another_ledger),
        (SettlesInTwoSteps, ledger_suite.of_concurrent_outcomes_the_first_stays),
        (TakesOverInTwoSteps, ledger_suite.an_outcome_stands_against_a_takeover_of_the_same_moment),
        (IgnoresTheCaseOfKeys, ledger_suite.keys_that_are_nearly_the_same_are_different),
        (CutsKeys, ledger_suite.keys_that_are_nearly_the_same_are_different),
        (OpensTwice, ledger_suite.of_concurrent_openings_one_is_new),
        (TakesOverTheBusy, ledger_suite.nothing_else_is_taken_over),
        (ForgetsTheUnknown, ledger_suite.what_follows_what_is_as_the_port_draws_it),
    ],
)
async def test_a_broken_ledger_breaks_its_law(broken, law) -> None:
    with pytest.raises(AssertionError):
        await law(Bench(broken()))


@pytest.mark.parametrize("broken", [OpensTwice, TakesOverTheBusy, ForgetsTheUnknown])
def test_a_broken_ledger_is_found_by_histories(broken) -> None:
    @asynccontextmanager
    async def new_bench():
        yield Bench(broken())

    with pytest.raises(AssertionError):
        check_ledger_histories(new_bench, examples=200, shrink=False)


class LetsAnyoneAdvance(MemoryCursors):
    async def advance(self, name, *, owner, position):
        cursor = self._cursors[name]
        cursor.position = max(cursor.position, position)


class GoesBack(MemoryCursors):
    async def advance(self, name, *, owner, position):
        await super().advance(name, owner=owner, position=0)
        self._cursors[name].position = position


class LeasesToEveryone(MemoryCursors):
    async def claim(self, name, *, owner, now, until):
        return await super().claim(name, owner=owner, now=now + 10**6, until=until)


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (LetsAnyoneAdvance, cursor_suite.who_was_replaced_moves_nothing),
        (GoesBack, cursor_suite.a_position_moves_forward_only),
        (LeasesToEveryone, cursor_suite.one_owner_at_a_time),
    ],
)
async def test_broken_cursors_break_their_law(broken, law) -> None:
    with pytest.raises((AssertionError, KeyError)):
        await law(Bench(broken()))


class Deaf(LocalDoorbell):
    def ring(self) -> None:
        pass


async def test_a_deaf_bell_breaks_its_law() -> None:
    clock = ManualClock()
    broken = asyncio.ensure_future(doorbell_suite.a_ring_is_counted(Deaf(clock)))
    await asyncio.sleep(0.01)
    clock.advance(doorbell_suite.PATIENCE_SECONDS)
    with pytest.raises(AssertionError):
        await broken


def test_every_law_belongs_to_some_capability() -> None:
    everything = [
        *log_suite.event_log_laws(log_suite.EventLogCapabilities(housekeeping=True, outages=True)),
        *ledger_suite.ledger_laws(ledger_suite.LedgerCapabilities(housekeeping=True, outages=True)),
        *cursor_suite.cursors_laws(cursor_suite.CursorsCapabilities(outages=True)),
        *doorbell_suite.doorbell_laws(any_thread=True),
    ]
    named = {
        (one.__module__, name)
        for module in (log_suite, ledger_suite, cursor_suite, doorbell_suite)
        for name, one in vars(module).items()
        if asyncio.iscoroutinefunction(one)
        and not name.startswith("_")
        and one.__module__.startswith(module.__name__)  # `event_log_keeping` belongs to `event_log`
        and name not in ("visible", "everything", "forget", "recorded")
    }
    assert {(law.__module__, law.__name__) for law in everything} == named
