"""A courier in memory, with the manners of a durable one: it keeps what was published, for every consumer by name.

What it shares with NATS JetStream, and what the conformance suite holds both to: repetitions of an id are dropped
within a window; a consumer hears everything from where its name left off, and again what it did not acknowledge in
time; a publish fails without saying how much of it arrived.
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import attrs

from tillport.ports.channel import ChannelUnavailable, Message, MessageRefused, refuse_unsendable, selects
from tillport.ports.clock import Clock
from tillport.ports.selector import Selector, check_selector


@attrs.define(eq=False)
class _Place:
    """How far the consumers of one name have come. `due` holds what is to be sent again, and from when."""

    next: int = 0
    due: dict[int, float] = attrs.field(factory=dict)
    attempts: dict[int, int] = attrs.field(factory=dict)


@attrs.define(eq=False)
class MemoryDelivery:
    """A message that was handed to a consumer. `attempt` is 1 the first time."""

    message: Message
    attempt: int
    _index: int = attrs.field(repr=False)
    _place: _Place = attrs.field(repr=False)
    _channel: "MemoryChannel" = attrs.field(repr=False)

    async def ack(self) -> None:
        """Say that the effect is durable. While the channel is away the word is lost, and the message comes again."""
        if self._channel.available:
            self._place.due.pop(self._index, None)
            self._place.attempts.pop(self._index, None)

    async def nak(self, *, delay_seconds: float = 0.0) -> None:
        """Ask for the message again, after a while. Others are delivered meanwhile, of the same payment too."""
        if self._channel.available and self._index in self._place.due:
            self._place.due[self._index] = self._channel.clock.now() + delay_seconds
            self._channel.stir()


@attrs.define(eq=False)
class MemoryChannel:
    """Keep messages for as long as the process lives, and deliver each at least once to every consumer name.

    `keeps` bounds how many, for a process that runs for months: the oldest go, heard or not, as from a JetStream
    stream with a limit. None keeps all of them.

    Set `available` to False, and publishing raises `ChannelUnavailable` and consumers wait. `breaks_after` is how
    many more messages are stored before it goes away by itself, in the middle of a batch if need be.

    >>> import asyncio
    >>> from tillport.adapters.memory.clock import ManualClock
    >>> async def story():
    ...     channel = MemoryChannel(ManualClock())
    ...     await channel.publish([Message(id="evt_1", key="pi_1", headers={}, body=b"{}")])
    ...     delivery = await anext(channel.consumer("invoices"))
    ...     await delivery.ack()
    ...     return delivery.message.id
    >>> asyncio.run(story())
    'evt_1'
    """

    clock: Clock
    duplicate_window_seconds: float = attrs.field(default=600.0, kw_only=True)
    most_bytes: int = attrs.field(default=1_048_576, kw_only=True)
    breaks_after: int | None = attrs.field(default=None, kw_only=True)
    keeps: int | None = attrs.field(default=None, kw_only=True)
    first: int = attrs.field(init=False, default=0)
    """The index of the oldest message that is still held. For the consumers."""
    _available: bool = attrs.field(default=True, kw_only=True, alias="available")
    # As plain values, a copy of the headers among them: messages are made of them when somebody looks, if anybody does.
    _messages: list[tuple[str, str, dict[str, str], bytes]] = attrs.field(init=False, factory=list)
    _known: dict[str, float] = attrs.field(init=False, factory=dict)
    _places: dict[str, _Place] = attrs.field(init=False, factory=dict)
    _stirred: asyncio.Event = attrs.field(init=False, factory=asyncio.Event)

    @property
    def available(self) -> bool:
        """Whether the courier is there. Set it to cut and to heal."""
        return self._available

    @available.setter
    def available(self, value: bool) -> None:
        self._available = value
        self.stir()

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the courier holds, in the order in which it came."""
        return tuple(map(_message, self._messages))

    async def publish(self, messages: Sequence[Message]) -> None:
        """See `tillport.ports.channel.Channel`. Nothing is sent if one of them can never be."""
        for message in messages:
            refuse_unsendable(message)
            self._check_size(message)
        try:
            self._store_all(messages, self.clock.now())
        finally:
            self.stir()

    def _store_all(self, messages: Sequence[Message], now: float) -> None:
        known, held, window_seconds = self._known, self._messages, self.duplicate_window_seconds
        try:
            for message in messages:
                if self.breaks_after is not None:
                    self._come_nearer_to_breaking(self.breaks_after)
                if not self._available:
                    raise ChannelUnavailable(
                        "The courier in memory is away.", remedy="Send the same messages again."
                    )
                since = known.get(message.id)
                if since is None or now - since >= window_seconds:
                    known[message.id] = now
                    held.append((message.id, message.key, dict(message.headers), message.body))
        finally:
            self._drop_oldest()

    def _come_nearer_to_breaking(self, messages: int) -> None:
        if messages <= 0:
            self.available, self.breaks_after = False, None
        else:
            self.breaks_after = messages - 1

    def _drop_oldest(self) -> None:
        held = self._messages
        if self.keeps is not None and len(held) > self.keeps:
            going = held[: len(held) - self.keeps]
            del held[: len(going)]
            self.first += len(going)
            for name, *_ in going:
                self._known.pop(name, None)

    def consumer(
        self, name: str, *, selector: Selector | None = None, ack_wait_seconds: float = 30.0
    ) -> "MemoryConsumer":
        """Return a reader for that consumer name. Several with one name share the work."""
        check_selector(selector)
        return MemoryConsumer(self, self._places.setdefault(name, _Place()), selector, ack_wait_seconds)

    def stir(self) -> None:
        """Wake the consumers: there may be something for them."""
        self._stirred.set()
        self._stirred = asyncio.Event()

    async def stirred(self, *, until: float | None) -> None:
        """Return when something may have changed, or at that time by the clock. For the consumers."""
        waits: list[asyncio.Future[object]] = [asyncio.ensure_future(self._stirred.wait())]
        if until is not None:
            waits.append(asyncio.ensure_future(self.clock.sleep_until(until)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)

    def held(self, index: int) -> Message | None:
        """Return the message with that index, None past the end or while the channel is away. For the consumers."""
        return _message(self._messages[index - self.first]) if self.holds(index) else None

    def holds(self, index: int) -> bool:
        """Tell whether `held` would return a message. For the consumers."""
        return self._available and 0 <= index - self.first < len(self._messages)

    def _check_size(self, message: Message) -> None:
        body, headers = message.body, message.headers
        if len(body) + 4 * (sum(map(len, headers)) + sum(map(len, headers.values()))) <= self.most_bytes:
            return  # no character takes more than four bytes
        size = len(body) + len("".join((*headers, *headers.values())).encode())
        if size > self.most_bytes:
            raise MessageRefused(
                f"The message is {size} bytes, and the courier takes {self.most_bytes}.",
                message_id=message.id,
                remedy="Skip it.",
            )


def _message(values: tuple[str, str, dict[str, str], bytes]) -> Message:
    name, key, headers, body = values
    return Message(id=name, key=key, headers=dict(headers), body=body)


@attrs.define(eq=False)
class MemoryConsumer:
    """Hear every message from where this name left off; iterate for ever, or take one at a time with `next`."""

    _channel: MemoryChannel
    _place: _Place
    _selector: Selector | None
    _ack_wait_seconds: float
    _closed: bool = attrs.field(init=False, default=False)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MemoryDelivery:
        found = await self._next(until=None)
        if found is None:
            raise StopAsyncIteration
        return found

    async def next(self, *, seconds: float) -> MemoryDelivery | None:
        """Return the next message, or None if none came within that time by the clock."""
        return await self._next(until=self._channel.clock.now() + seconds)

    async def close(self) -> None:
        """Stop. What was handed out and not acknowledged comes again, to whoever reads under this name."""
        self._closed = True
        self._channel.stir()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _next(self, *, until: float | None) -> MemoryDelivery | None:
        while not self._closed:
            index = self._take()
            if index is not None:
                message = self._channel.held(index)
                assert message is not None
                place = self._place
                place.attempts[index] = place.attempts.get(index, 0) + 1
                place.due[index] = self._channel.clock.now() + self._ack_wait_seconds
                delivery = MemoryDelivery(message, place.attempts[index], index, place, self._channel)
                if selects(self._selector, message):
                    return delivery
                await delivery.ack()
                continue
            now = self._channel.clock.now()
            if until is not None and now >= until:
                return None
            moments = [] if until is None else [until]
            if self._channel.available:
                moments += self._place.due.values()
            await self._channel.stirred(until=min(moments) if moments else None)
        return None

    def _take(self) -> int | None:
        """Return what is to be delivered now: what is due again first, then what is new."""
        if not self._channel.available:
            return None
        place, first = self._place, self._channel.first
        place.next = max(place.next, first)
        for index in [index for index in place.due if index < first]:
            del place.due[index]
            place.attempts.pop(index, None)
        now = self._channel.clock.now()
        late = [index for index, moment in self._place.due.items() if moment <= now]
        if late:
            return min(late)
        if not self._channel.holds(self._place.next):
            return None
        self._place.next += 1
        return self._place.next - 1
