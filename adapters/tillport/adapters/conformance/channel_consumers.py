"""The laws of durable consumers: what a courier that has them delivers, to whom, and again."""

import asyncio

from tillport.adapters.conformance.couriers import (
    Courier,
    Listener,
    assert_in_order,
    expect_equal,
    hear,
    message,
    persist,
)
from tillport.ports.selector import Compare


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
        expect_equal(sorted(one.id for one in heard), sorted(one.id for one in sent))
        expect_equal([one.id for one in await hear(other, 10)], [one.id for one in sent])
    finally:
        await second.close()
        await other.close()


async def what_is_not_acknowledged_comes_again(courier: Courier) -> None:
    await courier.channel.publish([message(1)])
    consumer = courier.consumer("forgetful", ack_wait_seconds=0.5)
    try:
        first = await consumer.next(seconds=10)
        assert first is not None, "What was published must come."
        expect_equal(first.attempt, 1)
        again = await consumer.next(seconds=10)
        assert again is not None, "What was not acknowledged must come again."
        expect_equal((again.message, again.attempt), (message(1), 2))
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
        expect_equal(again.attempt, 2)
        await again.ack()
    finally:
        await consumer.close()


async def an_acknowledgement_is_for_one_message_alone(courier: Courier) -> None:
    await courier.channel.publish([message(1), message(2)])
    consumer = courier.consumer("picky", ack_wait_seconds=0.5)
    try:
        older, younger = await consumer.next(seconds=10), await consumer.next(seconds=10)
        assert older is not None
        assert younger is not None
        expect_equal((older.message, younger.message), (message(1), message(2)))
        await younger.ack()
        again = await consumer.next(seconds=10)
        assert again is not None, (
            "What is older than what was acknowledged is not done by that: it must come again."
        )
        expect_equal(again.message, message(1))
        await again.ack()
    finally:
        await consumer.close()


async def what_is_refused_comes_again_as_often_as_it_is_refused(courier: Courier) -> None:
    await courier.channel.publish([message(1)])
    consumer = courier.consumer("stubborn")
    try:
        for time in range(1, 8):
            found = await consumer.next(seconds=10)
            assert found is not None, f"What was refused {time - 1} times must still come."
            expect_equal((found.message, found.attempt), (message(1), time))
            await found.nak()
        expect_equal(await hear(consumer, 1), [message(1)])
    finally:
        await consumer.close()


async def what_was_in_hand_when_a_consumer_closed_comes_to_the_next(courier: Courier) -> None:
    await courier.channel.publish([message(1), message(2)])
    first = courier.consumer("accounts", ack_wait_seconds=1)
    try:
        assert await first.next(seconds=10) is not None
    finally:
        await first.close()
    second = courier.consumer("accounts", ack_wait_seconds=1)
    try:
        heard = await hear(second, 2)
    finally:
        await second.close()
    expect_equal(sorted(one.id for one in heard), ["evt_1", "evt_2"])


async def a_selector_narrows_what_a_consumer_hears(courier: Courier) -> None:
    sent = [message(n, headers={"id": f"ch_{n % 2}", "created": str(1000 + n)}) for n in range(10)]
    await courier.channel.publish(sent)
    by_id = courier.consumer("one", selector=Compare("id", "=", "ch_1"))
    by_time = courier.consumer("two", selector=Compare("created", ">=", 1007))
    try:
        expect_equal([one.id for one in await hear(by_id, 5)], [f"evt_{n}" for n in (1, 3, 5, 7, 9)])
        expect_equal([one.id for one in await hear(by_time, 3)], ["evt_7", "evt_8", "evt_9"])
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
    expect_equal(sorted(heard), sorted(one.id for one in sent))


async def a_consumer_outlives_its_courier(courier: Courier, *, patience_seconds: float) -> None:
    sent = [message(number) for number in range(20)]
    consumer = courier.consumer("steady", ack_wait_seconds=2)
    try:
        await courier.channel.publish(sent[:10])
        heard = await hear(consumer, 5)
        await courier.cut()
        await asyncio.sleep(0.1)
        await courier.heal()
        await persist(courier.channel, sent[10:], seconds=patience_seconds)
        ids = {one.id for one in heard}
        async with asyncio.timeout(patience_seconds):
            while len(ids) < len(sent):
                ids.update(one.id for one in await hear(consumer, 1))
    finally:
        await consumer.close()
