"""Effects once (promise 5): an embedder's handlers see each event's effect committed once, whatever crashes.

Three steps, each driven by a loop at the edge and safe to run in any number of processes:

- `enlist_once` reads the log from the handler's cursor and writes one effect per event that the handler wants.
  A crash before the cursor moved enlists again, which changes nothing.
- `work_once` claims what is due and performs it. A failure is tried again later, with growing pauses, and rests as a
  dead letter after the last try; other payments are not held up.
- the ingest path is not involved: recording and acknowledging never wait for a handler.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

import attrs

from tillport.ports.clock import Clock
from tillport.ports.cursors import Cursors
from tillport.ports.effects import Effect, EffectQueue, Performed
from tillport.ports.event_log import Event, EventLog, LogUnavailable

Tx = TypeVar("Tx")

MAX_ERROR_CHARACTERS = 500
_CURSOR = "effects:"


@attrs.frozen(kw_only=True)
class Handler(Generic[Tx]):
    """An embedder's code for some types of events.

    `name` is stored: renaming makes another handler. Without `types` it gets every event. `run` writes through
    the transaction it is given and commits nothing itself; what it does outside of that transaction can't be undone
    or kept to once. `from_start` asks for everything that was ever recorded, not only what comes from now on.
    """

    name: str
    run: Callable[[Tx, Event], Awaitable[None]]
    types: frozenset[str] = frozenset()
    in_order: bool = False
    from_start: bool = False


@attrs.frozen(kw_only=True)
class Retries:
    """When a failed effect is tried again: after `first_seconds`, then each time `factor` times as long."""

    most_tries: int = 8
    first_seconds: float = 1.0
    factor: float = 4.0
    longest_seconds: float = 3600.0

    def due_at(self, tries: int, now: float) -> float | None:
        """Return when to try again after that many failures, or None for never.

        >>> [Retries().due_at(tries, 0.0) for tries in (1, 2, 3, 7, 8)]
        [1.0, 4.0, 16.0, 3600.0, None]
        """
        if tries >= self.most_tries:
            return None
        return now + min(self.first_seconds * self.factor ** (tries - 1), self.longest_seconds)


@attrs.frozen(kw_only=True)
class Worked:
    """What one round of work did. `more` says that the caller should come straight back."""

    done: int = 0
    failed: tuple[Effect, ...] = ()
    dead: tuple[Effect, ...] = ()
    more: bool = False


def cursor_of(handler: str) -> str:
    """Return the name of the handler's cursor."""
    return _CURSOR + handler


async def begin_handler(
    handler: Handler[Tx], log: EventLog, cursors: Cursors, *, owner: str, now: float
) -> None:
    """Give a handler that was never seen its place in the log: the end, or the start if it asks for that.

    Does nothing for a handler that has a place already. Call it before the handler's loop begins.
    """
    name = cursor_of(handler.name)
    if handler.from_start or name in await cursors.positions():
        return
    head = await log.head()
    if await cursors.claim(name, owner=owner, now=now, until=now) is not None:
        await cursors.advance(name, owner=owner, position=head)
        await cursors.release(name, owner=owner)


async def enlist_once(
    handler: Handler[Tx],
    log: EventLog,
    queue: EffectQueue[Tx],
    cursors: Cursors,
    *,
    owner: str,
    position: int,
    batch_size: int = 500,
) -> tuple[int, bool]:
    """Enlist the handler's effects on the next events after `position`; return its new position and whether to go on.

    The caller holds the lease of `cursor_of(handler.name)` as `owner`. Raises `LeaseLost` and `LogUnavailable`.
    """
    page = await log.read(after=position, limit=batch_size)
    wanted = [
        Effect(
            handler=handler.name,
            event_id=recorded.event.id,
            position=recorded.position,
            payment_key=recorded.event.payment_key,
            in_order=handler.in_order,
        )
        for recorded in page.events
        if not handler.types or recorded.event.type in handler.types
    ]
    if wanted:
        await queue.enlist(wanted)
    if page.position > position:
        await cursors.advance(cursor_of(handler.name), owner=owner, position=page.position)
    return page.position, len(page.events) >= batch_size


async def work_once(
    handlers: Mapping[str, Handler[Tx]],
    log: EventLog,
    queue: EffectQueue[Tx],
    clock: Clock,
    *,
    owner: str,
    lease_seconds: float = 60.0,
    limit: int = 50,
    retries: Retries | None = None,
) -> Worked:
    """Claim what is due, perform it, and postpone or bury what fails. Raises `LogUnavailable`.

    A handler's own exceptions never escape from here. If the round's transaction can't be committed, each of its
    effects is tried in one of its own, so that one whose commit fails holds up nobody else.
    """
    retries = retries or Retries()
    now = clock.now()
    claimed = await queue.claim(
        sorted(handlers), owner=owner, now=now, until=now + lease_seconds, limit=limit
    )
    if not claimed:
        return Worked()
    events = await _events_of(claimed, log)

    async def run(transaction: Tx, effect: Effect) -> None:
        event = events.get(effect.event_id)
        if event is None:
            raise LookupError(f"{effect.event_id} is no longer in the log")
        await handlers[effect.handler].run(transaction, event)

    done = 0
    failed: list[Effect] = []
    dead: list[Effect] = []
    for performed in await _perform(queue, claimed, run):
        done += performed.done
        if performed.failure is None:
            continue
        effect, now = performed.effect, clock.now()
        due_at = retries.due_at(effect.tries + 1, now)
        await queue.postpone(effect, error=describe(performed.failure), due_at=due_at)
        (dead if due_at is None else failed).append(effect)
    return Worked(done=done, failed=tuple(failed), dead=tuple(dead), more=len(claimed) >= limit)


async def _perform(
    queue: EffectQueue[Tx], effects: Sequence[Effect], run: Callable[[Tx, Effect], Awaitable[None]]
) -> Sequence[Performed]:
    try:
        return await queue.perform(effects, run)
    except LogUnavailable:
        raise
    except Exception as failure:  # noqa: BLE001 - the embedder's database refused the commit, with an error of its own
        if len(effects) == 1:
            return [Performed(effect=effects[0], failure=failure)]
    return [performed for effect in effects for performed in await _perform(queue, [effect], run)]


def describe(failure: Exception) -> str:
    """Say in a bounded line what went wrong. Handlers' words end up in front of operators, not of clients."""
    return f"{type(failure).__name__}: {failure}"[:MAX_ERROR_CHARACTERS]


async def _events_of(effects: Sequence[Effect], log: EventLog) -> dict[str, Event]:
    """Return the events of the effects: neighbours in the log by one read, the rest one by one."""
    wanted = {effect.event_id for effect in effects}
    first = min(effect.position for effect in effects)
    page = await log.read(after=first - 1, limit=2 * len(effects))
    found = {recorded.event.id: recorded.event for recorded in page.events if recorded.event.id in wanted}
    for event_id in wanted - found.keys():
        recorded = await log.find(event_id)
        if recorded is not None:
            found[event_id] = recorded.event
    return found
