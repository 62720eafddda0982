"""Effects: what an embedder's own code does about an event, once.

The queue lives in the embedder's database and holds one row per handler and event. A handler runs in a transaction
of that database, and the mark that it is done commits in the same transaction: both happened, or neither.

    DUE ──► DONE         the handler's transaction committed
     │ └──► DUE          it failed, and is tried again later
     └────► DEAD         it failed too often: people look at it, then retry (DUE) or skip it (SKIPPED)

Two rules carry everything:

* **An effect is marked before it is run, under the lock of its row.** So of all workers that want to run it, however
  late one of them comes, one at most does. Claims only save work: one that ends too early, or a clock that is wrong,
  costs a vain look and never a second effect.
* **A handler's place in the log moves in the transaction that adds its effects**, and only from where it stands.
  So an event is added once whoever reads the log, and rows that are done may be forgotten.
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
    """One handler's work on one event. `error` tells of the latest failure."""

    handler: str
    event_id: str
    position: int
    """Where the event stands in the log: the order of effects of one payment."""
    payment_key: str
    in_order: bool = False
    """Wait until every earlier effect of this handler on this payment is done or skipped."""
    state: EffectState = EffectState.DUE
    tries: int = 0
    """How often it was tried and failed."""
    claims: int = 0
    """How often it was handed out. More than `tries`, apart from a claim that runs: a worker never came back."""
    due_at: float = 0.0
    """Not handed out before then (Unix seconds): when a retry is due, or when a claim that runs will end."""
    error: str | None = None


@attrs.frozen(kw_only=True)
class Performed:
    """What came of trying one effect: done, failed, or (neither) not there to be done, or not any more."""

    effect: Effect
    done: bool = False
    failure: Exception | None = None


@attrs.frozen(kw_only=True)
class Standing:
    """How a handler fares."""

    handler: str
    position: int
    """How far in the log its effects have been enlisted."""
    due: int = 0
    dead: int = 0
    oldest_position: int | None = None
    """The position of its earliest effect that is DUE or DEAD: the log must still hold that event."""


class EffectQueue(Protocol[Transaction]):
    """Keep effects until they are done. Each method but `forget` is atomic, and committed when it returns.

    Raises `LogUnavailable` (see `tillport.ports.event_log`) from every method while the database can't be used.
    """

    async def begin(self, handler: str, *, position: int) -> int:
        """Give a handler its place in the log, unless it has one; return the place that it has."""
        ...

    async def enlist(self, handler: str, effects: Sequence[Effect], *, after: int, position: int) -> bool:
        """Add DUE effects of one handler and move its place from `after` to `position`.

        Changes nothing and returns False if the handler does not stand at `after`: somebody else was here.
        """
        ...

    async def claim(self, handler: str, *, now: float, until: float, limit: int) -> Sequence[Effect]:
        """Hand out up to `limit` effects of the handler that are due now, by position; nobody else gets them until then.

        Those with the earliest `due_at` come first. Each one's `due_at` becomes `until` and its `claims` grow by one,
        so a claim whose worker died ends by itself. One that is `in_order` is handed out only if it is the earliest
        of its handler and payment that is neither DONE nor SKIPPED: one that is DEAD holds up its own payment alone.
        """
        ...

    async def give_back(self, effects: Sequence[Effect], *, now: float) -> None:
        """End claims of one handler that were not run: due at once, `claims` one less. DUE effects only.

        Nobody waits here: an effect that somebody else is running may keep its claim.
        """
        ...

    async def perform(
        self, effects: Sequence[Effect], run: Callable[[Transaction, Effect], Awaitable[None]]
    ) -> Sequence[Performed]:
        """Run effects of one handler, and mark DONE those that succeed, in one transaction; say what came of each.

        Each is marked before it is run; one that is not DUE any more, or that somebody else is running, is not run.
        What `run` raises for one undoes that one alone, its writes and its mark. When this returns, everything that
        is said to be done is committed. If the transaction can't be completed nothing is done, and this raises
        what the database said. `LogUnavailable` is raised only before anything was run.
        """
        ...

    async def postpone(self, effect: Effect, *, error: str, due_at: float | None) -> None:
        """Write a failure down: `tries` grow by one and the effect is due again then, or DEAD for None.

        Changes nothing if the effect is not DUE any more.
        """
        ...

    async def list(
        self,
        *,
        states: Sequence[EffectState] = (EffectState.DEAD,),
        handler: str | None = None,
        event_id: str | None = None,
        payment_key: str | None = None,
        limit: int = 100,
    ) -> Sequence[Effect]:
        """Return effects in those states by position, of one handler, event or payment where asked for."""
        ...

    async def retry(self, handler: str, event_id: str, *, now: float) -> bool:
        """Make a DEAD effect due at once, as if it had never been tried. Tell whether there was one."""
        ...

    async def skip(self, handler: str, event_id: str) -> bool:
        """Make a DEAD or DUE effect SKIPPED: it will never run. Tell whether there was one.

        Waits for a worker that is running it; then it is DONE or not as that worker decides.
        """
        ...

    async def standings(self) -> Sequence[Standing]:
        """Say how each handler that ever began fares, by name."""
        ...

    async def forget(self, *, up_to: int) -> int:
        """Take away DONE and SKIPPED effects up to that position of the log, and return how many.

        It goes in stretches that are committed one by one, so that nobody waits for long: some may be gone if it raises.
        They never come back: a handler's place has passed them.
        """
        ...
