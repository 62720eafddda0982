"""The stream that holds what was published until every consumer has had it, or until it is too old.

Made on the first publish if it is missing. One that exists is never altered, only checked: its owner may have chosen
other limits, replicas or placement, and all that matters here is that an acknowledgement means what it says.
"""

from collections.abc import Iterator

import attrs
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, PersistMode, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from tillport.ports.channel import ChannelUnavailable


class StreamUnfit(ChannelUnavailable):
    """There is a stream of that name, but what it acknowledges might be lost. Nothing was sent."""

    code = "stream_unfit"


@attrs.frozen(kw_only=True)
class StreamSettings:
    """What the stream is called and how it is made, if it isn't there yet.

    Messages leave the stream by age (and by size, where `max_bytes` says so), oldest first: a consumer that was away
    for longer must catch up from Tillport's log. `duplicate_window_seconds` is how long the server itself drops
    repetitions; it keeps every id of that time in memory. Beyond it only consumers can.
    """

    name: str = attrs.field(default="STRIPE", validator=attrs.validators.matches_re(r"[A-Za-z0-9_\-]{1,255}"))
    prefix: str = attrs.field(
        default="stripe", validator=attrs.validators.matches_re(r"[A-Za-z0-9_\-.]{1,200}")
    )
    """The first token or tokens of every subject; the payment key's token follows."""
    max_age_seconds: float = attrs.field(default=7 * 86400.0, validator=attrs.validators.gt(0))
    max_bytes: int | None = None
    duplicate_window_seconds: float = attrs.field(default=600.0, validator=attrs.validators.gt(0))
    replicas: int = attrs.field(default=1, validator=[attrs.validators.ge(1), attrs.validators.le(5)])
    """Three on a cluster of three or more. With one, a broker that loses its disk loses its messages."""

    def __attrs_post_init__(self) -> None:
        if self.duplicate_window_seconds > self.max_age_seconds:
            raise ValueError(
                "The duplicate window can't be longer than the age at which messages are dropped."
            )

    @property
    def subjects(self) -> str:
        """What every subject of ours matches, and no other: the prefix and one token."""
        return f"{self.prefix}.*"

    def holds(self, subject: str) -> bool:
        """Tell whether a subject is one of ours.

        >>> pay = StreamSettings(prefix="shop.pay")
        >>> pay.holds("shop.pay.pi_1"), pay.holds("shop.pay.pi_1.more"), pay.holds("shop.orders")
        (True, False, False)
        """
        return subject.rpartition(".")[0] == self.prefix

    def config(self) -> StreamConfig:
        """Return the stream as NATS is asked to make it."""
        return StreamConfig(
            name=self.name,
            description="Stripe events, published by Tillport. A courier: the record is Tillport's own log.",
            subjects=[self.subjects],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=self.max_age_seconds,
            max_bytes=-1 if self.max_bytes is None else self.max_bytes,
            duplicate_window=self.duplicate_window_seconds,
            num_replicas=self.replicas,
            allow_direct=True,
        )


async def ensure_stream(jetstream: JetStreamContext, settings: StreamSettings) -> int | None:
    """Make the stream, or check the one that is there; return the most bytes of a message, None for no limit.

    Raises `StreamUnfit`, and whatever nats-py raises when the server does not answer.
    """
    try:
        info = await jetstream.stream_info(settings.name)
    except NotFoundError:
        info = await jetstream.add_stream(settings.config())
    faults = list(_faults(info.config, settings))
    if faults:
        raise StreamUnfit(
            f"The NATS stream {settings.name!r} {', and '.join(faults)}.",
            remedy="Change the stream (`nats stream edit`), or give Tillport another stream name and prefix.",
        )
    limit = info.config.max_msg_size
    return limit if limit is not None and limit > 0 else None


def _faults(config: StreamConfig, settings: StreamSettings) -> Iterator[str]:
    takes = {settings.subjects, f"{settings.prefix}.>", ">"}
    if not takes.intersection(config.subjects or ()):
        yield f"does not take the subjects {settings.subjects}"
    if config.storage != StorageType.FILE:
        yield "keeps its messages in memory and not in files"
    if config.retention != RetentionPolicy.LIMITS:
        yield f"drops messages by {config.retention} and not by age"
    if (config.max_msgs_per_subject or 0) > 0:  # a subject is a payment
        yield f"drops all but the last {config.max_msgs_per_subject} of a payment's messages"
    if config.persist_mode == PersistMode.ASYNC:  # NATS 2.12 and later: a kill loses what was acknowledged
        yield "acknowledges messages before they are written"
    if config.no_ack:
        yield "acknowledges nothing"
    if config.sealed:
        yield "is sealed"
    if not config.duplicate_window:
        yield "has no duplicate window"
