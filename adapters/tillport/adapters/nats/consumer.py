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

from tillport.adapters.nats.link import Access, AccessRefused, Link, open_link
from tillport.adapters.nats.stream import StreamSettings
from tillport.adapters.nats.subjects import token_of
from tillport.adapters.nats.wire import incoming
from tillport.ports.channel import ChannelUnavailable, Message, selects
from tillport.ports.errors import TillportError
from tillport.ports.selector import Selector, check_selector

_HEARTBEAT_SECONDS = 2.0
_SILENT_SECONDS_MAX = 5
_EXPIRES_SECONDS = 30.0
_CONSUMER_CREATE_FAILED = 10012
"""JetStream's code for settings that an existing consumer can't be given; it comes as a server error (500)."""
_ACK, _NAK, _STILL_AT_WORK = b"+ACK", b"-NAK", b"+WPI"


class ConsumerUnfit(TillportError):
    """A consumer of that name exists and can't be given the wanted settings."""

    code = "consumer_unfit"


def _now() -> float:
    return asyncio.get_running_loop().time()


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
    """A message that was handed to us.

    `attempt` is how often the server has sent it, to whomever: 1 the first time. That is not how often anybody heard
    it: what waited for its turn in a process that was restarted has been sent and was never handed out. Count
    failures in your own database before you set an event aside.
    """

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
    """One connection's worth of pulling. `due` is what the server may still send on the present request.

    For the server a message is delivered, and its time runs, from when it was sent to us. A timer therefore asks for
    time for what waits here while a handler works: were it to run out, it would come again behind younger messages of
    its payment, and `attempt` would count what nobody heard.

    It does so no longer than a handler may take, counted from when a message was handed out. Else a handler that hangs
    would hold for ever what other processes of this name could hear. Its own message runs out as ever.

    What waits here is handed out in its turn however late it is (the loop was blocked, say), although somebody else
    may have it by then: that is a repetition, which everybody must be ready for. To drop it, or to give it back, would
    put it behind younger messages, because the server sends those meanwhile.
    """

    link: Link
    name: str
    """The stream's name and the consumer's, joined by a dot."""
    batch: int
    ack_wait_seconds: float
    due: int = 0
    silent_seconds: int = 0
    """How long nothing came on the present request, not even a heartbeat, while nothing waited here either."""
    trouble: str | None = None
    listening: bool = False
    left_at: float = attrs.field(factory=_now)
    waiting: deque[tuple[float, Msg]] = attrs.field(factory=deque)
    """Never more than `batch`; with each message, when its time at the server began, as far as we know."""
    handed_out: dict[str, None] = attrs.field(factory=dict)
    """In the order in which it was handed out: what is given back comes again in the order in which we say so."""
    stirred: asyncio.Event = attrs.field(factory=asyncio.Event)
    subscription: Subscription | None = None
    tasks: list[asyncio.Task[None]] = attrs.field(factory=list)

    def start(self) -> None:
        """Begin to watch the connection, and over what waits here."""
        loop = asyncio.get_running_loop()
        doing = self._watch(), self._keep_while_somebody_works(), self._notice_silence()
        self.tasks = [loop.create_task(one) for one in doing]

    async def arrived(self, message: Msg) -> None:
        self.silent_seconds = 0
        status = (message.headers or {}).get("Status") if not message.data else None
        if status is None:
            self.due -= 1
            self.waiting.append((_now(), message))
        elif status in {"404", "408"}:
            self.due = 0  # the request has run out
        elif status != "100":  # 100 is the heartbeat
            self.trouble = (message.headers or {}).get("Description") or status
        self.stirred.set()

    async def next(self) -> Msg:
        """Return the next message. Raises `ChannelUnavailable`."""
        self.listening = True
        try:
            return await self._next()
        finally:
            self.listening, self.left_at = False, _now()

    async def _next(self) -> Msg:
        while True:
            await self._begin_time_anew()
            if self.waiting:
                message = self.waiting.popleft()[1]
                self.handed_out[message.reply] = None
                return message
            if self.trouble is not None or not self.link.alive:
                raise ChannelUnavailable(
                    f"NATS stopped delivering: {self.trouble or 'the connection broke'}."
                )
            self.stirred.clear()
            if self.due <= 0:
                await self._ask()
            await self.stirred.wait()

    async def _watch(self) -> None:
        await self.link.gone.wait()
        self.stirred.set()

    async def _notice_silence(self) -> None:
        # A server that was restarted behind the one that we are connected to knows nothing of our request, and nobody
        # says so. Counted here, because those who take one message at a time may never wait for so long in `next`; and
        # in turns of the loop, because what a blocked loop did not read is no silence.
        while self.trouble is None:
            await asyncio.sleep(1)
            self.silent_seconds += 1
            if self.due <= 0 or self.waiting:
                self.silent_seconds = 0
            elif self.silent_seconds > _SILENT_SECONDS_MAX:
                self.trouble = "it is silent"
                self.stirred.set()

    async def _ask(self) -> None:
        if self.subscription is None:
            inbox = f"_INBOX.{secrets.token_hex(12)}"
            self.subscription = await self.link.client.subscribe(inbox, cb=self.arrived)
        self.due, self.silent_seconds = self.batch, 0
        request = {
            "batch": self.batch,
            "expires": int(_EXPIRES_SECONDS * 1e9),
            "idle_heartbeat": int(_HEARTBEAT_SECONDS * 1e9),
        }
        await self.link.client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self.name}", json.dumps(request).encode(), self.subscription.subject
        )

    async def _keep_while_somebody_works(self) -> None:
        while True:
            await asyncio.sleep(self.ack_wait_seconds / 3)
            if self.listening or _now() - self.left_at <= self.ack_wait_seconds:
                await self._begin_time_anew()
            else:
                await self._stop_asking()  # what runs out is for others, and not to come here again

    async def _begin_time_anew(self) -> None:
        """Ask the server for time: for all that waits here once a third of it is over, else for what is next."""
        now = _now()
        waited_seconds = now - self.waiting[0][0] if self.waiting else 0.0
        if waited_seconds > self.ack_wait_seconds / 3:
            kept = [message for _, message in self.waiting]
            self.waiting = deque((now, message) for message in kept)
        elif waited_seconds > self.ack_wait_seconds / 100:
            # Its handler may take all of the time, and not what the waiting left of it.
            kept = [self.waiting[0][1]]
        else:
            return
        for message in kept:
            await self._tell(message.reply, _STILL_AT_WORK)

    async def answer(self, reply: str, word: bytes) -> None:
        """Tell the server what became of a message. If the word is lost, the message comes again."""
        self.handed_out.pop(reply, None)
        await self._tell(reply, word)
        # Handlers that never suspend would keep all that is said from leaving, and the timer from its turn, until the
        # last of what waits here is done. So what is due is said now, and has its turn.
        await self._begin_time_anew()
        await asyncio.sleep(0)

    async def _tell(self, reply: str, word: bytes) -> None:
        with contextlib.suppress(nats.errors.Error, OSError):
            await self.link.client.publish(reply, word)

    async def _stop_asking(self) -> None:
        # Before anything is given back: the server would send it here again, on the request that is still open.
        # What is on its way already is waited for: it could not be given back else, and would come again late.
        subscription, self.subscription, self.due = self.subscription, None, 0
        if subscription is None:
            return
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            async with asyncio.timeout(_HEARTBEAT_SECONDS):
                await subscription.drain()  # type: ignore[no-untyped-call] # nats-py's own gap
        await self._have_the_request_forgotten()

    async def _have_the_request_forgotten(self) -> None:
        # NATS 2.15 notices only when it looks through its requests that nobody listens for ours any more, and being
        # asked about the consumer makes it look. Else it would take the first message that is given back for that
        # request, and put it behind all the others. Where it may not be asked, that is what happens.
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            question = self.link.client.request(f"$JS.API.CONSUMER.INFO.{self.name}", timeout=1)
            await self.link.ask(question, seconds=1)

    async def close(self, *, give_back: bool) -> None:
        """Disconnect. If wanted, give back what is not done first, so that nobody waits for its time to run out."""
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        if give_back and self.link.alive:
            await self._stop_asking()
            for reply in [*self.handed_out, *(message.reply for _, message in self.waiting)]:
                await self._tell(reply, _NAK)
        await self.link.close(flush=give_back)
        self.stirred.set()  # whoever waits in `next` sees that it is over


class NatsConsumer:
    """Hear every event from where the consumer of this name left off, starting with the oldest that NATS holds.

    Only what is published below the prefix of `stream` is heard, also from a stream that others publish to. `keys`
    (payment keys) narrows what the server sends, `selector` what is handed out. Iterate over it for ever, or take one
    at a time with `next`; both reconnect by themselves every `retry_seconds` and wait for a stream that does not exist
    yet. Raises `ConsumerUnfit`, and `AccessRefused` where it may not connect.

    `ack_wait_seconds` is how long a handler may take before its message is sent again; what waits behind it is kept for
    that long too. (A handler that blocks the event loop, which no timer can do anything about, should take half of it
    at most: what waits is still heard in its turn, and perhaps by another process too.)

    Messages of one payment come in order while **one process at a time** uses the name and handles one message after
    the other. Several processes with one name share the work message by message, those of one payment too, and then
    nobody's order holds. What is sent again (a crash, `nak`) may come behind younger ones in any case. With
    `most_unacknowledged=1`, in every process of the name, order holds always: the server sends nothing before the one
    message is acknowledged, of whatever payment, at the price of a round trip for each and of sharing nothing.

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
        if isinstance(keys, str):  # which would be read as many keys of a letter each
            raise TypeError("Hand in the payment keys as a list: keys=['pi_1'].")
        check_selector(selector)
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
        self._opening: asyncio.Task[_Pull] | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        while not self._closed:
            try:
                found = await self._next()
            except AccessRefused:
                raise  # waiting does not make a password right, and nobody would hear of it
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
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait([opening])
            if not opening.cancelled() and opening.exception() is None:
                await opening.result().close(give_back=False)
        await self._drop(give_back=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _next(self) -> Delivery | None:
        pull = self._pull or await self._connected()
        if pull is None:
            return None
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

    async def _connected(self) -> _Pull | None:
        """Return a new connection, None if the consumer was closed meanwhile.

        Made in a task of its own: for whoever waits no longer, the next call goes on with it. Else those who wait for
        less than it takes would begin anew each time, and hear nothing.
        """
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
        opening = self._opening
        if not opening.done():  # to wait for what is done takes a turn, too, which not everybody has
            await asyncio.wait([opening])
        if self._closed:
            return None
        self._opening = None
        self._pull = opening.result()
        return self._pull

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
        except BaseException:
            await link.close()
            raise
        pull = _Pull(link, f"{self._stream.name}.{self._name}", self._batch, self._ack_wait_seconds)
        pull.start()
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
