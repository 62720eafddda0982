"""Reconciliation, joined from settings: Stripe's memory and our stores, beside a running service or without one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tillport.adapters.compose.settings import Settings, SettingsRefused
from tillport.adapters.compose.sources import variable
from tillport.adapters.compose.stores import Stores, open_stores, system_clock
from tillport.adapters.runtime.reconciler import PAUSES_SECONDS, drive
from tillport.domain.reconcile import Reconciling
from tillport.ports.clock import Clock
from tillport.ports.errors import TillportError
from tillport.ports.history import PaymentHistory

__all__ = ["PAUSES_SECONDS", "drive", "open_reconciling"]


@asynccontextmanager
async def open_reconciling(
    settings: Settings,
    *,
    clock: Clock | None = None,
    stores: Stores | None = None,
    history: PaymentHistory | None = None,
    stripe_http_client: Any = None,
) -> AsyncIterator[Reconciling]:
    """Open what reconciling needs, and close it on the way out; what is handed in is not closed here.

    Of the settings it needs Stripe's secret key (a restricted key that may read events, the balance and the sources of
    balance transactions is enough) and the database. Raises `SettingsRefused`.
    """
    clock = clock or system_clock()
    async with AsyncExitStack() as closing:
        if history is None:
            history = _history(settings, clock, stripe_http_client, closing)
        if stores is None:
            stores = await closing.enter_async_context(
                open_stores(settings.database_url, clock, all_placed=True)
            )
        yield Reconciling(
            history=history,
            log=stores.log,
            ledger=stores.ledger,
            attempts=stores.attempts,
            doorbell=stores.doorbell,
            clock=clock,
            livemode=settings.livemode,
        )


def _history(settings: Settings, clock: Clock, http_client: Any, closing: AsyncExitStack) -> PaymentHistory:
    from tillport.adapters.stripe import StripeConnection, StripeHistory

    if settings.stripe_secret_key is None:
        raise SettingsRefused(
            "There is no Stripe secret key, so Stripe can't be asked what it remembers.",
            remedy=f"Set {variable('stripe_secret_key')}; a restricted key is enough that may read Events, Balance and "
            "Balance transaction sources.",
        )
    try:
        connection = StripeConnection(
            settings.stripe_secret_key.reveal(),
            clock=clock,
            base_address=settings.stripe_address,
            http_client=http_client,
        )
    except TillportError as error:
        raise SettingsRefused(error.message, remedy=error.remedy) from error
    closing.push_async_callback(connection.aclose)
    return StripeHistory(connection)
