"""The courier over NATS JetStream.

What keeps the order of one payment, through every failure: a message is sent only after the one before it, of the
same key and call, was acknowledged. A batch therefore goes out in rounds in which each key appears once; the messages
of a round are in flight together. Whatever happens to a connection, a later message of a payment can't be stored
unless the earlier one is, and repeating the whole batch puts the missing ones behind what is there: JetStream drops
the repetitions by `Nats-Msg-Id`, and consumers drop what is older than its window.

Sending a whole batch at once and trusting the connection to keep its order is faster for long batches of one payment,
and wrong: the server may refuse one message (its store is full, its leader moved) and take the next.
"""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import attrs
import msgspec
import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

from tillport.adapters.nats.link import Access, Link, open_link
from tillport.adapters.nats.stream import StreamSettings, ensure_stream
from tillport.adapters.nats.wire import Outgoing, check_size, outgoing
from tillport.ports.channel import ChannelUnavailable, Message, MessageRefused

_WAIT = "Nothing is lost: send the same messages again."
_TOO_LARGE = frozenset({10054, 10097})
"""JetStream's error codes for a message, and for headers, that exceed the stream's limits (server/errors.json)."""


class _ApiError(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    """What JetStream answers to a publish: a PubAck names the stream and its sequence, anything else does not."""

    stream: str = ""
    seq: int = 0
    error: _ApiError | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


@attrs.define(eq=False)
class _Round:
    """Messages in flight together. `waiting` counts those without an answer; the first failure ends the round."""

    waiting: int
    done: asyncio.Future[None]

    def acknowledge(self) -> None:
        self.waiting -= 1
        if not self.waiting:
            self.fail(None)

    def fail(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


@attrs.define(eq=False)
class _Lane:
    """A connection with an inbox for acknowledgements, on which the stream has been seen to be fit."""

    link: Link
    stream: str
    inbox: str
    most_bytes: int
    sent: int = 0
    in_flight: dict[str, tuple[_Round, str]] = attrs.field(factory=dict)
    watcher: asyncio.Task[None] | None = None

    async def answered(self, answer: Msg) -> None:
        found = self.in_flight.pop(answer.subject, None)
        if found is None:
            return  # its caller has given up
        current, message_id = found
        error = self._error_in(answer, message_id)
        if error is None:
            current.acknowledge()
        else:
            current.fail(error)

    def _error_in(self, answer: Msg, message_id: str) -> Exception | None:
        try:
            said = _decode_answer(answer.data)
        except msgspec.DecodeError:
            # An empty body with status 503: nobody listens on that subject, so the stream is gone.
            return ChannelUnavailable(f"No NATS stream took the message for {self.stream!r}.", remedy=_WAIT)
        if said.error is None and said.stream == self.stream and said.seq:
            return None
        reason = said.error or _ApiError(description="an answer that is no acknowledgement")
        if reason.err_code in _TOO_LARGE:
            return MessageRefused(
                f"The NATS stream refused the message: {reason.description}.",
                message_id=message_id,
                remedy="Raise `max_msg_size` of the stream, or skip the message.",
            )
        return ChannelUnavailable(f"NATS did not store a message: {reason.description}.", remedy=_WAIT)

    async def watch(self) -> None:
        """Fail what is in flight as soon as the connection ends, instead of after the time for an answer."""
        await self.link.gone.wait()
        for current, _ in list(self.in_flight.values()):
            current.fail(ChannelUnavailable("The connection to NATS broke before it answered.", remedy=_WAIT))

    async def send(self, messages: Sequence[Outgoing], *, answer_seconds: float) -> None:
        """Send messages of different keys together and return once JetStream has acknowledged each."""
        current = _Round(len(messages), asyncio.get_running_loop().create_future())
        replies = []
        try:
            async with asyncio.timeout(answer_seconds):
                for message in messages:
                    self.sent += 1
                    reply = f"{self.inbox}.{self.sent}"
                    replies.append(reply)
                    self.in_flight[reply] = current, message.id
                    await self.link.client.publish(message.subject, message.body, reply, message.headers)
                if not self.link.alive:
                    current.fail(ChannelUnavailable("The connection to NATS broke.", remedy=_WAIT))
                await current.done
        except TimeoutError as error:
            raise ChannelUnavailable(
                f"NATS did not acknowledge within {answer_seconds:g} seconds.", remedy=_WAIT
            ) from error
        except (OSError, nats.errors.Error) as error:
            raise ChannelUnavailable("The connection to NATS broke.", remedy=_WAIT) from error
        finally:
            for reply in replies:
                self.in_flight.pop(reply, None)
            if current.done.done() and not current.done.cancelled():
                current.done.exception()  # mark it as seen, whoever left first

    async def close(self) -> None:
        await self.link.close()
        if self.watcher is not None:
            await asyncio.wait([self.watcher])


def rounds(messages: Sequence[Outgoing], *, most: int) -> Iterator[list[Outgoing]]:
    """Cut messages into rounds of at most `most`: each key once in a round, and in order from round to round."""
    rank: dict[str, int] = {}
    ranked: list[list[Outgoing]] = []
    for message in messages:
        place = rank.get(message.key, 0)
        rank[message.key] = place + 1
        if place == len(ranked):
            ranked.append([])
        ranked[place].append(message)
    for row in ranked:
        for start in range(0, len(row), most):
            yield row[start : start + most]


class NatsChannel:
    """Publish to a JetStream stream, each payment on its own subject.

    Does nothing until the first `publish`, so that a service starts without a broker. `answer_seconds` is how long
    a round may go unacknowledged, `most_in_flight` how many messages of one call await their acknowledgement at once.

    Calls may run side by side. Within a call, messages of one key arrive in order; between calls, await the one
    before you make the next for the same key. Used from one event loop. Close it, or use it as a context manager.

        async with NatsChannel(Access(servers="nats://127.0.0.1:4222")) as channel:
            await channel.publish([message])
    """

    def __init__(
        self,
        access: Access,
        *,
        stream: StreamSettings | None = None,
        answer_seconds: float = 10.0,
        most_in_flight: int = 512,
    ) -> None:
        if answer_seconds <= 0 or most_in_flight < 1:
            raise ValueError("answer_seconds must be positive and most_in_flight at least 1.")
        self._access = access
        self._stream = stream or StreamSettings()
        self._answer_seconds = answer_seconds
        self._most_in_flight = most_in_flight
        self._lane: _Lane | None = None
        self._opening: asyncio.Task[_Lane] | None = None
        self._closed = False

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return once JetStream has stored every message (see `tillport.ports.channel.Channel`).

        A message that can never be sent is refused before anything is sent, where that can be known.
        """
        ready = [
            outgoing(message, prefix=self._stream.prefix, stream=self._stream.name) for message in messages
        ]
        if not ready:
            return
        lane = await self._connected()
        for one in ready:
            check_size(one, most_bytes=lane.most_bytes)
        try:
            for together in rounds(ready, most=self._most_in_flight):
                await lane.send(together, answer_seconds=self._answer_seconds)
        except ChannelUnavailable:
            # Silence may mean a dead connection, a refusal that the stream is gone: begin the next call afresh.
            if self._lane is lane:
                self._lane = None
            await lane.close()
            raise

    async def close(self) -> None:
        """Close the connection. What is in flight fails with `ChannelUnavailable`; closing twice does nothing."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._lane is not None:
            await self._lane.close()
            self._lane = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _connected(self) -> _Lane:
        """Return a lane that was alive a moment ago. All who wait for one share one attempt to make it."""
        if self._closed:
            raise ChannelUnavailable("The channel was closed.", remedy="Make a new one.")
        if self._lane is not None and self._lane.link.alive:
            return self._lane
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if opening.cancelled():
                raise ChannelUnavailable("The channel was closed.", remedy="Make a new one.") from None
            raise

    def _opened(self, opening: asyncio.Task[_Lane]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._lane = opening.result()

    async def _open(self) -> _Lane:
        if self._lane is not None:
            await self._lane.close()
            self._lane = None
        link = await open_link(self._access)
        try:
            seconds = self._access.connect_seconds
            limit = await link.ask(
                ensure_stream(link.client.jetstream(timeout=seconds), self._stream), seconds=seconds
            )
            inbox = f"_INBOX.{secrets.token_hex(12)}"
            most = link.client.max_payload if limit is None else min(limit, link.client.max_payload)
            lane = _Lane(link, self._stream.name, inbox, most)
            await link.client.subscribe(f"{inbox}.*", cb=lane.answered)
        except (TimeoutError, OSError, nats.errors.Error) as error:
            await link.close()
            raise ChannelUnavailable(
                f"NATS answers, but its stream {self._stream.name!r} can't be had: {str(error) or 'no answer in time'}.",
                remedy="Check that JetStream is enabled on the server and that this user may use it.",
            ) from error
        except BaseException:
            await link.close()
            raise
        lane.watcher = asyncio.get_running_loop().create_task(lane.watch())
        return lane
