"""Messages as NATS carries them: a subject, headers and a body, and what of it can never be sent.

Everything that would make the server hang up, or that nats-py would quietly alter (it trims header values and turns
line breaks into spaces), is refused here, before a byte leaves.
"""

from collections.abc import Mapping

import attrs

from tillport.adapters.nats.subjects import LONGEST_SUBJECT, key_of, token_of
from tillport.ports.channel import Message, MessageRefused, refuse_unsendable

MESSAGE_ID = "Nats-Msg-Id"
"""JetStream drops a second message with the same value within the stream's duplicate window."""
EXPECTED_STREAM = "Nats-Expected-Stream"
"""Without it any stream, or none, may take the message: https://docs.nats.io/nats-concepts/jetstream/headers."""

_RESERVED = "nats-"
_FRAME_BYTES = len("NATS/1.0\r\n\r\n")
_LINE_BYTES = len(": \r\n")


@attrs.frozen
class Outgoing:
    """A message ready to be sent. `size` is what the server counts against its limits, in bytes."""

    id: str
    key: str
    subject: str
    headers: dict[str, str]
    body: bytes = attrs.field(repr=False)
    size: int


def outgoing(message: Message, *, prefix: str, stream: str) -> Outgoing:
    """Return what to send for a message. Raises `MessageRefused`."""
    refuse_unsendable(message)
    subject = f"{prefix}.{token_of(message.key)}"
    if len(subject) > LONGEST_SUBJECT:
        raise _refused(message, f"its key makes a subject of over {LONGEST_SUBJECT} bytes")
    headers = {**message.headers, MESSAGE_ID: message.id, EXPECTED_STREAM: stream}
    for name in message.headers:
        if name.lower().startswith(_RESERVED):
            raise _refused(message, f"the header {name[:40]!r} is one of NATS's own")
    size = _FRAME_BYTES + len(message.body)
    for name, value in headers.items():
        size += len(name) + (len(value) if value.isascii() else len(value.encode())) + _LINE_BYTES
    return Outgoing(message.id, message.key, subject, headers, message.body, size)


def check_size(message: Outgoing, *, most_bytes: int) -> None:
    """Raise `MessageRefused` for more than the server takes: it would hang up on everybody's messages."""
    if message.size > most_bytes:
        raise MessageRefused(
            f"The message is {message.size} bytes with its headers, and the NATS server takes {most_bytes}.",
            message_id=message.id,
            remedy="Raise `max_payload` of the server (and `max_msg_size` of the stream), or skip the message.",
        )


def incoming(subject: str, headers: Mapping[str, str] | None, body: bytes) -> Message:
    """Return the message that was published, from what NATS delivered.

    Takes messages of other publishers too: without a message id the id is empty.
    """
    given = headers or {}
    return Message(
        id=given.get(MESSAGE_ID, ""),
        key=key_of(subject),
        headers={name: value for name, value in given.items() if not name.lower().startswith(_RESERVED)},
        body=body,
    )


def _refused(message: Message, why: str) -> MessageRefused:
    return MessageRefused(
        f"NATS can't carry this message: {why}.",
        message_id=message.id,
        remedy="Skip it; it stays in the log.",
    )
