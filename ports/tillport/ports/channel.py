"""The channel: the way out to other systems. A courier, never the record."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from tillport.ports.body import CarriesBody
from tillport.ports.errors import TillportError
from tillport.ports.selector import NUMBER_FIELDS, Selector, matches


class ChannelUnavailable(TillportError):
    """The courier did not confirm. Some of the messages may have arrived: send all of them again."""

    code = "channel_unavailable"


class MessageRefused(TillportError):
    """The courier will never take this very message (too large, say). Others are not affected."""

    code = "message_refused"

    def __init__(self, message: str, *, message_id: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.message_id = message_id


class Message(CarriesBody, frozen=True, kw_only=True):
    """One event on its way out.

    `id` is the event's id: consumers deduplicate by it. `key` is the payment key: messages of one key arrive in the
    order in which they were published. `headers` (`id`, `type`, …) are what the seed's selectors speak about.
    """

    id: str
    key: str
    headers: Mapping[str, str]
    body: bytes


_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VISIBLE = bytes(range(ord("!"), ord("~") + 1))
_NOT_IN_A_VALUE = re.compile(r"[\x00-\x1f\x7f]|^\s|\s$")


@lru_cache(maxsize=256)  # an application's messages have few sets of names, and mostly one
def _are_header_names(names: tuple[str, ...]) -> bool:
    return all(map(_HEADER_NAME.fullmatch, names))


def _is_visible_ascii(text: str) -> bool:
    return text.isascii() and not text.encode("ascii").translate(None, _VISIBLE)


def refuse_unsendable(message: Message) -> None:
    """Raise `MessageRefused` for what no courier carries unharmed; every channel calls this before it sends.

    A message has an id, its text can be written as UTF-8, header names are tokens (RFC 9110 §5.6.2), and header
    values hold no control characters and neither begin nor end with space: some courier would trim them.
    """
    headers = message.headers
    together = "".join((message.id, message.key, *headers.values()))
    if not (message.id and _is_visible_ascii(together) and _are_header_names(tuple(headers))):
        _refuse_unusual(message, together)


def _refuse_unusual(message: Message, together: str) -> None:
    """Look closely at what is not, as almost every message is, one word of visible ASCII after another."""

    def refused(why: str) -> MessageRefused:
        return MessageRefused(f"The message can't be sent: {why}.", message_id=message.id, remedy="Skip it.")

    try:
        together.encode()
    except UnicodeEncodeError as error:
        raise refused("its id, key or headers can't be written as UTF-8") from error
    if not message.id or _NOT_IN_A_VALUE.search(message.id):
        raise refused("its id is empty, or holds control characters or space at an end")
    for name, value in message.headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise refused(f"{name[:40]!a} is no name for a header")
        if _NOT_IN_A_VALUE.search(value):
            raise refused(f"the value of {name[:40]!r} holds control characters, or space at an end")


def selects(selector: Selector | None, message: Message) -> bool:
    """Tell whether a message is selected by its headers, as an event is by its fields. None selects every message.

    Headers are text, so `created` and `received_at` are read as numbers. `id` is the header `id` or the key.

    >>> from tillport.ports.selector import Compare
    >>> told = Message(id="evt_1", key="pi_1", headers={"id": "ch_1", "type": "charge.succeeded"}, body=b"{}")
    >>> selects(Compare("id", "=", "ch_1"), told), selects(Compare("type", "=", "charge.refunded"), told)
    (True, False)
    """
    fields: dict[str, str | float | None] = {"event_id": message.id, "payment_key": message.key}
    for name, value in message.headers.items():
        fields[name] = _number(value) if name in NUMBER_FIELDS else value
    return matches(selector, fields, (message.headers.get("id", ""), message.key))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class Channel(Protocol):
    """Hand messages to whoever listens outside, at least once."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return once the courier has confirmed every message, in order per `key`.

        Raises `ChannelUnavailable` if any is unconfirmed (the caller sends the whole batch again, and consumers
        drop what they have by `id`), or `MessageRefused` for the first message that can never be sent.
        """
        ...
