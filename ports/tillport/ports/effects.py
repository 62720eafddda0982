"""Effects: what an embedder's own code does about an event, once.

The queue holds one row per handler and event. A handler runs in a transaction of the embedder's own database, and
the mark that it is done commits in that same transaction: both happened, or neither. Leases only save work; what
makes an effect happen once is that the mark is taken, under the row's lock, before the handler runs.

    DUE ──► DONE         the handler's transaction committed
     │ └──► DUE          it failed, and is tried again later
     └────► DEAD         it failed too often: people look at it, then retry (DUE) or skip it (SKIPPED)
"""

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Protocol, TypeVar

import attrs

Transaction = TypeVar("Transaction", covariant=True)
"""What a handler writes through: the embedder's own session, connection or cursor, inside its transaction."""


class EffectState(StrEnum):
    """Where an effect stands. The module docstring draws what follows what."""

    DUE = "due"
    DONE = "done"
    DEAD = "dead"
    SKIPPED = "skipped"


@attrs.frozen(kw_only=True)
class Effect:
    """One handler's work on one event. Times are Unix seconds; `error` tells of the latest failure."""

    handler: str
    event_id: str
    position: int
    """Where the event stands in the log: the order of effects of one payment."""
    payment_key: str
    in_order: bool = False
    """Wait until every earlier effect of this handler on this payment is done or skipped."""
    state: EffectState = EffectState.DUE
    tries: int = 0
    due_at: float = 0.0
    error: str | None = None


@attrs.frozen(kw_only=True)
class Performed:
    """What came of trying one effect: done, failed, or (neither) no longer there to be done."""

    effect: Effect
    done: bool = False
    failure: Exception | None = None


class EffectQueue(Protocol[Transaction]):
    """Keep effects until they are done. Each method is atomic, and committed when it returns.

    Raises `LogUnavailable` (see `tillport.ports.event_log`) from every method.
    """

    async def enlist(self, effects: Sequence[Effect]) -> None:
        """Add effects that are to be done. One whose handler and event are known already changes nothing."""
        ...

    async def claim(
        self, handlers: Sequence[str], *, owner: str, now: float, until: float, limit: int
    ) -> Sequence[Effect]:
        """Take up to `limit` due effects of these handlers, by position, that nobody else works on until then.

        An effect is due when it is DUE, `due_at` is not after `now`, and no other claim on it runs. One that is
        `in_order` is due only when it is the earliest of its handler and payment that is neither DONE nor SKIPPED:
        so of one payment at most one is handed out, and one that is DEAD holds up its own payment and no other.
        """
        ...

    async def perform(
        self, effects: Sequence[Effect], run: Callable[[Transaction, Effect], Awaitable[None]]
    ) -> Sequence[Performed]:
        """Run the effects, and mark those done that succeed, in one transaction; say of each what came of it.

        Each is marked before it is run, so that nobody else can; one that is not DUE any more is not run. What
        `run` raises for one undoes that one alone (its writes and its mark). When this returns, everything that is
        said to be done is committed; if the commit is refused nothing is, and this raises what the database said.
        """
        ...

    async def postpone(self, effect: Effect, *, error: str, due_at: float | None) -> None:
        """Write a failure down: `tries` grows by one and the effect is due again then, or DEAD for None.

        Ends the claim. Changes nothing if the effect is not DUE any more.
        """
        ...

    async def list(
        self,
        *,
        states: Sequence[EffectState] = (EffectState.DEAD,),
        payment_key: str | None = None,
        limit: int = 100,
    ) -> Sequence[Effect]:
        """Return effects in those states by position, of one payment where asked for."""
        ...

    async def retry(self, handler: str, event_id: str, *, now: float) -> bool:
        """Make a DEAD effect due at once, as if it had never been tried. Tell whether there was one."""
        ...

    async def skip(self, handler: str, event_id: str) -> bool:
        """Make a DEAD or DUE effect SKIPPED: it will never run. Tell whether there was one."""
        ...
