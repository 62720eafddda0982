"""Negative controls for the laws of a courier: each broken courier breaks the laws that speak of it, by name."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from tillport.adapters.conformance.channel import ChannelCapabilities, channel_laws
from tillport.adapters.memory.channel import MemoryChannel, MemoryConsumer, MemoryDelivery
from tillport.adapters.memory.clock import ManualClock
from tillport.ports.channel import ChannelUnavailable, Message, MessageRefused
from tillport.ports.selector import Selector

LAWS = channel_laws(ChannelCapabilities(patience_seconds=1))


class Drops(MemoryChannel):
    """Says that it has what it lost."""

    async def publish(self, messages: Sequence[Message]) -> None:
        await super().publish([one for one in messages if not one.id.endswith("7")])


class OverlooksCase(MemoryChannel):
    """Takes ids for the same that differ in case alone."""

    async def publish(self, messages: Sequence[Message]) -> None:
        first = {one.id.lower(): one for one in reversed(messages)}
        await super().publish([one for one in messages if first[one.id.lower()] is one])


class OverlooksIds(MemoryChannel):
    """Takes messages for the same that say the same."""

    async def publish(self, messages: Sequence[Message]) -> None:
        first = {one.body: one for one in reversed(messages)}
        await super().publish([one for one in messages if first[one.body] is one])


class Turns(MemoryChannel):
    """Sends a batch back to front."""

    async def publish(self, messages: Sequence[Message]) -> None:
        await super().publish(messages[::-1])


class Mixes(MemoryChannel):
    """Takes keys for patterns: what follows a dot is lost."""

    async def publish(self, messages: Sequence[Message]) -> None:
        await super().publish([msgspec.structs.replace(one, key=one.key.split(".")[0]) for one in messages])


class Pretends(MemoryChannel):
    """Succeeds while nobody is there, as publishing to NATS does without naming a stream."""

    async def publish(self, messages: Sequence[Message]) -> None:
        if self.available:
            await super().publish(messages)


class SkipsAfterFailure(MemoryChannel):
    """Takes what follows a message that failed, so that the retry comes behind it."""

    failed_once = False

    async def publish(self, messages: Sequence[Message]) -> None:
        if len(messages) > 2 and not self.failed_once:
            self.failed_once = True
            await super().publish(messages[1:])
            raise ChannelUnavailable("The first one failed.")
        await super().publish(messages)


class Tells(MemoryChannel):
    """Blames the wrong message."""

    async def publish(self, messages: Sequence[Message]) -> None:
        try:
            await super().publish(messages)
        except MessageRefused as error:
            raise MessageRefused(error.message, message_id="evt_other") from error


class Shortens(MemoryChannel):
    """Trims header values, as nats-py does."""

    async def publish(self, messages: Sequence[Message]) -> None:
        await super().publish(
            [
                msgspec.structs.replace(
                    one, headers={n: v.split("\r\n")[0].strip() for n, v in one.headers.items()}
                )
                for one in messages
            ]
        )


class Hurried(ManualClock):
    """A clock that jumps to the next moment that somebody waits for."""

    async def sleep_until(self, moment: float) -> None:
        await asyncio.sleep(0)
        if moment > self.now():
            self.set(moment)


class Broken:
    def __init__(self, kind: type[MemoryChannel], **options: float) -> None:
        self.channel = kind(Hurried(), **options)  # type: ignore[arg-type]  # a window, and nothing else

    def another(self) -> MemoryChannel:
        return self.channel

    async def received(self) -> Sequence[Message]:
        return self.channel.messages

    async def cut(self) -> None:
        self.channel.available = False

    async def heal(self) -> None:
        self.channel.available = True

    def consumer(
        self, name: str, *, selector: Selector | None = None, ack_wait_seconds: float = 30.0
    ) -> MemoryConsumer:
        return self.channel.consumer(name, selector=selector, ack_wait_seconds=ack_wait_seconds)


class ForgetsNames(Broken):
    def consumer(
        self, name: str, *, selector: Selector | None = None, ack_wait_seconds: float = 30.0
    ) -> MemoryConsumer:
        return super().consumer(
            f"{name}{id(object())}{len(self.channel.messages)}", ack_wait_seconds=ack_wait_seconds
        )


class Listens:
    """A consumer that is as it should be."""

    def __init__(self, inner: MemoryConsumer) -> None:
        self.inner = inner
        self.open: list[MemoryDelivery] = []

    async def next(self, *, seconds: float) -> MemoryDelivery | None:
        found = await self.inner.next(seconds=seconds)
        if found is not None:
            self.open.append(found)
        return found

    async def close(self) -> None:
        await self.inner.close()


class TakesAllForDone(Listens):
    """Acknowledges what is older too, as NATS does with AckPolicy.ALL: whoever asks for more has done the rest."""

    async def next(self, *, seconds: float) -> MemoryDelivery | None:
        for one in self.open[:-1]:
            await one.ack()
        return await super().next(seconds=seconds)


class GivesUp(Listens):
    """Delivers twice and no more, as NATS does with max_deliver=2."""

    async def next(self, *, seconds: float) -> MemoryDelivery | None:
        while (found := await super().next(seconds=seconds)) is not None and found.attempt > 2:
            await found.ack()
        return found


class LosesWhatIsInHand(Listens):
    """Takes everything that it handed out for done when it closes."""

    async def close(self) -> None:
        for one in self.open:
            await one.ack()
        await super().close()


class Listening(Broken):
    def __init__(self, kind: type[MemoryChannel], listener: type[Listens]) -> None:
        super().__init__(kind)
        self.listener = listener

    def consumer(  # type: ignore[override]  # around the one that it would return
        self, name: str, *, selector: Selector | None = None, ack_wait_seconds: float = 30.0
    ) -> Listens:
        return self.listener(super().consumer(name, selector=selector, ack_wait_seconds=ack_wait_seconds))


async def broken_laws(courier_of: type[Broken], *given: object, **options: float) -> set[str]:
    broken = set()
    for law in LAWS:
        try:
            async with asyncio.timeout(30):
                await law(courier_of(*given, **options))  # type: ignore[arg-type]  # the class of the channel
        except (AssertionError, ChannelUnavailable, TimeoutError):
            broken.add(law.__name__)
    return broken


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Drops, "messages_of_one_key_arrive_in_order"),
        (Turns, "messages_of_one_key_arrive_in_order"),
        (Mixes, "awkward_keys_are_carried_and_kept_apart"),
        (OverlooksCase, "messages_with_nearly_the_same_id_are_different"),
        (OverlooksIds, "messages_with_nearly_the_same_id_are_different"),
        (Pretends, "a_courier_that_is_away_is_told_as_such_and_recovers"),
        (SkipsAfterFailure, "a_courier_that_goes_away_in_between_costs_delay_alone"),
        (Tells, "what_no_courier_carries_is_refused_by_name"),
        (Tells, "a_message_that_is_too_large_is_refused_and_holds_up_nobody"),
        (Shortens, "what_no_courier_carries_is_refused_by_name"),
    ],
)
async def test_a_broken_channel_is_caught(kind: type[MemoryChannel], law: str) -> None:
    assert law in await broken_laws(Broken, kind)


async def test_a_courier_that_does_not_dedupe_is_caught_only_if_it_claims_to() -> None:
    assert "a_repeated_id_is_stored_once" in await broken_laws(
        Broken, MemoryChannel, duplicate_window_seconds=0
    )
    honest = {law.__name__ for law in channel_laws(ChannelCapabilities(dedupes=False))}
    assert "a_repeated_id_is_stored_once" not in honest


async def test_a_courier_that_forgets_names_and_selectors_is_caught() -> None:
    assert {
        "a_consumer_goes_on_where_its_name_left_off",
        "a_selector_narrows_what_a_consumer_hears",
    } <= await broken_laws(ForgetsNames, MemoryChannel)


@pytest.mark.parametrize(
    ("listener", "law"),
    [
        (TakesAllForDone, "an_acknowledgement_is_for_one_message_alone"),
        (GivesUp, "what_is_refused_comes_again_as_often_as_it_is_refused"),
        (LosesWhatIsInHand, "what_was_in_hand_when_a_consumer_closed_comes_to_the_next"),
    ],
)
async def test_a_broken_consumer_is_caught(listener: type[Listens], law: str) -> None:
    assert law in await broken_laws(Listening, MemoryChannel, listener)
    assert await broken_laws(Listening, MemoryChannel, Listens) == set()


async def test_the_whole_courier_breaks_no_law() -> None:
    assert await broken_laws(Broken, MemoryChannel) == set()
