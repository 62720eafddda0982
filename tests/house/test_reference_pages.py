"""The pages of reference leave nothing out, and their numbers are those of the code: prose is run by nobody."""

import inspect
import re
from pathlib import Path

import attrs
import pytest

import tillport.adapters.compose.metrics
import tillport.adapters.litestar.metrics
from tillport.adapters.cli.bounded import PIPELINED_MAX, UNFINISHED_BYTES_MAX
from tillport.adapters.cli.serve import GRACE_SECONDS, KEEP_ALIVE_SECONDS
from tillport.adapters.compose import Settings
from tillport.adapters.compose.settings import RETENTION_DAYS_MIN
from tillport.adapters.litestar import HttpSettings
from tillport.adapters.litestar.errors import OUTCOME_STATUS, STATUS
from tillport.adapters.litestar.events import LIMIT_MAX
from tillport.adapters.runtime import RelayWork, group_commit
from tillport.adapters.sql.effects_inline import EffectFailed
from tillport.adapters.sql.postgres_store import PostgresStore
from tillport.adapters.sql.sqlite_file import BUSY_TIMEOUT_SECONDS
from tillport.adapters.stripe.connection import Patience
from tillport.domain.charge import KEY_HORIZON_SECONDS, MAX_KEY_CHARACTERS
from tillport.domain.differences import DifferenceKind
from tillport.domain.handlers import Retries
from tillport.domain.selector import MAX_CHARACTERS
from tillport.domain.verify import DEFAULT_TOLERANCE_SECONDS, MAX_HEADER_CHARACTERS, SignatureMissing
from tillport.domain.window import SETTLING_SECONDS
from tillport.ports.errors import TillportError
from tillport.ports.event_log import EventContended
from tillport.ports.history import EVENT_RETENTION_SECONDS

DOCS = Path(__file__).parents[2] / "docs"
KIB, MIB, HOUR, DAY = 1024, 1024 * 1024, 3600, 86_400
NEVER_TOLD = {"disconnected", "webhook_refused", "no_transaction"}
"""Nobody is left to be told; the name of a family; of a host's own connection, in no service."""


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def default(kind: type, name: str) -> float:
    found = getattr(attrs.fields(kind), name).default
    assert isinstance(found, int | float)
    return found


def kinds_of(error: type[TillportError]) -> set[type[TillportError]]:
    """Return an error and every kind of it that the product has."""
    found = {error}
    for kind in error.__subclasses__():
        if kind.__module__.startswith("tillport."):
            found |= kinds_of(kind)
    return found


def statuses() -> dict[str, int]:
    """Return the status of every code that an answer may have."""
    told = dict(OUTCOME_STATUS) | {"internal_error": 500}
    for error in STATUS:
        for kind in kinds_of(error):
            told[kind.code] = next(STATUS[one] for one in kind.__mro__ if one in STATUS)
    return {code: status for code, status in told.items() if code not in NEVER_TOLD}


def test_every_code_of_an_answer_stands_beside_its_status() -> None:
    rows = [row.split("|") for row in page("reference/http.md").splitlines() if row.startswith("| ")]
    missing = {
        code: status
        for code, status in statuses().items()
        if not any(f"`{code}`" in row[2] and str(status) in row[1] for row in rows)
    }
    assert missing == {}


def test_the_codes_of_kinds_are_among_them() -> None:
    assert {EffectFailed.code, EventContended.code, SignatureMissing.code} <= set(statuses())


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(Settings)])
def test_every_setting_has_its_row(name: str) -> None:
    assert f"\n| `{name}` | " in page("reference/settings.md")


def test_every_metric_is_explained() -> None:
    names = set()
    for module in (tillport.adapters.compose.metrics, tillport.adapters.litestar.metrics):
        names |= set(re.findall(r'"(tillport_\w+)"', inspect.getsource(module)))
    assert len(names) > 10
    explained = set(re.findall(r"tillport_\w+", page("how-to/explain-a-payment.md")))
    assert names <= explained, names - explained


@pytest.mark.parametrize("kind", list(DifferenceKind))
def test_every_difference_that_reconciling_finds_is_told(kind: DifferenceKind) -> None:
    assert f"\n| `{kind.value}` | " in page("how-to/catch-up.md")


PATIENCE = Patience()
LIMITS = {
    "a charge's body": [("64 KiB", default(HttpSettings, "charge_bytes_max") / KIB)],
    "a webhook's body": [("1 MiB", default(HttpSettings, "webhook_bytes_max") / MIB)],
    "`Idempotency-Key`": [("255", MAX_KEY_CHARACTERS)],
    "the header `Stripe-Signature`": [("2,048", MAX_HEADER_CHARACTERS)],
    "the age of a signature": [("300", DEFAULT_TOLERANCE_SECONDS)],
    "events of one process": [
        ("4,096", group_commit.WAITING_EVENTS_MAX),
        ("64 MiB", group_commit.WAITING_BYTES_MAX / MIB),
        ("Retry-After: 2", group_commit.RETRY_AFTER_SECONDS),
    ],
    "streams of one process": [("10,000", default(HttpSettings, "streams_max"))],
    "a selector": [("1,000", MAX_CHARACTERS)],
    "rows of `GET /events`": [("1,000", LIMIT_MAX)],
    "a request's head": [("64 KiB", UNFINISHED_BYTES_MAX / KIB)],
    "requests that wait": [("100", PIPELINED_MAX)],
    "a charge: one request": [("60", PATIENCE.longest_call_seconds)],
    "… before another process": [("90", 1.5 * PATIENCE.longest_call_seconds)],
    "… how long it is sent": [("23 hours", KEY_HORIZON_SECONDS / HOUR)],
    "an idle connection": [("130", KEEP_ALIVE_SECONDS)],
    "an idle stream": [("15", default(HttpSettings, "ping_seconds"))],
    "a statement on PostgreSQL": [
        ("10 seconds", default(PostgresStore, "statement_timeout_seconds")),
        ("5", default(PostgresStore, "connect_timeout_seconds")),
        ("1", default(PostgresStore, "lock_timeout_seconds")),
    ],
    "waiting for another process's write": [("5", BUSY_TIMEOUT_SECONDS)],
    "a dead process's relay": [("12", default(RelayWork, "lease_seconds") * 4 / 3)],
    "… tries before": [
        ("8", Retries().most_tries),
        ("1 second", Retries().first_seconds),
        ("an hour", Retries().longest_seconds / HOUR),
    ],
    "what a stop waits for": [("25", GRACE_SECONDS)],
    "events are kept": [("30 days", RETENTION_DAYS_MIN)],
    "how far back": [("30 days", EVENT_RETENTION_SECONDS / DAY), ("10 minutes", SETTLING_SECONDS / 60)],
}


@pytest.mark.parametrize("what", LIMITS)
def test_a_limit_on_the_page_is_the_codes(what: str) -> None:
    (row,) = (row for row in page("reference/limits.md").splitlines() if row.startswith(f"| {what}"))
    for told, number in LIMITS[what]:
        assert told in row
        said = re.search(r"[\d,]+", told)
        assert (int(said[0].replace(",", "")) if said else 1) == number
