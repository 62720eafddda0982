"""The courier alone, for a command that publishes beside a running service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tillport.adapters.compose.secret import Secret
from tillport.adapters.compose.settings import SettingsRefused, is_memory, names_servers
from tillport.ports.channel import Channel

if TYPE_CHECKING:
    from tillport.adapters.nats import NatsChannel


@asynccontextmanager
async def open_courier(messaging_url: Secret) -> AsyncIterator[Channel]:
    """Open the courier that a messaging URL names, and close it on the way out. Raises `SettingsRefused`."""
    url = messaging_url.reveal()
    if is_memory(url):
        raise SettingsRefused(
            "The courier is in the service's own memory, so nobody else can be published to.",
            remedy="Name the one that your consumers hear, with TILLPORT_MESSAGING_URL=nats://….",
        )
    channel = nats_channel(messaging_url)
    try:
        yield channel
    finally:
        await channel.close()


def nats_channel(messaging_url: Secret) -> "NatsChannel":
    """Return the channel to the NATS servers that a messaging URL names. You close it. Raises `SettingsRefused`."""
    from tillport.adapters.nats import Access, NatsChannel

    url = messaging_url.reveal()
    if not names_servers(url):
        raise SettingsRefused(
            "The messaging URL names no NATS server.",
            remedy="Use nats://…, for each of several; a comma in a user or password is written as %2C.",
        )
    try:
        return NatsChannel(Access(servers=url.split(",")))
    except ValueError as error:
        raise SettingsRefused(f"The messaging URL can't be used. {error}") from None
