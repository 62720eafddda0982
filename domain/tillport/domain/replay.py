"""Replay: hand out again what the log holds, to the courier, or to one handler.

To the courier: for a consumer that lost what it had. The relay's own place does not move.
To a handler: for events that it never got, because it began after them or did not want them then. What it has done,
or gave up on, is not handed to it again (promise 5).
"""

from typing import Any

import attrs

from tillport.domain.notify import message_of, publish_all
from tillport.ports.channel import Channel
from tillport.ports.effects import Effect, EffectQueue
from tillport.ports.errors import TillportError
from tillport.ports.event_log import EventLog
from tillport.ports.selector import Selector


@attrs.frozen(kw_only=True)
class Replayed:
    """What one step did; go on from `position` while there is `more`. `refused` are ids that the channel never takes.

    `reset`: events after the position asked for are gone (retention), so that this was not everything.
    """

    published: int
    refused: tuple[str, ...]
    position: int
    more: bool
    reset: bool = False


async def replay_once(
    log: EventLog,
    channel: Channel,
    *,
    after: int,
    up_to: int,
    where: Selector | None = None,
    batch_size: int = 500,
) -> Replayed:
    """Publish the next selected events after one position and up to another, in log order.

    Messages carry the ids of their events: who deduplicates takes only what it has not seen. Raises
    `ChannelUnavailable` and `LogUnavailable`; the step may then be done again.
    """
    page = await log.read(after=after, where=where, limit=batch_size)
    messages = [message_of(one.event) for one in page.events if one.position <= up_to]
    count, refused = len(messages), list[str]()
    if messages:
        await publish_all(channel, messages, refused)
    return Replayed(
        published=count - len(refused),
        refused=tuple(refused),
        position=min(page.position, up_to),
        more=len(page.events) >= batch_size and page.position < up_to,
        reset=page.reset,
    )


class UnknownHandler(TillportError):
    """No handler of that name ever began on this queue."""

    code = "unknown_handler"


@attrs.frozen(kw_only=True)
class Reenlisted:
    """What one step did. `offered` counts events; those that the handler has are not enlisted again.

    `reset` is as in `Replayed`.
    """

    offered: int
    position: int
    more: bool
    reset: bool = False


async def reenlist_once(
    log: EventLog,
    queue: EffectQueue[Any],
    *,
    handler: str,
    in_order: bool,
    after: int,
    up_to: int,
    where: Selector | None = None,
    batch_size: int = 500,
) -> Reenlisted:
    """Enlist a handler's effects on the next selected events, up to a position or to the handler's own place.

    What stands after its place comes to it anyway. Effects that `forget` took away count as never done, so this must
    not reach further back than effects are kept. Raises `UnknownHandler` and `LogUnavailable`.
    """
    while True:
        place = next((one.position for one in await queue.standings() if one.handler == handler), None)
        if place is None:
            raise UnknownHandler(
                f"There is no handler {handler[:60]!r} here.",
                remedy="`tillport status` lists those that there are.",
            )
        last = min(up_to, place)
        page = await log.read(after=after, where=where, limit=batch_size)
        effects = [
            Effect(
                handler=handler,
                event_id=one.event.id,
                position=one.position,
                payment_key=one.event.payment_key,
                in_order=in_order,
            )
            for one in page.events
            if one.position <= last
        ]
        if not effects or await queue.enlist(handler, effects, after=place, position=place):
            return Reenlisted(
                offered=len(effects),
                position=min(page.position, last),
                more=len(page.events) >= batch_size and page.position < last,
                reset=page.reset,
            )
