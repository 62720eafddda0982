"""Replay: publish again what was published before, for a consumer that lost it. The relay's own place does not move."""

import attrs

from tillport.domain.notify import message_of, publish_all
from tillport.ports.channel import Channel
from tillport.ports.event_log import EventLog
from tillport.ports.selector import Selector


@attrs.frozen(kw_only=True)
class Replayed:
    """What one step did; go on from `position` while there is `more`. `refused` are ids that the channel never takes."""

    published: int
    refused: tuple[str, ...]
    position: int
    more: bool


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
    )
