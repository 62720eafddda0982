"""`GET /metrics`, in Prometheus's text format (version 0.0.4), behind a server key.

Twenty gauges don't need a library: the format is a page
(https://prometheus.io/docs/instrumenting/exposition_formats/). Every process tells of the whole database and of
itself, so alerts take the maximum over processes: `max(tillport_relay_lag_seconds) > 60`.
"""

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from tillport.adapters.litestar.access import caller_of, server_only
from tillport.adapters.litestar.replies import AnyRequest
from tillport.adapters.litestar.within import within
from tillport.domain.status import Status
from tillport.ports.access import KeyRing
from tillport.ports.event_log import LogUnavailable
from tillport.ports.ledger import LedgerUnavailable

PATH: Final = "/metrics"
STATUS_SECONDS: Final = 5.0
"""How long the database may take; Prometheus gives up after 10 seconds."""


@attrs.frozen
class Metric:
    """One number, or one per label. Names that end in `_total` are counters."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = attrs.field(factory=dict)


def metrics_handler(
    keys: KeyRing, status: Callable[[], Coroutine[Any, Any, Status]], process: Callable[[], Iterable[Metric]]
) -> HTTPRouteHandler:
    """Return the handler of `GET /metrics`. Needs a server key, as `Authorization: Bearer`.

    While the database does not answer it says `tillport_store_up 0` beside what the process knows by itself: an outage
    is when people look.
    """

    @get(PATH, include_in_schema=False)
    async def metrics(request: AnyRequest) -> Response[bytes]:
        """Return how the till fares."""
        server_only(caller_of(request.scope, keys))
        try:
            found = [Metric("tillport_store_up", _UP, 1), *of_status(await within(STATUS_SECONDS, status()))]
        except (LogUnavailable, LedgerUnavailable, TimeoutError):
            found = [Metric("tillport_store_up", _UP, 0)]
        return Response(
            exposition([*found, *process()]).encode(),
            headers={"Cache-Control": "no-store", "Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    return metrics


_UP: Final = "Whether the database answered just now."


def of_status(status: Status) -> Iterator[Metric]:
    """Yield what a status says. An age of nothing is 0, so that an alert on it is quiet."""
    yield Metric("tillport_log_position", "The position of the newest event in the log.", status.head)
    yield Metric("tillport_relay_position", "Up to where the log was published.", status.relay_position or 0)
    yield Metric("tillport_relay_lag_events", "Events that wait to be published.", status.unpublished)
    yield Metric(
        "tillport_relay_lag_seconds",
        "Age of the oldest event that waits to be published.",
        status.oldest_unpublished_seconds or 0,
    )
    yield Metric("tillport_unknown_charges", "Charges whose outcome nobody knows.", status.unknown_charges)
    yield Metric(
        "tillport_unknown_charge_seconds",
        "Age of the oldest charge whose outcome nobody knows.",
        status.oldest_unknown_seconds or 0,
    )
    for name, position in sorted(status.consumers.items()):
        yield Metric(
            "tillport_consumer_position", "How far a consumer has read the log.", position, {"consumer": name}
        )
    for standing in status.standings or ():
        labels = {"handler": standing.handler}
        yield Metric("tillport_effects_due", "Effects that wait to be run.", standing.due, labels)
    for standing in status.standings or ():
        labels = {"handler": standing.handler}
        yield Metric("tillport_dead_letters", "Effects that gave up.", standing.dead, labels)


def exposition(metrics: Iterable[Metric]) -> str:
    r"""Return metrics as text; those of one name must follow each other.

    >>> print(exposition([Metric("a_total", "How\nmany.", 2.0, {"who": 'a "b"'})]), end="")
    # HELP a_total How\nmany.
    # TYPE a_total counter
    a_total{who="a \"b\""} 2
    """
    lines: list[str] = []
    latest = ""
    for metric in metrics:
        if metric.name != latest:
            latest = metric.name
            kind = "counter" if metric.name.endswith("_total") else "gauge"
            lines += [f"# HELP {metric.name} {_escaped(metric.help)}", f"# TYPE {metric.name} {kind}"]
        labels = ",".join(
            f'{name}="{_escaped(value).replace(chr(34), chr(92) + chr(34))}"'
            for name, value in metric.labels.items()
        )
        lines.append(f"{metric.name}{'{' + labels + '}' if labels else ''} {metric.value:.17g}")
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
