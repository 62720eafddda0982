"""What a service tells of itself, for `GET /metrics`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import attrs

from tillport.domain.status import Status, take_status
from tillport.ports.effects import EffectQueue
from tillport.ports.event_log import LogUnavailable

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from tillport.adapters.compose.service import Service
    from tillport.adapters.litestar.metrics import Metric

EFFECTS_SECONDS: Final = 2.0
"""How long the effects may take to answer. Less than the whole look may (`STATUS_SECONDS`), which must not fail on their account."""


def metrics_of(service: "Service", *, effects: EffectQueue[Any] | None = None) -> "HTTPRouteHandler":
    """Return the handler of `GET /metrics` for a service, and for the queue of effects. Needs `tillport[litestar]`.

    Without a queue it tells of the effects that are kept in the log's own database.
    """
    from tillport.adapters.litestar.metrics import metrics_handler
    from tillport.adapters.litestar.within import within

    stores = service.stores
    standings = stores.standings if effects is None else effects.standings

    async def status() -> Status:
        found = await take_status(stores.log, stores.cursors, stores.attempts, now=service.clock.now())
        if standings is None:
            return found
        try:
            return attrs.evolve(found, standings=tuple(await within(EFFECTS_SECONDS, standings())))
        except (LogUnavailable, TimeoutError):
            return found  # another database, perhaps: that it is away must not hide how the log fares

    return metrics_handler(service.keys, status, lambda: process_metrics(service))


def process_metrics(service: "Service") -> "Iterator[Metric]":
    """Yield what this process knows by itself, with no look at the database."""
    from tillport.adapters.litestar.metrics import Metric

    waiting = getattr(service.till.log, "waiting", 0)
    yield Metric("tillport_ingest_waiting_events", "Events that wait for a commit to begin.", waiting)
    yield Metric(
        "tillport_relay_active",
        "Whether this process is the one that publishes.",
        service.relay.position is not None,
    )
    yield Metric(
        "tillport_relay_published_total", "Events that this process published.", service.relay.published
    )
    yield Metric(
        "tillport_resolver_settled_total",
        "Unknown charges that this process settled.",
        service.resolver.settled,
    )
    names = {loop: {"loop": loop.work.name} for loop in service.loops}
    for loop in service.loops:
        failures = loop.state.failures_in_a_row
        yield Metric("tillport_loop_failures", "Failures in a row of a loop.", failures, names[loop])
    for loop in service.loops:
        yield Metric(
            "tillport_loop_last_good_timestamp_seconds",
            "When a loop last did a step that worked; 0 for never.",
            loop.state.last_good_at or 0,
            names[loop],
        )
