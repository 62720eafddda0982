"""Negative controls: effect queues that are wrong in one way each, and the law that says so."""

import asyncio
from contextlib import asynccontextmanager

import attrs
import pytest

from tillport.adapters.conformance import effects as effects_suite
from tillport.adapters.conformance.effects import EffectsCapabilities, effects_laws
from tillport.adapters.conformance.effects_histories import check_effects_histories
from tillport.adapters.memory.effects import MemoryEffectQueue
from tillport.ports.effects import EffectState, Performed

LAWS = {law.__name__: law for law in effects_laws(EffectsCapabilities(outages=True, refused_commits=True))}


class MarksAfterwards(MemoryEffectQueue):
    """Runs the handler in a transaction of its own, and notes afterwards that it is done."""

    async def perform(self, effects, run):
        told = []
        for effect in effects:
            await run(self.books, effect)
            told.append(Performed(effect=effect, done=True))
        for effect in effects:
            self._change(effect.handler, effect.event_id, list(EffectState), state=EffectState.DONE)
        return told


class MarksBeforehand(MemoryEffectQueue):
    """Notes that it is done, commits that, and then runs the handler."""

    async def perform(self, effects, run):
        told = await super().perform(effects, _nothing)
        result = []
        for one in told:
            try:
                if one.done:
                    await run(self.books, one.effect)
                result.append(one)
            except Exception as failure:  # noqa: BLE001 - whatever a handler raises
                result.append(Performed(effect=one.effect, failure=failure))
        return result


async def _nothing(_transaction, _effect):
    return None


class OneFailureFailsAll(MemoryEffectQueue):
    async def perform(self, effects, run):
        before = self.books
        told = await super().perform(effects, run)
        if any(one.failure for one in told):
            self.books = before
        return told


class ForgetsTheOrder(MemoryEffectQueue):
    def _waits(self, effect):
        return False


class HoldsUpEverybody(MemoryEffectQueue):
    def _waits(self, effect):
        return any(
            other.position < effect.position and other.state in (EffectState.DUE, EffectState.DEAD)
            for other in self._effects.values()
        )


class ClaimsForEver(MemoryEffectQueue):
    async def claim(self, handler, *, now, until, limit):
        return await super().claim(handler, now=now, until=until + 10**9, limit=limit)


class ClaimsNothing(MemoryEffectQueue):
    async def claim(self, handler, *, now, until, limit):
        return await super().claim(handler, now=now, until=now, limit=limit)


class EnlistsFromAnywhere(MemoryEffectQueue):
    async def enlist(self, handler, effects, *, after, position):
        await super().enlist(handler, effects, after=self._places.get(handler, after), position=position)
        return True


class BeginsAnew(MemoryEffectQueue):
    async def begin(self, handler, *, position):
        self._places[handler] = position
        return position


class RunsWhatIsSkipped(MemoryEffectQueue):
    async def skip(self, handler, event_id):
        return (handler, event_id) in self._effects


class KnowsEventsByTheirPlace(MemoryEffectQueue):
    async def enlist(self, handler, effects, *, after, position):
        for effect in effects:
            known = self._effects.get((handler, effect.event_id))
            if known is not None and known.position != effect.position:
                del self._effects[handler, effect.event_id]
        return await super().enlist(handler, effects, after=after, position=position)


class ForgetsWhatIsDue(MemoryEffectQueue):
    async def forget(self, *, up_to):
        gone = [key for key, one in self._effects.items() if one.position <= up_to]
        for key in gone:
            del self._effects[key]
        return len(gone)


class BuriesTheDone(MemoryEffectQueue):
    async def postpone(self, effect, *, error, due_at):
        self._change(effect.handler, effect.event_id, list(EffectState), state=EffectState.DEAD, error=error)


class ForgetsThatItIsDone(MemoryEffectQueue):
    """Enlists again what it has, as an upsert does."""

    async def enlist(self, handler, effects, *, after, position):
        moved = await super().enlist(handler, effects, after=after, position=position)
        for effect in effects if moved else ():
            self._change(handler, effect.event_id, list(EffectState), state=EffectState.DUE)
        return moved


class GivesBackWhatIsSettled(MemoryEffectQueue):
    async def give_back(self, effects, *, now):
        for effect in effects:
            found = self._effects[effect.handler, effect.event_id]
            if found.state is not EffectState.DONE:
                self._put(attrs.evolve(found, state=EffectState.DUE, due_at=now))


class OwesClaims(MemoryEffectQueue):
    async def give_back(self, effects, *, now):
        for effect in effects:
            if (found := self._find(effect, EffectState.DUE)) is not None:
                self._put(attrs.evolve(found, due_at=now, claims=found.claims - 1))


class RunsTheDead(MemoryEffectQueue):
    def _find(self, effect, state):
        return super()._find(effect, state) or super()._find(effect, EffectState.DEAD)


class LeavesTheMarksOfTheKilled(MemoryEffectQueue):
    async def perform(self, effects, run):
        try:
            return await super().perform(effects, run)
        except BaseException:
            for effect in effects:
                self._change(effect.handler, effect.event_id, [EffectState.DUE], state=EffectState.DONE)
            raise


class SkipsWhatIsBeingRun(MemoryEffectQueue):
    async def skip(self, handler, event_id):
        open_ = [EffectState.DUE, EffectState.DEAD]
        return self._change(handler, event_id, open_, state=EffectState.SKIPPED)


class RetriesTheDone(MemoryEffectQueue):
    async def retry(self, handler, event_id, *, now):
        settled = [EffectState.DEAD, EffectState.DONE]
        return self._change(handler, event_id, settled, state=EffectState.DUE, tries=0, claims=0, due_at=now)


class WaitsForItsKindAlone(MemoryEffectQueue):
    def _waits(self, effect):
        return any(
            other.in_order and other.payment_key == effect.payment_key and other.position < effect.position
            for other in self._effects.values()
            if other.state in (EffectState.DUE, EffectState.DEAD)
        )


class OverlooksCase(MemoryEffectQueue):
    async def enlist(self, handler, effects, *, after, position):
        known = {event_id.lower() for _, event_id in self._effects}
        new = [one for one in effects if one.event_id.lower() not in known]
        new = list({one.event_id.lower(): one for one in new}.values())
        return await super().enlist(handler, new, after=after, position=position)


class HandsOutByPosition(MemoryEffectQueue):
    async def claim(self, handler, *, now, until, limit):
        found = await super().claim(handler, now=now, until=until, limit=999)
        await self.give_back(found[limit:], now=now)
        return found[:limit]


class ForgetsOneTooFew(MemoryEffectQueue):
    async def forget(self, *, up_to):
        return await super().forget(up_to=up_to - 1)


WRONG = {
    MarksAfterwards: "what_is_done_is_not_run_again",
    MarksBeforehand: "a_failure_undoes_that_effect_alone",
    OneFailureFailsAll: "a_failure_undoes_that_effect_alone",
    ForgetsTheOrder: "in_order_means_one_at_a_time",
    HoldsUpEverybody: "a_dead_letter_holds_up_its_own_payment_alone",
    ClaimsForEver: "a_claim_ends_by_itself",
    ClaimsNothing: "the_earliest_are_handed_out_first",
    EnlistsFromAnywhere: "who_stands_elsewhere_enlists_nothing",
    BeginsAnew: "a_handler_begins_once",
    RunsWhatIsSkipped: "what_is_skipped_is_never_run",
    ForgetsWhatIsDue: "forgetting_takes_what_is_settled",
    KnowsEventsByTheirPlace: "what_is_done_is_known_at_another_position",
    BuriesTheDone: "who_was_overtaken_postpones_nothing",
    ForgetsThatItIsDone: "what_is_done_is_known_at_another_position",
    GivesBackWhatIsSettled: "what_is_settled_is_not_given_back",
    OwesClaims: "what_is_settled_is_not_given_back",
    RunsTheDead: "what_is_dead_is_not_run",
    LeavesTheMarksOfTheKilled: "who_is_killed_leaves_nothing",
    SkipsWhatIsBeingRun: "who_is_being_run_is_done_or_skipped_and_not_both",
    RetriesTheDone: "a_dead_letter_rests_until_people_act",
    WaitsForItsKindAlone: "what_has_no_order_itself_is_waited_for",
    OverlooksCase: "names_that_are_nearly_the_same_are_apart",
    HandsOutByPosition: "the_earliest_are_handed_out_first",
    ForgetsOneTooFew: "forgetting_takes_what_is_settled",
}


@attrs.define
class Bench:
    queue: MemoryEffectQueue

    @asynccontextmanager
    async def open(self):
        yield self.queue

    async def write(self, transaction, line):
        transaction.setdefault("lines", []).append(line)

    async def lines(self):
        return self.queue.books.get("lines", [])


@pytest.mark.parametrize(("wrong", "law"), WRONG.items(), ids=[one.__name__ for one in WRONG])
async def test_the_suite_catches(wrong, law) -> None:
    with pytest.raises(AssertionError):
        await LAWS[law](Bench(wrong()))


@pytest.mark.parametrize("wrong", [MarksAfterwards, ForgetsTheOrder, RunsWhatIsSkipped, BuriesTheDone])
def test_the_histories_catch(wrong) -> None:
    @asynccontextmanager
    async def new():
        yield Bench(wrong())

    with pytest.raises(Exception):  # noqa: B017, PT011 - the model's AssertionError, or what the handler of a history raised
        check_effects_histories(new, examples=200, shrink=False)


def test_every_law_belongs_to_some_capability() -> None:
    helpers = {"claim", "enlist", "states"}
    named = {name for name, one in vars(effects_suite).items() if asyncio.iscoroutinefunction(one)} - helpers
    assert set(LAWS) == named
