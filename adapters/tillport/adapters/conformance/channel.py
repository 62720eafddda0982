"""The laws of a courier: what every `Channel` does, whatever carries its messages.

Takes a maker, so that each law gets a broker of its own, and returns the laws that your capabilities call for.
With pytest and anyio's plugin:

    LAWS = channel_laws(ChannelCapabilities(durable_consumers=False))

    @pytest.mark.anyio
    @pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
    async def test_my_channel(law, tmp_path):
        async with my_courier(tmp_path) as courier:
            await law(courier)

A law ends quietly or raises `AssertionError`. "First hearings" are what is left when a consumer drops repetitions by
id, as all consumers must: that is where order is judged, because a courier may say a thing twice.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

import attrs

from tillport.ports.channel import Channel, ChannelUnavailable, Message, MessageRefused
from tillport.ports.selector import Compare, Selector

AWKWARD_KEYS = (
    "pi_3QxTillport",
    "",
    " ",
    "a.b",
    "a",
    "b",
    "a b",
    "a%2Eb",
    "*",
    ">",
    "pi_*",
    "$JS.API",
    "schön/€\t\n",
    "%",
    "k" * 255,
)
"""Payment keys that a courier with wildcards, separators or lengths of its own could mix up or refuse."""


@attrs.frozen(kw_only=True)
class ChannelCapabilities:
    """What the courier under test can do; each selects laws."""

    dedupes: bool = True
    """It drops a repeated id by itself, at least within seconds. (Consumers must be able to, in any case.)"""
    can_be_cut: bool = True
    """`cut` and `heal` work on the courier under test."""
    most_bytes: int | None = 1_048_576
    """A body of this size is certainly too large for it. None for a courier without a limit."""
    durable_consumers: bool = True
    """`consumer` works on the courier under test."""
    patience_seconds: float = 30.0
    """How soon a publish to a courier that is away must have failed, and a healed one must take messages."""


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


Law: TypeAlias = Callable[[Courier], Awaitable[None]]


def channel_laws(capabilities: ChannelCapabilities) -> list[Law]:
    """Return the laws that a channel with these capabilities must keep, each named for what it says."""
    laws: list[Law] = [
        a_message_arrives_as_it_was_published,
        publishing_nothing_does_nothing,
        messages_of_one_key_arrive_in_order,
        awkward_keys_are_carried_and_kept_apart,
        a_batch_that_is_sent_again_loses_nothing_and_keeps_its_order,
        what_no_courier_carries_is_refused_by_name,
        concurrent_publishers_lose_nothing_and_keep_each_keys_order,
        a_publish_that_is_cancelled_harms_no_other,
    ]
    if capabilities.dedupes:
        laws.append(a_repeated_id_is_stored_once)
    if capabilities.most_bytes is not None:
        laws.append(_named(a_message_that_is_too_large_is_refused_and_holds_up_nobody, capabilities))
    if capabilities.can_be_cut:
        laws.append(_named(a_courier_that_is_away_is_told_as_such_and_recovers, capabilities))
        laws.append(_named(a_courier_that_goes_away_in_between_costs_delay_alone, capabilities))
    if capabilities.durable_consumers:
        laws += [
            a_consumer_hears_what_was_published_before_it_came,
            a_consumer_goes_on_where_its_name_left_off,
            what_is_not_acknowledged_comes_again,
            what_is_given_back_comes_again,
            a_selector_narrows_what_a_consumer_hears,
            consumers_of_one_name_share_the_messages,
        ]
        if capabilities.can_be_cut:
            laws.append(_named(a_consumer_outlives_its_courier, capabilities))
    return laws


# Publishing ----------------------------------------------------------------------------------------------------------


async def a_message_arrives_as_it_was_published(courier: Courier) -> None:
    sent = [
        message(1, body=b'{"id": "evt_1"}', headers={"id": "ch_1", "type": "charge.succeeded", "empty": ""}),
        message(2, body=b"", headers={}),
        message(3, body=bytes(range(256)) * 40, headers={"note": "a: b; schön € 𝄞"}),
    ]
    await courier.channel.publish(sent)
    _equal(list(await courier.received()), sent)


async def publishing_nothing_does_nothing(courier: Courier) -> None:
    await courier.channel.publish([])
    _equal(list(await courier.received()), [])


async def messages_of_one_key_arrive_in_order(courier: Courier) -> None:
    sent = [message(number, key=f"pi_{number % 7}") for number in range(210)]
    for start in range(0, len(sent), 70):
        await courier.channel.publish(sent[start : start + 70])
    await _expect(courier, sent)


async def awkward_keys_are_carried_and_kept_apart(courier: Courier) -> None:
    sent = [
        message(number, key=key)
        for number, key in enumerate([key for key in AWKWARD_KEYS for _ in range(2)], start=1)
    ]
    await courier.channel.publish(sent)
    await _expect(courier, sent)


async def a_batch_that_is_sent_again_loses_nothing_and_keeps_its_order(courier: Courier) -> None:
    sent = [message(number, key=f"pi_{number % 3}") for number in range(30)]
    await courier.channel.publish(sent[:17])
    await courier.channel.publish(sent[5:])
    await courier.channel.publish(sent)
    await _expect(courier, sent)


async def a_repeated_id_is_stored_once(courier: Courier) -> None:
    first = message(1, body=b"first")
    await courier.channel.publish([first, message(1, body=b"second")])
    await courier.channel.publish([message(1, body=b"third"), message(2)])
    _equal(list(await courier.received()), [first, message(2)])


async def what_no_courier_carries_is_refused_by_name(courier: Courier) -> None:
    bad = [
        attrs.evolve(message(1), id=""),
        attrs.evolve(message(2), id="evt_2\r\n"),
        attrs.evolve(message(3), key="\ud800"),
        message(4, headers={"two words": "x"}),
        message(5, headers={"": "x"}),
        message(6, headers={"type": "charge\r\nid: ch_other"}),
        message(7, headers={"type": " charge"}),
        message(8, headers={"näme": "x"}),
    ]
    for one in bad:
        await _refuses(courier.channel, one)
    await courier.channel.publish([message(9)])
    _equal([heard.id for heard in await courier.received() if heard.id == "evt_9"], ["evt_9"])


async def a_message_that_is_too_large_is_refused_and_holds_up_nobody(
    courier: Courier, capabilities: ChannelCapabilities
) -> None:
    assert capabilities.most_bytes is not None
    await _refuses(courier.channel, message(2, body=b"x" * capabilities.most_bytes))
    many = {f"h{number}": "x" * 1000 for number in range(capabilities.most_bytes // 1000 + 1)}
    await _refuses(courier.channel, message(4, body=b"small", headers=many))
    rest = [message(1), message(3)]
    await courier.channel.publish(rest)
    await _expect(courier, rest)


async def concurrent_publishers_lose_nothing_and_keep_each_keys_order(courier: Courier) -> None:
    second = courier.another()
    batches = []
    for publisher in range(8):
        numbers = range(publisher * 100, publisher * 100 + 60)
        batches.append([message(number, key=f"pi_{publisher}_{number % 3}") for number in numbers])

    async def publish(channel: Channel, batch: Sequence[Message]) -> None:
        for start in range(0, len(batch), 15):
            await channel.publish(batch[start : start + 15])

    try:
        channels = [courier.channel, second]
        await asyncio.gather(*(publish(channels[n % 2], batch) for n, batch in enumerate(batches)))
    finally:
        await close(second)
    await _expect(courier, [one for batch in batches for one in batch])


async def a_publish_that_is_cancelled_harms_no_other(courier: Courier) -> None:
    others = [message(number, key=f"pi_{number % 5}") for number in range(100)]
    given_up = asyncio.ensure_future(courier.channel.publish([message(n, key="x") for n in range(500, 600)]))
    going_on = asyncio.ensure_future(courier.channel.publish(others))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    await going_on
    await _expect(courier, others)


# A courier that goes away --------------------------------------------------------------------------------------------


async def a_courier_that_is_away_is_told_as_such_and_recovers(
    courier: Courier, capabilities: ChannelCapabilities
) -> None:
    before, after = [message(1)], [message(2), message(3)]
    await courier.channel.publish(before)
    await courier.cut()
    for _ in range(2):
        try:
            async with asyncio.timeout(capabilities.patience_seconds):
                await courier.channel.publish(after)
        except ChannelUnavailable:
            continue
        raise AssertionError("Publishing to a courier that is away must raise ChannelUnavailable.")
    await courier.heal()
    await persist(courier.channel, after, seconds=capabilities.patience_seconds)
    await _expect(courier, before + after)


async def a_courier_that_goes_away_in_between_costs_delay_alone(
    courier: Courier, capabilities: ChannelCapabilities
) -> None:
    sent = [message(number, key=f"pi_{number % 11}") for number in range(600)]

    async def relay() -> None:
        for start in range(0, len(sent), 30):
            await persist(courier.channel, sent[start : start + 30], seconds=capabilities.patience_seconds)
            await asyncio.sleep(0.002)

    relaying = asyncio.ensure_future(relay())
    for _ in range(3):
        await asyncio.sleep(0.015)
        await courier.cut()
        await asyncio.sleep(0.05)
        await courier.heal()
    await relaying
    await _expect(courier, sent)


# Durable consumers ---------------------------------------------------------------------------------------------------


async def a_consumer_hears_what_was_published_before_it_came(courier: Courier) -> None:
    sent = [message(number, key=f"pi_{number % 3}") for number in range(20)]
    await courier.channel.publish(sent)
    late = courier.consumer("late")
    try:
        heard = await hear(late, 20)
    finally:
        await late.close()
    assert_in_order(heard, sent)


async def a_consumer_goes_on_where_its_name_left_off(courier: Courier) -> None:
    sent = [message(number) for number in range(10)]
    await courier.channel.publish(sent[:6])
    first = courier.consumer("accounts")
    heard = await hear(first, 4)
    await first.close()
    await courier.channel.publish(sent[6:])
    second, other = courier.consumer("accounts"), courier.consumer("shipping")
    try:
        heard += await hear(second, 6)
        # What the first one had fetched and not acknowledged comes again, and then nobody promises its place.
        _equal(sorted(one.id for one in heard), sorted(one.id for one in sent))
        _equal([one.id for one in await hear(other, 10)], [one.id for one in sent])
    finally:
        await second.close()
        await other.close()


async def what_is_not_acknowledged_comes_again(courier: Courier) -> None:
    await courier.channel.publish([message(1)])
    consumer = courier.consumer("forgetful", ack_wait_seconds=0.5)
    try:
        first = await consumer.next(seconds=10)
        assert first is not None, "What was published must come."
        _equal(first.attempt, 1)
        again = await consumer.next(seconds=10)
        assert again is not None, "What was not acknowledged must come again."
        _equal((again.message, again.attempt), (message(1), 2))
        await again.ack()
        assert await consumer.next(seconds=1.2) is None, "What was acknowledged must not come again."
    finally:
        await consumer.close()


async def what_is_given_back_comes_again(courier: Courier) -> None:
    await courier.channel.publish([message(1)])
    consumer = courier.consumer("busy")
    try:
        first = await consumer.next(seconds=10)
        assert first is not None
        await first.nak(delay_seconds=0.1)
        again = await consumer.next(seconds=10)
        assert again is not None, "What was given back must come again, soon."
        _equal(again.attempt, 2)
        await again.ack()
    finally:
        await consumer.close()


async def a_selector_narrows_what_a_consumer_hears(courier: Courier) -> None:
    sent = [message(n, headers={"id": f"ch_{n % 2}", "created": str(1000 + n)}) for n in range(10)]
    await courier.channel.publish(sent)
    by_id = courier.consumer("one", selector=Compare("id", "=", "ch_1"))
    by_time = courier.consumer("two", selector=Compare("created", ">=", 1007))
    try:
        _equal([one.id for one in await hear(by_id, 5)], [f"evt_{n}" for n in (1, 3, 5, 7, 9)])
        _equal([one.id for one in await hear(by_time, 3)], ["evt_7", "evt_8", "evt_9"])
    finally:
        await by_id.close()
        await by_time.close()


async def consumers_of_one_name_share_the_messages(courier: Courier) -> None:
    sent = [message(number) for number in range(40)]
    workers = [courier.consumer("shared"), courier.consumer("shared")]
    heard: list[str] = []

    async def work(worker: Listener) -> None:
        while (found := await worker.next(seconds=1.5)) is not None:
            heard.append(found.message.id)
            await found.ack()

    try:
        working = asyncio.gather(*(work(worker) for worker in workers))
        await courier.channel.publish(sent)
        await working
    finally:
        for worker in workers:
            await worker.close()
    _equal(sorted(heard), sorted(one.id for one in sent))


async def a_consumer_outlives_its_courier(courier: Courier, capabilities: ChannelCapabilities) -> None:
    sent = [message(number) for number in range(20)]
    consumer = courier.consumer("steady", ack_wait_seconds=2)
    try:
        await courier.channel.publish(sent[:10])
        heard = await hear(consumer, 5)
        await courier.cut()
        await asyncio.sleep(0.1)
        await courier.heal()
        await persist(courier.channel, sent[10:], seconds=capabilities.patience_seconds)
        ids = {one.id for one in heard}
        async with asyncio.timeout(capabilities.patience_seconds):
            while len(ids) < len(sent):
                ids.update(one.id for one in await hear(consumer, 1))
    finally:
        await consumer.close()


# What the laws and other tests share ---------------------------------------------------------------------------------


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
        _equal(got.get(key, []), wanted[key], f"of the key {key!r}")


def _by_key(messages: Iterable[Message]) -> dict[str, list[str]]:
    keyed: defaultdict[str, list[str]] = defaultdict(list)
    for one in messages:
        keyed[one.key].append(one.id)
    return keyed


async def _expect(courier: Courier, published: Sequence[Message]) -> None:
    assert_in_order(await courier.received(), published)


async def _refuses(channel: Channel, one: Message) -> None:
    try:
        await channel.publish([one])
    except MessageRefused as error:
        _equal(error.message_id, one.id, "as the id of what was refused")
    else:
        raise AssertionError(f"{one!r} must be refused.")


def _equal(got: object, wanted: object, what: str = "") -> None:
    if got != wanted:
        raise AssertionError(f"Heard {what} {got!r}\nand not {wanted!r}")


def _named(
    law: Callable[[Courier, ChannelCapabilities], Awaitable[None]], capabilities: ChannelCapabilities
) -> Law:
    async def bound(courier: Courier) -> None:
        await law(courier, capabilities)

    bound.__name__ = law.__name__
    return bound
