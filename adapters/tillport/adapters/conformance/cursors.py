"""The laws of consumer cursors: what every `Cursors` does, whatever keeps them.

    LAWS = cursors_laws(CursorsCapabilities())

    @pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
    async def test_my_cursors(law, tmp_path):
        async with my_bench(tmp_path) as bench:
            await law(bench)

A law ends quietly or raises `AssertionError`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final, Protocol, TypeAlias

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tillport.adapters.conformance.histories import run_histories
from tillport.adapters.conformance.samples import NOON
from tillport.ports.cursors import LEASE_AHEAD_SECONDS, Cursors, LeaseLost
from tillport.ports.event_log import LogUnavailable


@attrs.frozen(kw_only=True)
class CursorsCapabilities:
    """What the cursors under test can do; each selects laws."""

    outages: bool = False
    """The bench's `outage` works."""
    several: bool = True
    """`open` may be entered a second time while the first is open, as a second process would."""


class CursorsBench(Protocol):
    """One store under test, empty at first."""

    def open(self) -> AbstractAsyncContextManager[Cursors]:
        """Open the cursors of the store. What was written there stays when they are closed."""
        ...

    def outage(self) -> AbstractAsyncContextManager[None]:
        """Make the store unreachable for as long as this lasts."""
        ...


Law: TypeAlias = Callable[[CursorsBench], Awaitable[None]]


async def _claim(cursors: Cursors, owner: str, now: float = NOON, *, seconds: float = 10) -> int | None:
    return await cursors.claim("relay", owner=owner, now=now, until=now + seconds)


async def _is_lost(cursors: Cursors, owner: str, position: int) -> bool:
    try:
        await cursors.advance("relay", owner=owner, position=position)
    except LeaseLost:
        return True
    return False


async def a_new_name_starts_at_zero(bench: CursorsBench) -> None:
    async with bench.open() as cursors:
        assert await cursors.positions() == {}
        assert await _claim(cursors, "a") == 0
        assert await cursors.positions() == {"relay": 0}


async def one_owner_at_a_time(bench: CursorsBench) -> None:
    async with bench.open() as cursors:
        assert await _claim(cursors, "a") == 0
        assert await _claim(cursors, "b") is None
        assert await _claim(cursors, "a", NOON + 5) == 0, "its owner may renew"
        assert await _claim(cursors, "b", NOON + 14) is None, "and has it for longer then"
        assert await _claim(cursors, "b", NOON + 15) == 0, "until the lease runs out"
        assert await _claim(cursors, "a", NOON + 15) is None


async def a_clock_that_was_set_back_locks_nobody_out(bench: CursorsBench) -> None:
    async with bench.open() as cursors:
        assert await _claim(cursors, "a") == 0  # and dies; then the clock goes back
        assert await _claim(cursors, "b", NOON - LEASE_AHEAD_SECONDS / 2) is None, "clocks differ a little"
        assert await _claim(cursors, "b", NOON - LEASE_AHEAD_SECONDS - 1) == 0
        assert await _is_lost(cursors, "a", 1)
        assert await _claim(cursors, "c", NOON - LEASE_AHEAD_SECONDS) is None


async def names_are_apart(bench: CursorsBench) -> None:
    async with bench.open() as cursors:
        assert await cursors.claim("one", owner="a", now=NOON, until=NOON + 10) == 0
        assert await cursors.claim("two 'x'", owner="b", now=NOON, until=NOON + 10) == 0
        await cursors.advance("one", owner="a", position=5)
        assert await cursors.positions() == {"one": 5, "two 'x'": 0}


async def of_concurrent_claims_one_succeeds(bench: CursorsBench) -> None:
    async with bench.open() as cursors:
        claims = await asyncio.gather(*(_claim(cursors, f"owner {number}") for number in range(8)))
        assert sorted(claims, key=str) == [0] + [None] * 7


async def a_position_moves_forward_only(bench: CursorsBench) -> None:
    async with bench.open() as cursors:
        await _claim(cursors, "a")
        for position, expected in ((5, 5), (3, 5), (5, 5), (2**40, 2**40)):
            await cursors.advance("relay", owner="a", position=position)
            assert await cursors.positions() == {"relay": expected}


async def who_was_replaced_moves_nothing(bench: CursorsBench) -> None:
    async with bench.open() as cursors:
        assert await _is_lost(cursors, "a", 1), "never claimed"
        await _claim(cursors, "a")
        await cursors.advance("relay", owner="a", position=3)
        assert await _claim(cursors, "b", NOON + 10) == 3
        assert await _is_lost(cursors, "a", 9)
        assert await cursors.positions() == {"relay": 3}
        await cursors.advance("relay", owner="b", position=4)


async def who_was_not_replaced_may_finish(bench: CursorsBench) -> None:
    """No clock is asked: the latest claim decides."""
    async with bench.open() as cursors:
        await _claim(cursors, "a", NOON, seconds=-1000)
        await cursors.advance("relay", owner="a", position=3)
        assert await cursors.positions() == {"relay": 3}


async def a_released_lease_is_free_at_once(bench: CursorsBench) -> None:
    async with bench.open() as cursors:
        await cursors.release("relay", owner="a")
        await _claim(cursors, "a")
        await cursors.advance("relay", owner="a", position=3)
        await cursors.release("relay", owner="b")
        assert await _claim(cursors, "b") is None, "only its owner gives it up"
        await cursors.release("relay", owner="a")
        assert await _claim(cursors, "b") == 3


async def a_dropped_consumer_is_forgotten(bench: CursorsBench) -> None:
    async with bench.open() as cursors:
        assert not await cursors.drop("relay", now=NOON), "never claimed"
        await cursors.claim("other", owner="a", now=NOON, until=NOON + 10)
        await _claim(cursors, "a")
        await cursors.advance("relay", owner="a", position=5)
        assert not await cursors.drop("relay", now=NOON + 9), "somebody reads for it"
        assert await cursors.positions() == {"relay": 5, "other": 0}
        assert await cursors.drop("relay", now=NOON + 10)
        assert not await cursors.drop("relay", now=NOON + 10)
        assert await cursors.positions() == {"other": 0}
        assert await _is_lost(cursors, "a", 6), "its late reader learns it"
        await cursors.release("relay", owner="a")
        assert await _claim(cursors, "b") == 0, "who takes the name again starts anew"
        await cursors.release("relay", owner="b")
        assert await cursors.drop("relay", now=NOON), "a lease that was given up holds nothing"


async def cursors_opened_again_stand_where_they_stood(bench: CursorsBench) -> None:
    async with bench.open() as cursors:
        await _claim(cursors, "a")
        await cursors.advance("relay", owner="a", position=7)
    async with bench.open() as cursors:
        assert await cursors.positions() == {"relay": 7}
        assert await _claim(cursors, "b") is None, "the lease outlives its owner's process"
        assert await _claim(cursors, "b", NOON + 10) == 7


async def two_on_one_store_share_the_leases(bench: CursorsBench) -> None:
    async with bench.open() as here, bench.open() as there:
        claims = await asyncio.gather(_claim(here, "a"), _claim(there, "b"))
        assert sorted(claims, key=str) == [0, None]


async def an_outage_is_told_and_moves_nothing(bench: CursorsBench) -> None:
    async with bench.open() as cursors:
        await _claim(cursors, "a")
        async with bench.outage():
            try:
                await cursors.advance("relay", owner="a", position=3)
            except LogUnavailable:
                pass
            else:
                raise AssertionError("a position moved during an outage")
        assert await cursors.positions() == {"relay": 0}


_ALWAYS: Final[tuple[Law, ...]] = (
    a_new_name_starts_at_zero,
    one_owner_at_a_time,
    a_clock_that_was_set_back_locks_nobody_out,
    names_are_apart,
    of_concurrent_claims_one_succeeds,
    a_position_moves_forward_only,
    who_was_replaced_moves_nothing,
    who_was_not_replaced_may_finish,
    a_released_lease_is_free_at_once,
    a_dropped_consumer_is_forgotten,
    cursors_opened_again_stand_where_they_stood,
)


def cursors_laws(capabilities: CursorsCapabilities) -> list[Law]:
    """Return the laws that cursors with these capabilities must hold."""
    laws = [*_ALWAYS]
    if capabilities.several:
        laws.append(two_on_one_store_share_the_leases)
    if capabilities.outages:
        laws.append(an_outage_is_told_and_moves_nothing)
    return laws


def check_cursors_histories(
    new_bench: Callable[[], AbstractAsyncContextManager[CursorsBench]],
    *,
    examples: int = 30,
    steps: int = 25,
    shrink: bool = True,
) -> None:
    """Run histories drawn by Hypothesis, each on a bench of its own. Call it from a plain function.

    The model is three numbers: the position, who claimed last, and until when.
    """

    class Histories(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.runner = asyncio.Runner()
            self.stack = AsyncExitStack()
            bench: CursorsBench = self.run(self.stack.enter_async_context(new_bench()))
            self.cursors: Cursors = self.run(self.stack.enter_async_context(bench.open()))
            self.now = NOON
            self.position = 0
            self.owner: str | None = None
            self.until = 0.0
            self.claimed = False

        def run(self, step: Any) -> Any:
            return self.runner.run(step)

        @rule(seconds=st.sampled_from([1.0, 9.0, 10.0]))
        def time_passes(self, seconds: float) -> None:
            self.now += seconds

        @rule(owner=st.sampled_from("abc"))
        def claim(self, owner: str) -> None:
            answer = self.run(_claim(self.cursors, owner, self.now))
            if self.owner in (None, owner) or self.until <= self.now:
                assert answer == self.position
                self.owner, self.until, self.claimed = owner, self.now + 10, True
            else:
                assert answer is None

        @rule(owner=st.sampled_from("abc"), position=st.integers(1, 20))
        def advance(self, owner: str, position: int) -> None:
            if self.owner is None:
                return  # after a release the contract leaves it open
            lost = self.run(_is_lost(self.cursors, owner, position))
            assert lost == (owner != self.owner)
            if not lost:
                self.position = max(self.position, position)

        @rule(owner=st.sampled_from("abc"))
        def release(self, owner: str) -> None:
            self.run(self.cursors.release("relay", owner=owner))
            if owner == self.owner:
                self.owner = None

        @rule()
        def drop(self) -> None:
            dropped = self.run(self.cursors.drop("relay", now=self.now))
            assert dropped == (self.claimed and (self.owner is None or self.until <= self.now))
            if dropped:
                self.position, self.owner, self.claimed = 0, None, False

        @rule()
        def look(self) -> None:
            assert self.run(self.cursors.positions()) == ({"relay": self.position} if self.claimed else {})

        def teardown(self) -> None:
            self.run(self.stack.aclose())
            self.runner.close()

    run_histories(Histories, examples=examples, steps=steps, shrink=shrink)
