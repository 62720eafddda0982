"""The channel: the way out to other systems. A courier, never the record."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from tillport.ports.errors import TillportError


class ChannelUnavailable(TillportError):
    """The courier did not confirm. Some of the messages may have arrived: send all of them again."""

    code = "channel_unavailable"


class MessageRefused(TillportError):
    """The courier will never take this very message (too large, say). Others are not affected."""

    code = "message_refused"

    def __init__(self, message: str, *, message_id: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.message_id = message_id


@attrs.frozen(kw_only=True)
class Message:
    """One event on its way out.

    `id` is the event's id: consumers deduplicate by it. `key` is the payment key: messages of one key arrive in the
    order in which they were published. `headers` (`id`, `type`, …) are what the seed's selectors speak about.
    """

    id: str
    key: str
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)


class Channel(Protocol):
    """Hand messages to whoever listens outside, at least once."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return once the courier has confirmed every message, in order per `key`.

        Raises `ChannelUnavailable` if any is unconfirmed (the caller sends the whole batch again, and consumers
        drop what they have by `id`), or `MessageRefused` for the first message that can never be sent.
        """
        ...
