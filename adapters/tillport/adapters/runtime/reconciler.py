"""Drive a reconciliation to its end: what fails for a while is tried again, what fails for long ends it early."""

import logging
from collections.abc import Callable

from tillport.domain.reconcile import Reconciliation, Report
from tillport.ports.clock import Clock
from tillport.ports.errors import TillportError
from tillport.ports.event_log import LogUnavailable
from tillport.ports.ledger import LedgerUnavailable
from tillport.ports.payments import GatewayUnavailable

logger = logging.getLogger("tillport.reconcile")

PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""How long to wait after each failure in a row; after the last one the run ends early."""


async def drive(
    reconciliation: Reconciliation,
    clock: Clock,
    *,
    tell: Callable[[Report], None],
    pauses_seconds: tuple[float, ...] = PAUSES_SECONDS,
) -> TillportError | None:
    """Step until the report is complete, telling of each step; return what ended it early, None if nothing did.

    Whatever it ends with, the report says how far it came, and everything up to there is durable.
    """
    failures = 0
    while not reconciliation.report.complete:
        try:
            await reconciliation.step()
        except (GatewayUnavailable, LogUnavailable, LedgerUnavailable) as error:
            if failures >= len(pauses_seconds):
                return error
            pause = pauses_seconds[failures]
            failures += 1
            logger.warning("%s; again in %.0f s", error, pause)
            await clock.sleep_until(clock.now() + pause)
            continue
        except TillportError as error:
            return error  # the key, the mode: waiting helps nobody
        failures = 0
        tell(reconciliation.report)
    return None
