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
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import attrs
import msgspec

from tillport.adapters.conformance import channel_consumers
from tillport.adapters.conformance.couriers import (
    Courier,
    close,
    expect,
    expect_equal,
    expect_refusal,
    message,
    persist,
)
from tillport.adapters.conformance.samples import NEARLY_ALIKE
from tillport.ports.channel import Channel, ChannelUnavailable, Message

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


Law: TypeAlias = Callable[[Courier], Awaitable[None]]


def channel_laws(capabilities: ChannelCapabilities) -> list[Law]:
    """Return the laws that a channel with these capabilities must keep, each named for what it says."""
    laws: list[Law] = [
        a_message_arrives_as_it_was_published,
        publishing_nothing_does_nothing,
        messages_of_one_key_arrive_in_order,
        awkward_keys_are_carried_and_kept_apart,
        messages_with_nearly_the_same_id_are_different,
        a_batch_that_is_sent_again_loses_nothing_and_keeps_its_order,
        what_no_courier_carries_is_refused_by_name,
        concurrent_publishers_lose_nothing_and_keep_each_keys_order,
        a_publish_that_is_cancelled_harms_no_other,
    ]
    if capabilities.dedupes:
        laws.append(a_repeated_id_is_stored_once)
    if capabilities.most_bytes is not None:
        laws.append(
            _named(a_message_that_is_too_large_is_refused_and_holds_up_nobody, capabilities=capabilities)
        )
    if capabilities.can_be_cut:
        laws.append(_named(a_courier_that_is_away_is_told_as_such_and_recovers, capabilities=capabilities))
        laws.append(_named(a_courier_that_goes_away_in_between_costs_delay_alone, capabilities=capabilities))
    if capabilities.durable_consumers:
        laws += [
            channel_consumers.a_consumer_hears_what_was_published_before_it_came,
            channel_consumers.a_consumer_goes_on_where_its_name_left_off,
            channel_consumers.what_is_not_acknowledged_comes_again,
            channel_consumers.what_is_given_back_comes_again,
            channel_consumers.an_acknowledgement_is_for_one_message_alone,
            channel_consumers.what_is_refused_comes_again_as_often_as_it_is_refused,
            channel_consumers.what_was_in_hand_when_a_consumer_closed_comes_to_the_next,
            channel_consumers.a_selector_narrows_what_a_consumer_hears,
            channel_consumers.consumers_of_one_name_share_the_messages,
        ]
        if capabilities.can_be_cut:
            laws.append(
                _named(
                    channel_consumers.a_consumer_outlives_its_courier,
                    patience_seconds=capabilities.patience_seconds,
                )
            )
    return laws


# Publishing ----------------------------------------------------------------------------------------------------------


async def a_message_arrives_as_it_was_published(courier: Courier) -> None:
    sent = [
        message(1, body=b'{"id": "evt_1"}', headers={"id": "ch_1", "type": "charge.succeeded", "empty": ""}),
        message(2, body=b"", headers={}),
        message(3, body=bytes(range(256)) * 40, headers={"note": "a: b; schön € 𝄞"}),
    ]
    await courier.channel.publish(sent)
    expect_equal(list(await courier.received()), sent)


async def publishing_nothing_does_nothing(courier: Courier) -> None:
    await courier.channel.publish([])
    expect_equal(list(await courier.received()), [])


async def messages_of_one_key_arrive_in_order(courier: Courier) -> None:
    sent = [message(number, key=f"pi_{number % 7}") for number in range(210)]
    for start in range(0, len(sent), 70):
        await courier.channel.publish(sent[start : start + 70])
    await expect(courier, sent)


async def awkward_keys_are_carried_and_kept_apart(courier: Courier) -> None:
    sent = [
        message(number, key=key)
        for number, key in enumerate([key for key in AWKWARD_KEYS for _ in range(2)], start=1)
    ]
    await courier.channel.publish(sent)
    await expect(courier, sent)


async def messages_with_nearly_the_same_id_are_different(courier: Courier) -> None:
    """A message that is taken for a repetition of another is lost."""
    ids = [f"evt{end}" for family in NEARLY_ALIKE for end in family if not end.endswith(" ")]
    sent = [msgspec.structs.replace(message(0), id=one) for one in ids]
    await courier.channel.publish(sent)
    await expect(courier, sent)


async def a_batch_that_is_sent_again_loses_nothing_and_keeps_its_order(courier: Courier) -> None:
    sent = [message(number, key=f"pi_{number % 3}") for number in range(30)]
    await courier.channel.publish(sent[:17])
    await courier.channel.publish(sent[5:])
    await courier.channel.publish(sent)
    await expect(courier, sent)


async def a_repeated_id_is_stored_once(courier: Courier) -> None:
    first = message(1, body=b"first")
    await courier.channel.publish([first, message(1, body=b"second")])
    await courier.channel.publish([message(1, body=b"third"), message(2)])
    expect_equal(list(await courier.received()), [first, message(2)])


async def what_no_courier_carries_is_refused_by_name(courier: Courier) -> None:
    bad = [
        msgspec.structs.replace(message(1), id=""),
        msgspec.structs.replace(message(2), id="evt_2\r\n"),
        msgspec.structs.replace(message(3), key="\ud800"),
        message(4, headers={"two words": "x"}),
        message(5, headers={"": "x"}),
        message(6, headers={"type": "charge\r\nid: ch_other"}),
        message(7, headers={"type": " charge"}),
        message(8, headers={"näme": "x"}),
    ]
    for one in bad:
        await expect_refusal(courier.channel, one)
    await courier.channel.publish([message(9)])
    expect_equal([heard.id for heard in await courier.received() if heard.id == "evt_9"], ["evt_9"])


async def a_message_that_is_too_large_is_refused_and_holds_up_nobody(
    courier: Courier, *, capabilities: ChannelCapabilities
) -> None:
    assert capabilities.most_bytes is not None
    await expect_refusal(courier.channel, message(2, body=b"x" * capabilities.most_bytes))
    many = {f"h{number}": "x" * 1000 for number in range(capabilities.most_bytes // 1000 + 1)}
    await expect_refusal(courier.channel, message(4, body=b"small", headers=many))
    rest = [message(1), message(3)]
    await courier.channel.publish(rest)
    await expect(courier, rest)


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
    await expect(courier, [one for batch in batches for one in batch])


async def a_publish_that_is_cancelled_harms_no_other(courier: Courier) -> None:
    others = [message(number, key=f"pi_{number % 5}") for number in range(100)]
    given_up = asyncio.ensure_future(courier.channel.publish([message(n, key="x") for n in range(500, 600)]))
    going_on = asyncio.ensure_future(courier.channel.publish(others))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    await going_on
    await expect(courier, others)


# A courier that goes away --------------------------------------------------------------------------------------------


async def a_courier_that_is_away_is_told_as_such_and_recovers(
    courier: Courier, *, capabilities: ChannelCapabilities
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
    await expect(courier, before + after)


async def a_courier_that_goes_away_in_between_costs_delay_alone(
    courier: Courier, *, capabilities: ChannelCapabilities
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
    await expect(courier, sent)


def _named(law: Callable[..., Awaitable[None]], **given: object) -> Law:
    async def bound(courier: Courier) -> None:
        await law(courier, **given)

    bound.__name__ = law.__name__
    return bound
