"""The service as `tillport serve` runs it, with less patience, so that a crash is over in seconds and not in minutes.

Run as a program: `python serve.py PORT`, settings in TILLPORT_… variables.
"""

import asyncio
import sys

import uvicorn
from clock import follow

from tillport.adapters.cli.serve import bind, server_config
from tillport.adapters.compose import open_service, read_settings
from tillport.adapters.runtime import SystemClock
from tillport.adapters.stripe import Patience, StripeConnection, StripeGateway

PATIENCE = Patience(connect_seconds=1, timeout_seconds=1.5, retry_within_seconds=0, max_tries=1)


async def serve(port: int) -> None:
    settings = read_settings()
    clock = SystemClock()
    assert settings.stripe_secret_key is not None
    async with StripeConnection(
        settings.stripe_secret_key.reveal(),
        clock=clock,
        base_address=settings.stripe_address,
        patience=PATIENCE,
    ) as connection:
        gateway = StripeGateway(connection, absence_seconds=5)
        async with open_service(settings, gateway=gateway, writes_apart=True) as service:
            with bind("127.0.0.1", port) as listening:
                await uvicorn.Server(server_config(service)).serve(sockets=[listening])


if __name__ == "__main__":
    follow()
    asyncio.run(serve(int(sys.argv[1])))
