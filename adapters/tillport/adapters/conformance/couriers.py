"""What the laws of a courier and other tests of one share: the courier in a tester's hands, messages, order."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from tillport.ports.channel import Channel, ChannelUnavailable, Message, MessageRefused
from tillport.ports.selector import Selector


class Heard(Protocol):
    """A message that a consumer was handed."""

    message: Message
    attempt: int

    async def ack(self) -> None: ...

    async def nak(self, *, delay_seconds: float = 0.0) -> None: ...


class Listener(Protocol):
    """A durable consumer, or one of several under its name."""

    async def next(self, *, seconds: float) -> Heard | None: ...

    async def close(self) -> None: ...


class Courier(Protocol):
    """A channel under test, with its broker in the tester's hands."""

    @property
    def channel(self) -> Channel: ...

    def another(self) -> Channel:
        """Return a second channel to the same broker, as another process would have. You close it."""
        ...

    async def received(self) -> Sequence[Message]:
        """Return everything that a newcomer would hear by now, in order, repetitions included."""
        ...

    async def cut(self) -> None:
        """Make the broker unreachable; what it has stays."""
        ...

    async def heal(self) -> None:
        """Make it reachable again."""
        ...

    def consumer(
        self, name: str, *, selector: Selector | None = None, ack_wait_seconds: float = 30.0
    ) -> Listener:
        """Return a durable consumer of that name, which hears everything from where the name left off."""
        ...


def message(
    number: int, *, key: str = "pi_1", body: bytes | None = None, headers: dict[str, str] | None = None
) -> Message:
    """Return a message whose id is `evt_<number>`."""
    return Message(
        id=f"evt_{number}",
        key=key,
        headers={"id": f"ch_{key.encode().hex()}"} if headers is None else headers,
        body=f'{{"number": {number}}}'.encode() if body is None else body,
    )


async def persist(channel: Channel, messages: Sequence[Message], *, seconds: float) -> int:
    """Publish as the relay does: the whole batch again while the courier is away. Returns the number of tries."""
    deadline = asyncio.get_running_loop().time() + seconds
    tries = 0
    while True:
        tries += 1
        try:
            await channel.publish(messages)
        except ChannelUnavailable as error:
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"After {seconds:g} seconds it is still away: {error}") from error
            await asyncio.sleep(0.02)
        else:
            return tries


async def hear(consumer: Listener, count: int) -> list[Message]:
    """Take and acknowledge that many messages, each within ten seconds."""
    heard: list[Message] = []
    while len(heard) < count:
        found = await consumer.next(seconds=10)
        assert found is not None, f"Only {len(heard)} of {count} messages came."
        heard.append(found.message)
        await found.ack()
    return heard


async def close(channel: Channel) -> None:
    """Close a channel that can be closed; the port does not ask for it."""
    closing: Callable[[], Awaitable[None]] | None = getattr(channel, "close", None)
    if closing is not None:
        await closing()


def first_hearings(heard: Iterable[Message]) -> list[Message]:
    """Drop repetitions by id, as every consumer does."""
    first: dict[str, Message] = {}
    for one in heard:
        first.setdefault(one.id, one)
    return list(first.values())


def assert_in_order(heard: Iterable[Message], published: Iterable[Message]) -> None:
    """Check that of every key exactly what was published was heard, in that order, repetitions dropped."""
    got, wanted = _by_key(first_hearings(heard)), _by_key(published)
    for key in wanted:
        expect_equal(got.get(key, []), wanted[key], f"of the key {key!r}")


def _by_key(messages: Iterable[Message]) -> dict[str, list[str]]:
    keyed: defaultdict[str, list[str]] = defaultdict(list)
    for one in messages:
        keyed[one.key].append(one.id)
    return keyed


async def expect(courier: Courier, published: Sequence[Message]) -> None:
    """Check that a newcomer hears exactly that, each key in order."""
    assert_in_order(await courier.received(), published)


async def expect_refusal(channel: Channel, one: Message) -> None:
    """Check that a message is refused, by its id."""
    try:
        await channel.publish([one])
    except MessageRefused as error:
        expect_equal(error.message_id, one.id, "as the id of what was refused")
    else:
        raise AssertionError(f"{one!r} must be refused.")


def expect_equal(got: object, wanted: object, what: str = "") -> None:
    """Check that two values are the same, whatever python's -O does to `assert`."""
    if got != wanted:
        raise AssertionError(f"Heard {what} {got!r}\nand not {wanted!r}")
