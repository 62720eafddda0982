"""The laws of a courier, over a real NATS server: once with a network that is cut, once with a server that is killed."""

from typing import Any

import pytest

from tillport.adapters.conformance.channel import ChannelCapabilities, Law, channel_laws

CAPABILITIES = ChannelCapabilities()
LAWS = channel_laws(CAPABILITIES)
LAWS_OF_LOSS = [
    law
    for law in LAWS
    if law.__name__ not in {low.__name__ for low in channel_laws(ChannelCapabilities(can_be_cut=False))}
]


@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_nats_channel(law: Law, make_courier: Any) -> None:
    async with make_courier() as courier:
        await law(courier)


@pytest.mark.parametrize("law", LAWS_OF_LOSS, ids=[law.__name__ for law in LAWS_OF_LOSS])
async def test_nats_channel_whose_server_is_killed(law: Law, make_courier: Any, with_kills: Any) -> None:
    async with make_courier(with_kills) as courier:
        await law(courier)
