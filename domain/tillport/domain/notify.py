"""Notify: tell the application what was recorded.

Two ways out, both fed by the log alone, so that a crash between recording and telling loses nothing:

- `relay_once` publishes what was recorded to the channel, in log order, at least once (promise 6);
- `follow` is a subscription: the log first, then its tail, with no gap and no repeat (promise 7).

Who may not see an event as Stripe sent it gets its `projection`: an allow-list, so that a field that Stripe adds
tomorrow is not shown by default (promise 8). A `client_secret` is shown to nobody.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

import attrs
import msgspec

from tillport.ports.channel import Channel, ChannelUnavailable, Message, MessageRefused
from tillport.ports.clock import Clock
from tillport.ports.cursors import Cursors
from tillport.ports.doorbell import Doorbell
from tillport.ports.event_log import Event, EventLog, RecordedEvent
from tillport.ports.selector import Selector

SEED_CHANNEL = "stripe"
"""The channel of the seed; each transaction has its own as well, `stripe/<transaction id>`."""

SHOWN = frozenset(
    """
    id object amount amount_captured amount_received amount_refunded captured charge created currency disputed
    failure_code failure_message latest_charge livemode paid payment_intent reason refunded status
    """.split()
)
"""What a client may see of an event's object: what became of the money, nothing of who paid or how."""


def projection(event: Event) -> bytes:
    """Return the JSON that a client may see of an event.

    An expanded object where an id is usual is shown as its id.
    """
    about = msgspec.json.decode(event.body)["data"]["object"]
    shown = {name: _plain(value) for name, value in about.items() if name in SHOWN}
    return msgspec.json.encode(
        {
            "id": event.id,
            "type": event.type,
            "created": event.created,
            "livemode": event.livemode,
            "data": shown,
        }
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return value.get("id")
    return None if isinstance(value, list) else value


def headers_of(event: Event) -> dict[str, str]:
    """Return the headers that selectors speak about: `id` is the transaction id, as in the seed."""
    return {
        "id": event.transaction_id,
        "type": event.type,
        "event": event.id,
        "payment": event.payment_key,
        "created": str(event.created),
        "livemode": "true" if event.livemode else "false",
    }


def message_of(event: Event) -> Message:
    """Return the message that goes out for an event."""
    return Message(
        id=event.id, key=event.payment_key, headers=headers_of(event), body=event.body_without_secret
    )


@attrs.frozen(kw_only=True)
class Relayed:
    """What one round of the relay did. `refused` are ids of events that the channel will never take."""

    published: int = 0
    refused: tuple[str, ...] = ()
    position: int = 0
    more: bool = False
    """Whether the log probably holds more: the caller should come straight back."""


async def relay_once(
    log: EventLog,
    channel: Channel,
    cursors: Cursors,
    *,
    name: str,
    owner: str,
    position: int,
    batch_size: int = 500,
) -> Relayed:
    """Publish the next events after `position` and move the cursor past them.

    The caller holds the lease of `name` as `owner`. A crash before the cursor moved publishes the batch again.
    Raises `ChannelUnavailable` (nothing is lost: come again later), `LeaseLost` and `LogUnavailable`.
    """
    page = await log.read(after=position, limit=batch_size)
    refused: list[str] = []
    messages = [message_of(recorded.event) for recorded in page.events]
    if messages:
        await publish_all(channel, messages, refused)
    if page.position > position:
        await cursors.advance(name, owner=owner, position=page.position)
    return Relayed(
        published=len(messages) - len(refused),
        refused=tuple(refused),
        position=page.position,
        more=len(page.events) >= batch_size,
    )


async def publish_all(channel: Channel, messages: list[Message], refused: list[str]) -> None:
    """Publish a batch; what the channel will never take is set aside in `refused`, so that it holds up nobody else.

    Raises `ChannelUnavailable`.
    """
    while messages:
        try:
            return await channel.publish(messages)
        except MessageRefused as error:
            rest = [message for message in messages if message.id != error.message_id]
            if len(rest) == len(messages):
                raise ChannelUnavailable("The channel refused a message that it was not given.") from error
            refused.append(error.message_id)
            messages = rest
    return None


@attrs.frozen
class Idle:
    """Nothing new for a while: the moment for a keep-alive. `position` is where the subscription stands."""

    position: int


@attrs.frozen
class Reset:
    """Events after the position asked for are gone (retention): what follows is not everything.

    `position` is where what follows begins: whoever goes on from there misses nothing more.
    """

    position: int


Heard: TypeAlias = RecordedEvent | Idle | Reset


def follow(
    log: EventLog,
    doorbell: Doorbell,
    clock: Clock,
    *,
    where: Selector | None,
    after: int = 0,
    idle_seconds: float = 15.0,
    look_seconds: float = 1.0,
    page_size: int = 100,
) -> AsyncGenerator[Heard, None]:
    """Yield every selected event after a position, first from the log and then as they come, without end.

    Yields `Idle` after `idle_seconds` without an event, and `Reset` when the log no longer reaches back to `after`.
    `look_seconds` bounds the delay when the doorbell was not heard. Raises `LogUnavailable`; whoever catches it goes
    on from the last position.
    """
    return one_by_one(
        follow_pages(
            log,
            doorbell,
            clock,
            where=where,
            after=after,
            idle_seconds=idle_seconds,
            look_seconds=look_seconds,
            page_size=page_size,
        )
    )


async def follow_pages(
    log: EventLog,
    doorbell: Doorbell,
    clock: Clock,
    *,
    where: Selector | None,
    after: int = 0,
    idle_seconds: float = 15.0,
    look_seconds: float = 1.0,
    page_size: int = 100,
) -> AsyncGenerator[Sequence[Heard], None]:
    """Yield what `follow` yields, with what was heard at once together: for who pays for each handing over."""
    position = after
    quiet_since = clock.now()
    while True:
        heard = doorbell.rings  # before the look, so that what is recorded during the look wakes us
        page = await log.read(after=position, where=where, limit=page_size)
        if page.reset:
            yield [Reset(page.begins_after)]
        position = page.position
        if page.events:
            yield page.events
            quiet_since = clock.now()
            if len(page.events) >= page_size:
                continue
        elif not 0 <= clock.now() - quiet_since < idle_seconds:  # below: the clock was set back
            yield [Idle(position)]
            quiet_since = clock.now()
        await doorbell.wait(heard, seconds=min(look_seconds, idle_seconds))


async def one_by_one(pages: AsyncGenerator[Sequence[Heard], None]) -> AsyncGenerator[Heard, None]:
    """Yield by itself each of what comes together, and close the source when closed."""
    async with aclosing(pages):
        async for page in pages:
            for heard in page:
                yield heard
