"""Join the parts: from settings to a till that is open for business, and back to nothing, in order.

What is opened last is closed first: the loops stop before the courier closes, the courier before the log, the log
drains before its file closes. Every technology is imported where it is used, so that a till on SQLite needs no NATS.
"""

import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from random import Random
from typing import TYPE_CHECKING, Any, cast

import attrs

from tillport.adapters.compose.courier import nats_channel
from tillport.adapters.compose.secret import Secret
from tillport.adapters.compose.settings import Settings, SettingsRefused, is_memory
from tillport.adapters.compose.stores import Stores, open_stores
from tillport.adapters.memory.access import StaticKeyRing
from tillport.adapters.memory.channel import MemoryChannel
from tillport.adapters.memory.doorbell import RungByTheLog
from tillport.adapters.memory.policy import MaximumAmount
from tillport.adapters.runtime import Loop, RelayWork, ResolverWork, RetentionWork, SystemClock, Work
from tillport.adapters.runtime.group_commit import GroupCommit
from tillport.adapters.runtime.tail import GATHER_SECONDS, SharedTail
from tillport.domain.charge import DEFAULT_TRY_SECONDS, Charging
from tillport.domain.till import Till
from tillport.domain.verify import Verifier
from tillport.ports.access import KeyRing
from tillport.ports.channel import Channel
from tillport.ports.clock import Clock
from tillport.ports.effects import EffectQueue
from tillport.ports.errors import TillportError
from tillport.ports.housekeeping import Housekeeping
from tillport.ports.payments import PaymentGateway
from tillport.ports.policy import ChargePolicy

if TYPE_CHECKING:
    from litestar import Litestar

    from tillport.adapters.litestar import HttpFace


MEMORY_MESSAGES_MAX = 1_000
"""How many messages the courier in memory holds for listeners in this process; the log is the record."""


@attrs.frozen(kw_only=True)
class Service:
    """A till that is open, and what it is made of."""

    settings: Settings
    till: Till
    keys: KeyRing
    stores: Stores
    channel: Channel
    clock: Clock
    relay: RelayWork
    resolver: ResolverWork
    loops: tuple[Loop, ...]

    def app(self, *, effects: EffectQueue[Any] | None = None) -> "Litestar":
        """Make the HTTP application of this service. Needs `tillport[litestar]`.

        `/metrics` tells of `effects` too, if the embedder hands its queue in; else of those in the log's own database.
        """
        return self.face(effects=effects).app

    def face(self, *, effects: EffectQueue[Any] | None = None) -> "HttpFace":
        """Make what `app` makes, with the lane that a server of uvicorn's make may take webhooks by."""
        from tillport.adapters.compose.metrics import metrics_of
        from tillport.adapters.litestar import HttpSettings, create_face

        settings = self.settings
        return create_face(
            self.till,
            self.keys,
            settings=HttpSettings(
                currency=settings.currency or "usd",
                app_id=settings.app_id,
                cors_origins=settings.cors_origins,
                default_app_key=settings.default_app_key.reveal() if settings.default_app_key else None,
            ),
            route_handlers=[metrics_of(self, effects=effects)],
        )


@asynccontextmanager
async def open_service(
    settings: Settings,
    *,
    clock: Clock | None = None,
    random: Random | None = None,
    nonces: Callable[[], str] | None = None,
    stores: Stores | None = None,
    channel: Channel | None = None,
    gateway: PaymentGateway | None = None,
    policy: ChargePolicy | None = None,
    stripe_http_client: Any = None,
    run_loops: bool = True,
    writes_apart: bool = False,
) -> AsyncIterator[Service]:
    """Open a till from settings, and close everything in order on the way out.

    Each part may be handed in instead; what is handed in is not closed here. `stripe_http_client` is an HTTP client
    of the Stripe SDK that takes the network's place (a simulator in this process). Without `run_loops` the caller
    steps `service.loops` itself, as a simulation does. With `writes_apart` a process of its own writes to a SQLite file:
    for who has this process to itself, and not on Windows.

    Raises `SettingsRefused` and `UnsafeConfiguration`, and then nothing is left open.
    """
    settings.check()
    time_passes = clock is None
    clock = clock or SystemClock()
    random = random or Random()  # noqa: S311 - spreads retries in time; no secret comes from it
    async with AsyncExitStack() as closing:
        own_stores = stores is None
        if stores is None:
            stores = await closing.enter_async_context(
                open_stores(settings.database_url, clock, writes_apart=writes_apart)
            )
        if gateway is None:
            gateway = _stripe_gateway(settings, clock, stripe_http_client, closing)
        # Readers gather only where the time passes by itself: a simulation's clock would let them wait for ever.
        tail = SharedTail(stores.log, clock, gather_seconds=GATHER_SECONDS if time_passes else 0.0)
        log = GroupCommit(tail, doorbell=None if stores.log_rings else stores.doorbell)
        closing.push_async_callback(log.aclose)
        if channel is None:
            channel = _channel(settings.messaging_url, clock, closing)
        till = Till(
            charging=Charging(
                gateway=gateway,
                ledger=stores.ledger,
                policy=policy or MaximumAmount(dict(settings.amount_minor_max)),
                clock=clock,
                try_seconds=1.5 * getattr(gateway, "longest_call_seconds", DEFAULT_TRY_SECONDS / 1.5),
            ),
            verifier=Verifier(
                [secret.reveal() for secret in settings.signing_secrets], livemode=gateway.livemode
            ),
            log=log,
            doorbell=RungByTheLog(stores.doorbell),
            nonces=nonces or _nonce,
            open_channel=settings.open_channel,
        )
        relay = RelayWork(log=log, channel=channel, cursors=stores.cursors, clock=clock, owner=_owner(random))
        resolver = ResolverWork(charging=till.charging, log=log)
        works: list[Work] = [relay, resolver]
        if settings.retention_days is not None:
            works.append(_retention(settings, stores, clock, _owner(random), own_stores=own_stores))
        loops = tuple(Loop(work=work, clock=clock, doorbell=stores.doorbell, random=random) for work in works)
        if run_loops:
            for loop in loops:
                await closing.enter_async_context(loop)
        yield Service(
            settings=settings,
            till=till,
            keys=StaticKeyRing(
                app_keys=_reveal(settings.app_keys), server_keys=_reveal(settings.server_keys)
            ),
            stores=stores,
            channel=channel,
            clock=clock,
            relay=relay,
            resolver=resolver,
            loops=loops,
        )


def _retention(
    settings: Settings, stores: Stores, clock: Clock, owner: str, *, own_stores: bool
) -> RetentionWork:
    from tillport.adapters.compose.looking import open_effects_if_any

    assert settings.retention_days is not None, "asked before"
    return RetentionWork(
        keeper=cast("Housekeeping", stores.log),  # every log that settings can name keeps house too
        cursors=stores.cursors,
        clock=clock,
        owner=owner,
        keep_seconds=settings.retention_days * 86_400,
        # Stores that were handed in say nothing of where effects are.
        effects=lambda: open_effects_if_any(settings.database_url) if own_stores else nullcontext(),
    )


def _stripe_gateway(
    settings: Settings, clock: Clock, http_client: Any, closing: AsyncExitStack
) -> PaymentGateway:
    from tillport.adapters.stripe import StripeConnection, StripeGateway

    assert settings.stripe_secret_key is not None, "checked before"
    try:
        connection = StripeConnection(
            secret_key=settings.stripe_secret_key.reveal(),
            clock=clock,
            base_address=settings.stripe_address,
            http_client=http_client,
        )
    except TillportError as error:
        raise SettingsRefused(error.message, remedy=error.remedy) from error
    closing.push_async_callback(connection.aclose)
    return StripeGateway(connection=connection)


def _channel(messaging_url: Secret, clock: Clock, closing: AsyncExitStack) -> Channel:
    if is_memory(messaging_url.reveal()):
        return MemoryChannel(clock, keeps=MEMORY_MESSAGES_MAX)
    channel = nats_channel(messaging_url)
    closing.push_async_callback(channel.close)
    return channel


def _nonce() -> str:
    return secrets.token_hex(16)


def _owner(random: Random) -> str:
    """Name this process, for people who look at who relays, and unlike any other."""
    return f"{socket.gethostname()}:{os.getpid()}:{random.getrandbits(32):08x}"


def _reveal(keys: tuple[Secret, ...]) -> list[str]:
    return [key.reveal() for key in keys]
