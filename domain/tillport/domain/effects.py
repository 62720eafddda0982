"""Effects once (promise 5): an embedder's handlers see each event's effect committed once, whatever crashes.

Steps, each driven by a loop at the edge and safe to run in any number of processes:

- `begin` gives a handler its place in the log; `enlist_once` writes one effect per event that the handler wants, and
  moves that place, in one transaction.
- `work_once` claims what is due and performs it. A failure is tried again later, with growing pauses, and rests as a
  dead letter after the last try; other payments are not held up.

The ingest path is not involved: recording and acknowledging never wait for a handler. (`inline` is for those who want
that they do.)

Two kinds of poison are kept from the others. What can't be committed with its neighbours is tried in a transaction of
its own. And an effect whose worker never came back is from then on performed alone, so that one that kills processes
is soon found and buried, and its neighbours are done.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import attrs

from tillport.domain.handlers import Handler, Handlers
from tillport.ports.clock import Clock
from tillport.ports.effects import Effect, EffectQueue, Performed
from tillport.ports.event_log import Event, EventLog, LogUnavailable

Tx = TypeVar("Tx")

MAX_ERROR_CHARACTERS = 500


@attrs.frozen(kw_only=True)
class Enlisted:
    """What one round of enlisting did. `more` says that the caller should come straight back."""

    position: int
    count: int = 0
    more: bool = False
    reset: bool = False
    """Events that the handler had not come to were gone from the log: it missed them."""


@attrs.frozen(kw_only=True)
class Worked:
    """What one round of work did. If anything was claimed, the caller should come straight back."""

    claimed: int = 0
    done: int = 0
    failed: tuple[Effect, ...] = ()
    dead: tuple[Effect, ...] = ()


async def begin(handler: Handler[Tx], log: EventLog, queue: EffectQueue[Tx]) -> int:
    """Return the handler's place in the log. One that was never seen begins at the end, or at the start if it asks.

    Raises `LogUnavailable`.
    """
    return await queue.begin(handler.name, position=0 if handler.from_start else await log.head())


async def enlist_once(
    handler: Handler[Tx], log: EventLog, queue: EffectQueue[Tx], *, position: int, batch_size: int = 500
) -> Enlisted:
    """Enlist the handler's effects on the next events after `position`, its place in the log.

    Should another process have moved the place, nothing is enlisted and the answer says where it is now.
    Raises `LogUnavailable`.
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
        if handler.wants(recorded.event)
    ]
    if page.position == position:
        return Enlisted(position=position)
    if not await queue.enlist(handler.name, wanted, after=position, position=page.position):
        return Enlisted(position=await begin(handler, log, queue), more=True)
    return Enlisted(
        position=page.position, count=len(wanted), more=len(page.events) >= batch_size, reset=page.reset
    )


async def work_once(
    handler: Handler[Tx],
    log: EventLog,
    queue: EffectQueue[Tx],
    clock: Clock,
    *,
    lease_seconds: float = 10.0,
    limit: int = 50,
    owed: list[Effect] | None = None,
) -> Worked:
    """Claim what is due for a handler, perform it, and postpone or bury what fails. Raises `LogUnavailable`.

    A handler's own exceptions never escape from here. A claim ends after `lease_seconds`; a round that takes longer
    is finished all the same. `owed` is for the caller to keep from round to round: claims that were not begun and that
    the database did not take back. The next round gives them back first, for nobody may take them for lost workers'.
    """
    owed = [] if owed is None else owed
    await _give_back(owed, queue, clock)
    now = clock.now()
    claimed = await queue.claim(handler.name, now=now, until=now + lease_seconds, limit=limit)
    if not claimed:
        return Worked()
    owed.extend(claimed)
    try:
        events = await _events_of(claimed, log)
    except LogUnavailable:
        await _give_back(owed, queue, clock)
        raise

    async def run(transaction: Tx, effect: Effect) -> None:
        event = events.get(effect.event_id)
        if event is None:
            raise EventForgotten("the log no longer holds the event")
        await handler.run(transaction, event)

    others, suspect, rest = _sorted_out(claimed)
    await queue.give_back(rest, now=clock.now())
    owed[:] = [*others, *suspect]
    performed: list[Performed] = []
    outage: LogUnavailable | None = None
    if suspect and _lost(suspect[0]) >= handler.retries.most_tries:
        performed.append(_abandoned(suspect[0]))
        suspect = []
    try:
        for together in filter(None, (others, suspect)):
            await _perform(queue, together, run, performed)
    except LogUnavailable as error:
        outage = error
    # Nobody ran the others: whoever claims at the same moment may hold their rows for as long as that takes, or the
    # database was away. They need not wait until the claim ends, nor look as if their worker had been lost. What another
    # has done meanwhile, or is doing, stays as it is.
    settled = {one.effect.event_id for one in performed if one.done or one.failure is not None}
    owed[:] = [effect for effect in owed if effect.event_id not in settled]
    failed, dead = await _write_down(performed, handler, queue, clock)
    await _give_back(owed, queue, clock)
    if outage is not None:
        raise outage
    done = sum(one.done for one in performed)
    return Worked(claimed=len(claimed), done=done, failed=tuple(failed), dead=tuple(dead))


async def _give_back(owed: list[Effect], queue: EffectQueue[Tx], clock: Clock) -> None:
    """Give back what is owed; it stays owed if that fails. Raises `LogUnavailable`."""
    if owed:
        await queue.give_back(owed, now=clock.now())
        owed.clear()


async def _write_down(
    performed: Sequence[Performed], handler: Handler[Tx], queue: EffectQueue[Tx], clock: Clock
) -> tuple[list[Effect], list[Effect]]:
    """Postpone or bury what failed. Return what is tried again, and what is not."""
    failed: list[Effect] = []
    dead: list[Effect] = []
    for one in performed:
        if one.failure is None:
            continue
        tries, error = one.effect.tries + 1, describe(one.failure)
        due_at = handler.retries.due_at(tries, clock.now())
        if isinstance(one.failure, EventForgotten | WorkersLost):
            due_at = None
        await queue.postpone(one.effect, error=error, due_at=due_at)
        (dead if due_at is None else failed).append(attrs.evolve(one.effect, error=error, tries=tries))
    return failed, dead


async def inline(handlers: Handlers[Tx], transaction: Tx, event: Event) -> None:
    """Run every handler that wants the event, now, in the transaction that records it.

    For adapters that record on a connection of their host's. What a handler raises is not caught: the recording must
    go with it, so that Stripe sends the event again.
    """
    for handler in handlers:
        if handler.wants(event):
            await handler.run(transaction, event)


def describe(failure: Exception) -> str:
    r"""Say in a bounded line what went wrong. Handlers' words end up in front of operators, not of clients.

    >>> describe(ValueError("no such\0customer"))
    'ValueError: no such customer'
    """
    try:
        text = str(failure)
    except Exception:  # noqa: BLE001 - it may quote what is only there inside the transaction
        text = "(its text can't be told)"
    words = " ".join(f"{type(failure).__name__}: {text}".split())[: 2 * MAX_ERROR_CHARACTERS]
    # Not every database keeps NUL or half a surrogate pair.
    clean = "".join(sign if sign.isprintable() else " " for sign in words)
    return clean.encode("utf-8", "replace").decode()[:MAX_ERROR_CHARACTERS]


class EventForgotten(LookupError):
    """The log's retention took an event that an effect was still to be done for."""


class WorkersLost(RuntimeError):
    """Worker after worker took an effect and was never heard of again: it may be what ends them."""


def _sorted_out(claimed: Sequence[Effect]) -> tuple[list[Effect], list[Effect], list[Effect]]:
    """Return what may share a transaction, at most one to risk alone after that, and what is not to be touched now.

    Whoever's last worker never came back is a suspect. Only one is risked at a time, the least suspicious first: the
    others must not seem to have been lost with it.
    """
    suspects = sorted(filter(_lost, claimed), key=_lost)
    others = [effect for effect in claimed if not _lost(effect)]
    return others, suspects[:1], suspects[1:]


def _lost(effect: Effect) -> int:
    """Return how many workers took the effect and never came back, apart from the one that has it now."""
    return max(effect.claims - effect.tries - 1, 0)


def _abandoned(effect: Effect) -> Performed:
    """Return what to say of an effect that is not to be risked again."""
    failure = WorkersLost(
        f"{_lost(effect)} workers began it and none came back; the last is not known to have failed"
    )
    return Performed(effect=effect, failure=failure)


async def _perform(
    queue: EffectQueue[Tx],
    effects: Sequence[Effect],
    run: Callable[[Tx, Effect], Awaitable[None]],
    performed: list[Performed],
) -> None:
    """Perform effects, and add to `performed` what came of each, as far as it goes. Raises `LogUnavailable`."""
    try:
        performed += await queue.perform(effects, run)
    except LogUnavailable:
        raise
    except Exception as failure:  # noqa: BLE001 - the embedder's database refused the round, with an error of its own
        if len(effects) == 1:
            performed.append(Performed(effect=effects[0], failure=failure))
            return
        for effect in effects:
            await _perform(queue, [effect], run, performed)


async def _events_of(effects: Sequence[Effect], log: EventLog) -> dict[str, Event]:
    """Return the events of the effects: neighbours in the log by one read, the rest one by one."""
    wanted = {effect.event_id for effect in effects}
    first, last = (end(effect.position for effect in effects) for end in (min, max))
    page = await log.read(after=first - 1, limit=min(last - first + 1, 2 * len(effects)))
    found = {recorded.event.id: recorded.event for recorded in page.events if recorded.event.id in wanted}
    for event_id in wanted - found.keys():
        recorded = await log.find(event_id)
        if recorded is not None:
            found[event_id] = recorded.event
    return found
