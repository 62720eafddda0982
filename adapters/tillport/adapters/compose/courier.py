"""The courier alone, for a command that publishes beside a running service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tillport.adapters.compose.secret import Secret
from tillport.adapters.compose.settings import SettingsRefused, names_servers
from tillport.ports.channel import Channel


@asynccontextmanager
async def open_courier(messaging_url: Secret) -> AsyncIterator[Channel]:
    """Open the courier that a messaging URL names, and close it on the way out. Raises `SettingsRefused`."""
    url = messaging_url.reveal()
    if url.startswith("memory:"):
        raise SettingsRefused(
            "The courier is in the service's own memory, so nobody else can be published to.",
            remedy="Name the one that your consumers hear, with TILLPORT_MESSAGING_URL=nats://….",
        )
    if not names_servers(url):
        raise SettingsRefused(
            "The messaging URL names no NATS server.", remedy="Use nats://…, for each of several."
        )
    from tillport.adapters.nats import Access, NatsChannel

    channel = NatsChannel(Access(servers=url.split(",")))
    try:
        yield channel
    finally:
        await channel.close()
