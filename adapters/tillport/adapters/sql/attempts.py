"""The attempt book on SQLite and on PostgreSQL: the same three statements on either store.

Attempts of a stretch of time are read by key, not by time: one pass over the primary key whatever their number,
without an index that every charge would have to write.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any, Final

import attrs
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    Double,
    Text,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    union,
)

from tillport.adapters.sql.rows import ATTEMPT_COLUMNS, attempt_of
from tillport.adapters.sql.schema import attempts
from tillport.adapters.sql.statements import Compiled, compiled
from tillport.ports.attempts import Doubts
from tillport.ports.ledger import Attempt, AttemptState


def _constant(state: AttemptState) -> ColumnElement[str]:
    return literal_column(f"'{state.value}'", Text)  # a partial index is found only by constants


_UNKNOWN: Final = _constant(AttemptState.UNKNOWN)
_STARTED: Final = _constant(AttemptState.STARTED)


@attrs.frozen(kw_only=True)
class _Statements:
    about: Compiled
    """`b_name`."""
    started: Compiled
    """`b_since`, `b_until`, `b_after`, `b_limit`."""
    doubts: Compiled
    """`b_now`."""


@cache
def _statements(dialect: Dialect) -> _Statements:
    row = attempts.c
    columns = [row[name] for name in ATTEMPT_COLUMNS]
    name = bindparam("b_name", type_=Text)
    keys = union(
        *(select(row.key).where(one == name) for one in (row.key, row.charge_id, row.payment_intent_id))
    )
    statements = {
        "about": select(*columns).where(row.key.in_(keys)).order_by(row.started_at, row.key),
        "started": select(*columns)
        .where(
            row.started_at >= bindparam("b_since", type_=Double),
            row.started_at < bindparam("b_until", type_=Double),
            row.key > bindparam("b_after", type_=Text),
        )
        .order_by(row.key)
        .limit(bindparam("b_limit", type_=BigInteger)),
        "doubts": select(func.count(), func.min(row.started_at)).where(
            row.state.in_([_STARTED, _UNKNOWN]),
            or_(row.state == _UNKNOWN, row.busy_until <= bindparam("b_now", type_=Double)),
        ),
    }
    return _Statements(**{key: compiled(one, dialect) for key, one in statements.items()})


Fetch = Callable[[str, tuple[Any, ...]], Awaitable[Sequence[Sequence[Any]]]]
"""Runs SQL text with values by position and returns its rows; raises `LedgerUnavailable`."""


@attrs.frozen
class SqlAttempts:
    """Look attempts up by SQL. `sqlite_attempts` and `postgres_attempts` make one of a store."""

    _dialect: Dialect
    _fetch: Fetch

    async def about(self, name: str) -> Sequence[Attempt]:
        """See `AttemptBook.about`."""
        if not _is_text(name):
            return []
        return [attempt_of(row) for row in await self._rows(_statements(self._dialect).about, b_name=name)]

    async def started(
        self, *, since: float, until: float, after: str | None = None, limit: int = 500
    ) -> Sequence[Attempt]:
        """See `AttemptBook.started`."""
        rows = await self._rows(
            _statements(self._dialect).started,
            b_since=float(since),
            b_until=float(until),
            b_after=after or "",
            b_limit=limit,
        )
        return [attempt_of(row) for row in rows]

    async def doubts(self, *, now: float) -> Doubts:
        """See `AttemptBook.doubts`."""
        ((count, oldest),) = await self._rows(_statements(self._dialect).doubts, b_now=float(now))
        return Doubts(count=count, oldest_started_at=oldest)

    async def _rows(self, statement: Compiled, **values: Any) -> Sequence[Sequence[Any]]:
        return await self._fetch(statement.text, statement.positional(**values))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeError:
        return False
    return "\0" not in name
