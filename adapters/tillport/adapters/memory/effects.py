"""An effect queue in memory, with a database in memory beside it: the shortest statement of what a queue does."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from typing import Any

import attrs

from tillport.ports.effects import Effect, EffectState, Performed, Standing
from tillport.ports.event_log import LogUnavailable

Books = dict[str, Any]
"""What handlers write to. Anything that can be deep-copied may stand in it."""

_Key = tuple[str, str]
_FINAL = (EffectState.DONE, EffectState.SKIPPED)
_OPEN = (EffectState.DUE, EffectState.DEAD)
_DUE = (EffectState.DUE,)


@attrs.define
class MemoryEffectQueue:
    """Keep effects for as long as the process lives; handlers write to `books`, in transactions.

    Set `available` to False and every method raises `LogUnavailable`.
    """

    available: bool = True
    books: Books = attrs.field(factory=dict)
    """What is committed."""
    _effects: dict[_Key, Effect] = attrs.field(init=False, factory=dict)
    _places: dict[str, int] = attrs.field(init=False, factory=dict)
    _running: set[_Key] = attrs.field(init=False, factory=set)
    _transaction: asyncio.Lock = attrs.field(init=False, factory=asyncio.Lock, repr=False)
    """Held by whoever performs: one transaction at a time, and a word about an effect waits for its worker."""

    async def begin(self, handler: str, *, position: int) -> int:
        """See `EffectQueue.begin`."""
        self._check_available()
        return self._places.setdefault(handler, position)

    async def enlist(self, handler: str, effects: Sequence[Effect], *, after: int, position: int) -> bool:
        """See `EffectQueue.enlist`."""
        self._check_available()
        if self._places.get(handler) != after:
            return False
        self._places[handler] = position
        for effect in effects:
            self._effects.setdefault((handler, effect.event_id), effect)
        return True

    async def claim(self, handler: str, *, now: float, until: float, limit: int) -> Sequence[Effect]:
        """See `EffectQueue.claim`."""
        self._check_available()
        due = sorted(
            (
                effect
                for key, effect in self._effects.items()
                if effect.handler == handler
                and effect.state is EffectState.DUE
                and effect.due_at <= now
                and key not in self._running
                and not (effect.in_order and self._waits(effect))
            ),
            key=lambda effect: (effect.due_at, effect.position),
        )[:limit]
        claimed = [attrs.evolve(effect, due_at=until, claims=effect.claims + 1) for effect in due]
        for effect in claimed:
            self._put(effect)
        return sorted(claimed, key=lambda effect: effect.position)

    async def give_back(self, effects: Sequence[Effect], *, now: float) -> None:
        """See `EffectQueue.give_back`."""
        self._check_available()
        for effect in effects:
            found = self._find(effect, EffectState.DUE)
            if found is not None:
                self._put(attrs.evolve(found, due_at=now, claims=max(found.claims - 1, 0)))

    async def perform(
        self, effects: Sequence[Effect], run: Callable[[Books, Effect], Awaitable[None]]
    ) -> Sequence[Performed]:
        """See `EffectQueue.perform`."""
        async with self._transaction:
            self._check_available()
            mine = {_key(effect) for effect in effects if self._find(effect, EffectState.DUE)}
            self._running |= mine
            try:
                return await self._perform([(effect, _key(effect) in mine) for effect in effects], run)
            finally:
                self._running -= mine

    async def postpone(self, effect: Effect, *, error: str, due_at: float | None) -> None:
        """See `EffectQueue.postpone`."""
        async with self._transaction:
            self._check_available()
            found = self._find(effect, EffectState.DUE)
            if found is None:
                return
            self._put(
                attrs.evolve(
                    found,
                    tries=found.tries + 1,
                    error=error,
                    due_at=found.due_at if due_at is None else due_at,
                )
            )
            if due_at is None:
                self._change(effect.handler, effect.event_id, _DUE, state=EffectState.DEAD)

    async def list(
        self,
        *,
        states: Sequence[EffectState] = (EffectState.DEAD,),
        handler: str | None = None,
        event_id: str | None = None,
        payment_key: str | None = None,
        limit: int = 100,
    ) -> Sequence[Effect]:
        """See `EffectQueue.list`."""
        self._check_available()
        found = [
            effect
            for effect in self._effects.values()
            if effect.state in states
            and handler in (None, effect.handler)
            and event_id in (None, effect.event_id)
            and payment_key in (None, effect.payment_key)
        ]
        return sorted(found, key=lambda effect: (effect.position, effect.handler))[:limit]

    async def retry(self, handler: str, event_id: str, *, now: float) -> bool:
        """See `EffectQueue.retry`."""
        async with self._transaction:
            changes = {"state": EffectState.DUE, "tries": 0, "claims": 0, "due_at": now}
            return self._change(handler, event_id, (EffectState.DEAD,), **changes)

    async def skip(self, handler: str, event_id: str) -> bool:
        """See `EffectQueue.skip`."""
        async with self._transaction:
            return self._change(handler, event_id, _OPEN, state=EffectState.SKIPPED)

    async def standings(self) -> Sequence[Standing]:
        """See `EffectQueue.standings`."""
        self._check_available()
        return [self._standing(handler) for handler in sorted(self._places)]

    async def forget(self, *, up_to: int) -> int:
        """See `EffectQueue.forget`."""
        self._check_available()
        gone = [
            key
            for key, effect in self._effects.items()
            if effect.position <= up_to and effect.state in _FINAL
        ]
        for key in gone:
            del self._effects[key]
        return len(gone)

    async def _perform(
        self, effects: Sequence[tuple[Effect, bool]], run: Callable[[Books, Effect], Awaitable[None]]
    ) -> Sequence[Performed]:
        books = deepcopy(self.books)
        told: list[Performed] = []
        for effect, ours in effects:
            if not ours:
                told.append(Performed(effect=effect))
                continue
            tried = deepcopy(books)
            try:
                await run(tried, effect)
            except Exception as failure:  # noqa: BLE001 - it is handed to the caller
                told.append(Performed(effect=effect, failure=failure))
            else:
                books = tried
                told.append(Performed(effect=effect, done=True))
        self.commit(books)
        for one in told:
            if one.done:
                self._change(one.effect.handler, one.effect.event_id, _DUE, state=EffectState.DONE)
        return told

    def commit(self, books: Books) -> None:
        """Put what a transaction made in the place of what was committed. For tests to make it fail."""
        self.books = books

    def _standing(self, handler: str) -> Standing:
        open_ = [
            effect
            for effect in self._effects.values()
            if effect.handler == handler and effect.state not in _FINAL
        ]
        dead = sum(effect.state is EffectState.DEAD for effect in open_)
        return Standing(
            handler=handler,
            position=self._places[handler],
            due=len(open_) - dead,
            dead=dead,
            oldest_position=min((effect.position for effect in open_), default=None),
        )

    def _waits(self, effect: Effect) -> bool:
        return any(
            other.handler == effect.handler
            and other.payment_key == effect.payment_key
            and other.position < effect.position
            and other.state not in _FINAL
            for other in self._effects.values()
        )

    def _change(self, handler: str, event_id: str, states: Sequence[EffectState], **changes: Any) -> bool:
        self._check_available()
        effect = self._effects.get((handler, event_id))
        if effect is None or effect.state not in states:
            return False
        self._put(attrs.evolve(effect, **changes))
        return True

    def _find(self, effect: Effect, state: EffectState) -> Effect | None:
        found = self._effects.get(_key(effect))
        return found if found is not None and found.state is state else None

    def _put(self, effect: Effect) -> None:
        self._effects[_key(effect)] = effect

    def _check_available(self) -> None:
        if not self.available:
            raise LogUnavailable("The effects are out of reach.", remedy="Try again once the store is back.")


def _key(effect: Effect) -> _Key:
    return effect.handler, effect.event_id
