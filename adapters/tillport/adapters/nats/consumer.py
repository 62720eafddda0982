"""Durable consumers, for services that want to hear what became of the payments.

JetStream remembers for each consumer *name* how far it has come, and sends again what was not acknowledged in time.
So a consumer hears everything at least once and must drop repetitions by the event's id. Doing that for good takes a
unique event id in the consumer's own database, written in the transaction of the effect, *before* the
acknowledgement (docs/how-to/consume-from-nats.md shows it). What this class drops by itself (`remember`) is only what
the same process has just acknowledged.

Messages are pulled, and handed out as they arrive. (nats-py's `fetch(n)` waits for n messages or for its timeout once
the first of them has come: a single event would lie there for seconds.)
"""

import asyncio
import contextlib
import json
import secrets
from collections import OrderedDict, deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import attrs
import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from tillport.adapters.nats.link import Access, Link, open_link
from tillport.adapters.nats.stream import StreamSettings
from tillport.adapters.nats.subjects import token_of
from tillport.adapters.nats.wire import incoming
from tillport.ports.channel import ChannelUnavailable, Message, selects
from tillport.ports.errors import TillportError
from tillport.ports.selector import Selector

_HEARTBEAT_SECONDS = 2.0
_EXPIRES_SECONDS = 30.0
_CONSUMER_CREATE_FAILED = 10012
"""JetStream's code for settings that an existing consumer can't be given; it comes as a server error (500)."""
_ACK, _NAK, _STILL_AT_WORK = b"+ACK", b"-NAK", b"+WPI"


class ConsumerUnfit(TillportError):
    """A consumer of that name exists and can't be given the wanted settings."""

    code = "consumer_unfit"


@attrs.define(eq=False)
class _Recently:
    """The ids that this process acknowledged last."""

    most: int
    ids: OrderedDict[str, None] = attrs.field(factory=OrderedDict)

    def add(self, message_id: str) -> None:
        if not message_id:
            return  # somebody else's message, without an id: the next one without an id is another message
        self.ids[message_id] = None
        if len(self.ids) > self.most:
            self.ids.popitem(last=False)


@attrs.define(eq=False)
class Delivery:
    """A message that was handed to us. `attempt` is 1 the first time."""

    message: Message
    attempt: int
    _reply: str = attrs.field(repr=False)
    _pull: "_Pull" = attrs.field(repr=False)
    _recently: _Recently = attrs.field(repr=False)

    async def ack(self) -> None:
        """Say that the effect is durable. A word that is lost on the way costs a repetition and no error."""
        self._recently.add(self.message.id)
        await self._pull.answer(self._reply, _ACK)

    async def nak(self, *, delay_seconds: float = 0.0) -> None:
        """Ask for the message again, after a while. Others are delivered meanwhile, of the same payment too."""
        how = b" " + json.dumps({"delay": int(delay_seconds * 1e9)}).encode() if delay_seconds > 0 else b""
        await self._pull.answer(self._reply, _NAK + how)


@attrs.define(eq=False)
class _Pull:
    """One connection's worth of pulling. `due` is what the server may still send on the present request."""

    link: Link
    inbox: str
    subject: str
    batch: int
    ack_wait_seconds: float
    due: int = 0
    extended_at: float = 0.0
    trouble: str | None = None
    waiting: deque[tuple[float, Msg]] = attrs.field(factory=deque)
    handed_out: set[str] = attrs.field(factory=set)
    stirred: asyncio.Event = attrs.field(factory=asyncio.Event)
    subscription: Subscription | None = None
    watcher: asyncio.Task[None] | None = None

    async def arrived(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status") if not message.data else None
        if status is None:
            self.due -= 1
            self.waiting.append((_now(), message))
        elif status in {"404", "408"}:
            self.due = 0  # the request has run out
        elif status != "100":  # 100 is the heartbeat
            self.trouble = (message.headers or {}).get("Description") or status
        self.stirred.set()

    async def watch(self) -> None:
        await self.link.gone.wait()
        self.stirred.set()

    async def next(self) -> Msg:
        """Return the next message whose time has not run out. Raises `ChannelUnavailable`."""
        while True:
            await self._keep()
            if self.waiting:
                message = self.waiting.popleft()[1]
                self.handed_out.add(message.reply)
                return message
            if self.trouble is not None or not self.link.alive:
                raise ChannelUnavailable(
                    f"NATS stopped delivering: {self.trouble or 'the connection broke'}."
                )
            self.stirred.clear()
            if self.due <= 0:
                await self._ask()
            async with asyncio.timeout(_HEARTBEAT_SECONDS * 2.5):
                await self.stirred.wait()

    async def _ask(self) -> None:
        self.due = self.batch
        request = {
            "batch": self.batch,
            "expires": int(_EXPIRES_SECONDS * 1e9),
            "idle_heartbeat": int(_HEARTBEAT_SECONDS * 1e9),
        }
        await self.link.client.publish(self.subject, json.dumps(request).encode(), self.inbox)

    async def _keep(self) -> None:
        """Drop what the server will send again by now, and ask for time for the rest of what waits here."""
        now = _now()
        while self.waiting and now - self.waiting[0][0] > self.ack_wait_seconds * 0.9:
            self.waiting.popleft()
        if self.waiting and now - self.extended_at > self.ack_wait_seconds / 3:
            self.extended_at = now
            kept = [message for _, message in self.waiting]
            self.waiting.clear()
            self.waiting.extend((now, message) for message in kept)
            for message in kept:
                await self._tell(message.reply, _STILL_AT_WORK)

    async def answer(self, reply: str, word: bytes) -> None:
        """Tell the server what became of a message. If the word is lost, the message comes again."""
        self.handed_out.discard(reply)
        await self._tell(reply, word)

    async def _tell(self, reply: str, word: bytes) -> None:
        with contextlib.suppress(nats.errors.Error, OSError):
            await self.link.client.publish(reply, word)

    async def _stop_asking(self) -> None:
        # Before anything is given back: the server would send it here again, on the request that is still open.
        # What is on its way already is waited for: it could not be given back else, and would come again late.
        if self.subscription is not None:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await self.subscription.drain()  # type: ignore[no-untyped-call] # nats-py's own gap

    async def close(self, *, give_back: bool) -> None:
        """Disconnect. If wanted, give back what is not done first, so that nobody waits for its time to run out."""
        if give_back and self.link.alive:
            await self._stop_asking()
            for reply in [*sorted(self.handed_out), *(message.reply for _, message in self.waiting)]:
                await self._tell(reply, _NAK)
        await self.link.close(flush=give_back)
        if self.watcher is not None:
            await asyncio.wait([self.watcher])


def _now() -> float:
    return asyncio.get_running_loop().time()


class NatsConsumer:
    """Hear every event from where the consumer of this name left off, starting with the oldest that NATS holds.

    Several processes with one name share the work. Only what is published below the prefix of `stream` is heard, also
    from a stream that others publish to. `keys` (payment keys) narrows what the server sends, `selector` what is
    handed out. Iterate over it for ever, or take one at a time with `next`; both reconnect by themselves
    every `retry_seconds` and wait for a stream that does not exist yet.

    `ack_wait_seconds` is how long a handler may take before its message is sent again. Messages of one payment come
    in order; those that are sent again (a crash, a restart, `nak`) come in any order and behind younger ones, unless
    `most_unacknowledged` is 1, which costs a round trip for each message. Raises `ConsumerUnfit`.

        async with NatsConsumer(access, name="invoices") as consumer:
            async for delivery in consumer:
                write_invoice_once(delivery.message)
                await delivery.ack()
    """

    def __init__(
        self,
        access: Access,
        *,
        name: str,
        stream: StreamSettings | None = None,
        keys: Sequence[str] = (),
        selector: Selector | None = None,
        batch: int = 100,
        ack_wait_seconds: float = 30.0,
        most_unacknowledged: int = 1000,
        retry_seconds: float = 0.5,
        remember: int = 10_000,
    ) -> None:
        if not name or not all(c.isascii() and (c.isalnum() or c in "_-") for c in name):
            raise ValueError("A consumer's name is made of letters, digits, '_' and '-'.")
        if min(batch, most_unacknowledged) < 1 or ack_wait_seconds <= 0 or retry_seconds <= 0:
            raise ValueError("Sizes and times must be positive.")
        self._access = access
        self._name = name
        self._stream = stream or StreamSettings()
        self._keys = tuple(keys)
        self._selector = selector
        self._batch = min(batch, most_unacknowledged)
        self._ack_wait_seconds = ack_wait_seconds
        self._most_unacknowledged = most_unacknowledged
        self._retry_seconds = retry_seconds
        self._recently = _Recently(remember)
        self._pull: _Pull | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        while not self._closed:
            try:
                found = await self._next()
            except (ChannelUnavailable, TimeoutError, OSError, nats.errors.Error):
                await self._drop(give_back=False)
                await asyncio.sleep(self._retry_seconds)
                continue
            if found is not None:
                return found
        raise StopAsyncIteration

    async def next(self, *, seconds: float) -> Delivery | None:
        """Return the next message, or None if none came within that time. Nothing is lost by giving up."""
        try:
            async with asyncio.timeout(seconds):
                return await anext(self)
        except (TimeoutError, StopAsyncIteration):
            return None

    async def close(self) -> None:
        """Close the connection and give back what was not acknowledged. May be called twice."""
        self._closed = True
        await self._drop(give_back=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _next(self) -> Delivery | None:
        if self._pull is None:
            self._pull = await self._open()
        pull = self._pull
        raw = await pull.next()
        if not self._stream.holds(raw.subject):
            # A consumer of this name heard the whole stream once and did not acknowledge this: it comes again, filter
            # or not.
            await pull.answer(raw.reply, _ACK)
            return None
        delivery = Delivery(
            incoming(raw.subject, raw.headers, raw.data),
            int(raw.metadata.num_delivered or 1),
            raw.reply,
            pull,
            self._recently,
        )
        repeated = delivery.message.id in self._recently.ids
        if repeated or not selects(self._selector, delivery.message):
            await delivery.ack()
            return None
        return delivery

    async def _drop(self, *, give_back: bool) -> None:
        if self._pull is not None:
            pull, self._pull = self._pull, None
            await pull.close(give_back=give_back)

    async def _open(self) -> _Pull:
        link = await open_link(self._access)
        try:
            seconds = self._access.connect_seconds
            jetstream = link.client.jetstream(timeout=seconds)
            try:
                await link.ask(jetstream.add_consumer(self._stream.name, self._config()), seconds=seconds)
            except nats.js.errors.APIError as error:
                if error.code != 400 and error.err_code != _CONSUMER_CREATE_FAILED:
                    raise
                raise ConsumerUnfit(
                    f"NATS refuses the consumer {self._name!r}: {error.description}.",
                    remedy="Choose another name, or delete the old consumer (`nats consumer rm`).",
                ) from error
            inbox = f"_INBOX.{secrets.token_hex(12)}"
            next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream.name}.{self._name}"
            pull = _Pull(link, inbox, next_subject, self._batch, self._ack_wait_seconds)
            pull.extended_at = _now()
            pull.subscription = await link.client.subscribe(inbox, cb=pull.arrived)
        except BaseException:
            await link.close()
            raise
        pull.watcher = asyncio.get_running_loop().create_task(pull.watch())
        return pull

    def _config(self) -> ConsumerConfig:
        # Without keys a filter too: a stream may be shared, and what others publish to it is none of our payments.
        # A consumer that an older version made without one is given it here, and keeps its place.
        subjects = [f"{self._stream.prefix}.{token_of(key)}" for key in self._keys] or [self._stream.subjects]
        return ConsumerConfig(
            durable_name=self._name,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait_seconds,
            max_ack_pending=self._most_unacknowledged,
            max_deliver=-1,
            filter_subjects=subjects,
        )
