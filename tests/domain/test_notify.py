"""Nothing recorded goes unsaid, late subscribers miss nothing, and nobody sees what is not theirs (promises 6-8)."""

import asyncio
import json
import pickle
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillport.adapters.memory.channel import MemoryChannel
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.cursors import MemoryCursors
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.domain.notify import (
    SHOWN,
    Heard,
    Reset,
    follow,
    message_of,
    projection,
    relay_once,
)
from tillport.ports.channel import ChannelUnavailable
from tillport.ports.client_secret import without_client_secret
from tillport.ports.cursors import LeaseLost
from tillport.ports.event_log import Event, RecordedEvent
from tillport.ports.selector import Compare

MakeEvent = Callable[..., Event]


def test_readers_of_one_event_look_for_its_client_secret_once(make_event: MakeEvent) -> None:
    event = make_event("evt_1", client_secret="pi_1_secret_2")
    told = message_of(event).body
    assert json.loads(told)["data"]["object"]["client_secret"] is None
    assert message_of(event).body is told
    again = msgspec.structs.replace(event, body=b'{"client_secret": "of another body"}')
    assert message_of(again).body == b'{"client_secret":null}'
    assert "secret" not in repr(event)
    assert pickle.loads(pickle.dumps(event)) == event == make_event("evt_1", client_secret="pi_1_secret_2")


def test_a_projection_shows_what_became_of_the_money_and_nothing_of_who_paid(make_event: MakeEvent) -> None:
    event = make_event(
        "evt_1", amount=1250, currency="usd", billing_details={"email": "jenny@example.com"}, client_secret="s",
        payment_method_details={"card": {"last4": "4242"}}, metadata={"order": "7"}, receipt_email="jenny@example.com",
        tomorrow="a field that Stripe adds next year", payment_intent={"id": "pi_1", "client_secret": "s"},
    )  # fmt: skip
    shown = json.loads(projection(event))
    assert shown["data"] == {
        "id": "ch_1", "object": "charge", "payment_intent": "pi_1", "status": "succeeded", "amount": 1250, "currency": "usd",
    }  # fmt: skip
    assert set(shown["data"]) <= SHOWN
    assert shown["id"] == "evt_1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "client_secret", "b"]), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


def secrets_in(value: object) -> list[object]:
    if isinstance(value, dict):
        here = [value["client_secret"]] if value.get("client_secret") is not None else []
        return here + [found for inner in value.values() for found in secrets_in(inner)]
    if isinstance(value, list):
        return [found for inner in value for found in secrets_in(inner)]
    return []


@given(JSON, st.booleans())
def test_no_client_secret_survives_however_deep_and_however_spelt(value: object, escaped: bool) -> None:
    body = json.dumps(value)
    if escaped:
        body = body.replace("client_secret", "client\\u005fsecret")
    cleaned = without_client_secret(body.encode())
    assert secrets_in(json.loads(cleaned)) == []
    if not secrets_in(value):
        assert cleaned == body.encode()


def test_what_does_not_decode_here_is_told_all_the_same_and_without_its_secret(make_event: MakeEvent) -> None:
    body = b'{"client_secret" : "pi_1_\\"secret", "n": ' + b"9" * 5_000 + b"}"
    assert without_client_secret(body) == b'{"client_secret" : null, "n": ' + b"9" * 5_000 + b"}"


def test_a_message_carries_what_the_seeds_selector_asks_for(make_event: MakeEvent) -> None:
    message = message_of(make_event("evt_1", charge="ch_9", intent="pi_9"))
    assert (message.id, message.key, message.headers["id"], message.headers["type"]) == (
        "evt_1", "pi_9", "ch_9", "charge.succeeded",
    )  # fmt: skip


class Relay:
    """A relay with everything it needs, in memory."""

    def __init__(self) -> None:
        self.log = MemoryEventLog()
        self.channel = MemoryChannel(ManualClock())
        self.cursors = MemoryCursors()

    async def turn(self, owner: str = "one", batch_size: int = 3) -> bool:
        position = await self.cursors.claim("relay", owner=owner, now=0.0, until=10.0)
        assert position is not None
        relayed = await relay_once(
            self.log,
            self.channel,
            self.cursors,
            name="relay",
            owner=owner,
            position=position,
            batch_size=batch_size,
        )
        return relayed.more

    @property
    def said(self) -> list[str]:
        return [message.id for message in self.channel.messages]


async def test_everything_recorded_is_published_in_log_order(make_event: MakeEvent) -> None:
    relay = Relay()
    await relay.log.record([make_event(f"evt_{n}") for n in range(8)])
    while await relay.turn():
        pass
    assert relay.said == [f"evt_{n}" for n in range(8)]
    assert await relay.turn() is False
    assert len(relay.said) == 8


@given(st.lists(st.integers(0, 4), max_size=6))
def test_a_channel_that_breaks_in_mid_batch_costs_only_delay(breaks: list[int]) -> None:
    async def story() -> None:
        relay = Relay()
        make = make_event_plain()
        await relay.log.record([make(f"evt_{n}") for n in range(10)])
        for after in breaks:
            relay.channel.breaks_after = after
            try:
                await relay.turn()
            except ChannelUnavailable:
                relay.channel.available = True
        relay.channel.breaks_after = None
        while await relay.turn():
            pass
        assert relay.said == [f"evt_{n}" for n in range(10)]

    asyncio.run(story())


def make_event_plain() -> Callable[[str], Event]:
    def make(name: str) -> Event:
        return Event(
            id=name, type="a.b", transaction_id="ch_1", payment_key="pi_1", aliases=("ch_1",), created=1, received_at=1.0,
            livemode=False, body=b'{"data":{"object":{}}}',
        )  # fmt: skip

    return make


async def test_a_message_that_can_never_be_sent_holds_up_nobody(make_event: MakeEvent) -> None:
    relay = Relay()
    relay.channel.most_bytes = 2_000
    await relay.log.record(
        [make_event("evt_0"), make_event("evt_fat", description="x" * 5_000), make_event("evt_1")]
    )
    position = await relay.cursors.claim("relay", owner="one", now=0.0, until=10.0)
    relayed = await relay_once(
        relay.log, relay.channel, relay.cursors, name="relay", owner="one", position=position or 0
    )
    assert relayed.refused == ("evt_fat",)
    assert relay.said == ["evt_0", "evt_1"]


async def test_a_relay_that_was_replaced_does_not_move_the_cursor(make_event: MakeEvent) -> None:
    relay = Relay()
    await relay.log.record([make_event("evt_0")])
    position = await relay.cursors.claim("relay", owner="slow", now=0.0, until=1.0)
    await relay.cursors.claim("relay", owner="quick", now=2.0, until=9.0)
    with pytest.raises(LeaseLost):
        await relay_once(
            relay.log, relay.channel, relay.cursors, name="relay", owner="slow", position=position or 0
        )


# Subscriptions -------------------------------------------------------------------------------------------------------


class Desk:
    """A log with a doorbell and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = MemoryEventLog()
        self.bell = LocalDoorbell(self.clock)

    def follow(
        self, *, selector: Compare | None = None, after: int = 0, page_size: int = 2
    ) -> AsyncIterator[Heard]:
        return follow(self.log, self.bell, self.clock, where=selector, after=after, page_size=page_size)


async def take(stream: AsyncIterator[Heard], count: int) -> list[str]:
    heard = [await asyncio.wait_for(anext(stream), 5) for _ in range(count)]
    return [item.event.id if isinstance(item, RecordedEvent) else type(item).__name__ for item in heard]


async def test_a_late_subscriber_hears_what_it_missed_and_then_what_comes(make_event: MakeEvent) -> None:
    desk = Desk()
    await desk.log.record([make_event(f"evt_{n}") for n in range(5)])
    stream = desk.follow(selector=Compare("id", "=", "ch_1"))
    assert await take(stream, 5) == [f"evt_{n}" for n in range(5)]
    waiting = asyncio.ensure_future(take(stream, 1))
    await asyncio.sleep(0)
    await desk.log.record([make_event("evt_new")])
    desk.bell.ring()
    assert await waiting == ["evt_new"]


async def test_nobody_hears_of_another_payment(make_event: MakeEvent) -> None:
    desk = Desk()
    await desk.log.record([make_event("evt_theirs", charge="ch_2", intent="pi_2"), make_event("evt_mine")])
    assert await take(desk.follow(selector=Compare("id", "=", "pi_1")), 1) == ["evt_mine"]


async def test_a_lost_ring_costs_delay_and_nothing_else(make_event: MakeEvent) -> None:
    desk = Desk()
    stream = desk.follow()
    waiting = asyncio.ensure_future(take(stream, 1))
    await asyncio.sleep(0)
    await desk.log.record([make_event("evt_0")])  # and nobody rings
    while not waiting.done():
        desk.clock.advance(1.0)
        await asyncio.sleep(0)
    assert await waiting == ["evt_0"]


async def test_silence_is_told_so_that_a_connection_can_be_kept_alive() -> None:
    desk = Desk()
    waiting = asyncio.ensure_future(take(desk.follow(), 1))
    started = desk.clock.now()
    while not waiting.done():
        desk.clock.advance(1.0)
        for _ in range(10):  # let everyone who woke go back to sleep before time moves on
            await asyncio.sleep(0)
    assert await waiting == ["Idle"]
    assert 15 <= desk.clock.now() - started <= 18


async def test_a_clock_that_is_set_back_does_not_silence_a_quiet_stream() -> None:
    desk = Desk()
    waiting = asyncio.ensure_future(take(desk.follow(), 1))
    for _ in range(10):
        await asyncio.sleep(0)
    desk.clock.set(desk.clock.now() - 3600)
    for _ in range(30):
        desk.clock.advance(1.0)
        desk.bell.ring()  # a real clock's waiting is not ended by a moment, but by time
        for _ in range(10):
            await asyncio.sleep(0)
    assert waiting.done()
    assert await waiting == ["Idle"]


async def test_a_subscriber_behind_the_horizon_is_told_so(make_event: MakeEvent) -> None:
    desk = Desk()
    await desk.log.record([make_event(f"evt_{n}") for n in range(3)])
    await desk.log.forget(received_before=2e9, up_to=2, now=2e9)
    stream = desk.follow(after=1)
    told = await anext(stream)
    assert told == Reset(2)
    assert await take(stream, 1) == ["evt_2"]
    assert await take(desk.follow(after=told.position), 1) == ["evt_2"]


@given(st.lists(st.sampled_from(["record", "ring", "read", "reconnect"]), max_size=25), st.integers(1, 3))
def test_however_reading_and_recording_interleave_there_is_no_gap_and_no_repeat(
    steps: list[str], page_size: int
) -> None:
    async def story() -> None:
        desk = Desk()
        make = make_event_plain()
        recorded: list[str] = []
        heard: list[str] = []
        position = 0
        stream = desk.follow(page_size=page_size)
        for step in [*steps, *["read"] * 30]:
            if step == "record":
                recorded.append(f"evt_{len(recorded)}")
                await desk.log.record([make(recorded[-1])])
            elif step == "ring":
                desk.bell.ring()
            elif step == "reconnect":  # as a browser does: from the last position that it was told
                stream = desk.follow(after=position, page_size=page_size)
            elif len(heard) < len(recorded):
                item = asyncio.ensure_future(anext(stream))
                while not item.done():
                    desk.clock.advance(1.0)
                    await asyncio.sleep(0)
                found = item.result()
                if isinstance(found, RecordedEvent):
                    heard.append(found.event.id)
                    position = found.position
        assert heard == recorded

    asyncio.run(story())
