"""The statements that SQLite and PostgreSQL share, written once in SQLAlchemy Core.

They are compiled once per dialect to text with bound values (`compiled`) and run on whatever cursor there is: our
own connection, or a host's. Where the dialects need different statements, each has them in its own module.
Names of bound values are written beside each statement's use: `one.positional(key=…)`.
"""

from functools import cache
from typing import Any, Final

import attrs
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    Double,
    Integer,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement

from tillport.adapters.sql.rows import ATTEMPT_COLUMNS
from tillport.adapters.sql.schema import attempts, cursors
from tillport.ports.cursors import LEASE_AHEAD_SECONDS
from tillport.ports.ledger import AttemptState

HORIZON: Final = "coalesce((SELECT value FROM tillport_log_state WHERE name = 'horizon'), 0)"
"""Up to where retention has taken every event, as a piece of SQL. The row comes with the first that is taken."""


def _constant(state: AttemptState) -> ColumnElement[str]:
    """Write a state into the text: a partial index is found only by constants."""
    return literal_column(f"'{state.value}'", Text)


_OPEN: Final = [_constant(state) for state in AttemptState if not state.final]
_FINAL: Final = [_constant(state) for state in AttemptState if state.final]
_FROM_ANY_TRY: Final = [
    _constant(state) for state in AttemptState if state.final and state is not AttemptState.REFUSED
]
_UNSETTLED: Final = [_constant(AttemptState.STARTED), _constant(AttemptState.UNKNOWN)]


@attrs.frozen
class Compiled:
    """SQL text, and how to hand its values to a cursor that takes them by position."""

    text: str
    _names: tuple[str, ...]
    _constants: dict[str, Any]

    def positional(self, **values: Any) -> tuple[Any, ...]:
        """Return the values in the order of the text. Raises `KeyError` for one that is missing."""
        known = self._constants | values
        return tuple(known[name] for name in self._names)


def compiled(statement: ClauseElement, dialect: Dialect) -> Compiled:
    """Compile a Core statement for a positional paramstyle (`qmark`, `format`, `numeric_dollar`)."""
    result: Any = statement.compile(dialect=dialect)
    given = {name for name, bind in result.binds.items() if bind.required}
    return Compiled(
        str(result),
        tuple(result.positiontup or ()),
        {name: value for name, value in result.construct_params(_check=False).items() if name not in given},
    )


@attrs.frozen(kw_only=True)
class LedgerStatements:
    """The charge ledger. Each is one statement, so each is atomic by itself; the values are named `b_…`."""

    insert: Compiled
    """All columns by name; returns the key if it is new, else nothing."""
    find: Compiled
    """`b_key`."""
    take_over: Compiled
    """`b_key`, `b_seen_tries`, `b_now`, `b_busy_until`; returns the attempt, or nothing."""
    settle: Compiled
    """`b_key`, `b_tries`, and `outcome_row` under `b_` names; returns the attempt if it took the outcome."""
    unsettled: Compiled
    """`b_idle_at`, `b_limit`."""
    erase_payment: Compiled
    """`b_payment_id`; returns the keys of the attempts that were erased."""


@attrs.frozen(kw_only=True)
class CursorStatements:
    """The consumer cursors. Each is one statement; the values are named `b_…`."""

    claim: Compiled
    """`b_name`, `b_owner`, `b_now`, `b_until`; returns the position, or nothing while another holds the lease."""
    advance: Compiled
    """`b_name`, `b_owner`, `b_position`; returns the position, or nothing if the lease is lost."""
    release: Compiled
    """`b_name`, `b_owner`."""
    positions: Compiled
    drop: Compiled
    """`b_name`, `b_now`; returns the name if it was dropped."""


def insert_into(dialect: Dialect) -> Any:
    """Return the dialect's own `insert`, which knows `on_conflict_do_nothing`."""
    return {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect.name]


@cache
def ledger_statements(dialect: Dialect) -> LedgerStatements:
    """Return the ledger's statements for a dialect, compiled."""
    row = attempts.c
    columns = [row[name] for name in ATTEMPT_COLUMNS]
    insert = insert_into(dialect)
    idle_since = case((row.busy_until > row.tried_at, row.busy_until), else_=row.tried_at)
    state = bindparam("b_state", type_=Text)
    from_latest_try = and_(
        row.tries == bindparam("b_tries", type_=Integer),
        or_(
            state.in_([_constant(AttemptState.UNKNOWN), _constant(AttemptState.REFUSED)]),
            and_(state == _constant(AttemptState.NOT_SENT), row.state != _constant(AttemptState.UNKNOWN)),
        ),
    )
    statements = {
        "insert": insert(attempts)
        .values({name: bindparam(f"b_{name}", type_=attempts.c[name].type) for name in ATTEMPT_COLUMNS})
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(row.key),
        "find": select(*columns).where(row.key == bindparam("b_key", type_=Text)),
        "take_over": update(attempts)
        .where(
            row.key == bindparam("b_key", type_=Text),
            row.tries == bindparam("b_seen_tries", type_=Integer),
            row.busy_until <= bindparam("b_now", type_=Double),
            row.state.in_(_OPEN),
        )
        .values(
            tries=row.tries + 1,
            tried_at=bindparam("b_now", type_=Double),
            busy_until=bindparam("b_busy_until", type_=Double),
            # Whoever held a started attempt may have reached Stripe.
            state=case(
                (row.state == _constant(AttemptState.NOT_SENT), _constant(AttemptState.STARTED)),
                else_=_constant(AttemptState.UNKNOWN),
            ),
        )
        .returning(*columns),
        "settle": update(attempts)
        .where(
            row.key == bindparam("b_key", type_=Text),
            row.state.in_(_OPEN),
            or_(state.in_(_FROM_ANY_TRY), from_latest_try),
        )
        .values(
            state=state,
            outcome_body=bindparam("b_outcome_body", type_=Text),
            payment_intent_id=bindparam("b_payment_intent_id", type_=Text),
            charge_id=bindparam("b_charge_id", type_=Text),
            busy_until=0.0,
        )
        .returning(*columns),
        "unsettled": select(*columns)
        .where(row.state.in_(_UNSETTLED), row.busy_until <= bindparam("b_idle_at", type_=Double))
        .order_by(idle_since, row.key)
        .limit(bindparam("b_limit", type_=BigInteger)),
        "erase_payment": update(attempts)
        .where(
            or_(
                row.charge_id == bindparam("b_payment_id", type_=Text),
                row.payment_intent_id == bindparam("b_payment_id", type_=Text),
            ),
            row.state.in_(_FINAL),
            row.token != literal_column("''"),  # else it was erased before
        )
        .values(
            token="",
            details='{"description":null,"metadata":{}}',
            outcome_body='{"id":"' + func.coalesce(row.charge_id, row.payment_intent_id) + '"}',
        )
        .returning(row.key),
    }
    return LedgerStatements(**{name: compiled(one, dialect) for name, one in statements.items()})


@cache
def cursor_statements(dialect: Dialect) -> CursorStatements:
    """Return the cursors' statements for a dialect, compiled."""
    row = cursors.c
    name = bindparam("b_name", type_=Text)
    owner = bindparam("b_owner", type_=Text)
    position = bindparam("b_position", type_=BigInteger)
    insert = insert_into(dialect)(cursors).values(
        name=name, position=0, owner=owner, lease_until=bindparam("b_until", type_=Double)
    )
    statements = {
        "claim": insert.on_conflict_do_update(
            index_elements=["name"],
            set_={"owner": insert.excluded.owner, "lease_until": insert.excluded.lease_until},
            where=or_(
                row.owner.is_(None),
                row.owner == insert.excluded.owner,
                row.lease_until <= bindparam("b_now", type_=Double),
                row.lease_until > insert.excluded.lease_until + LEASE_AHEAD_SECONDS,
            ),
        ).returning(row.position),
        "advance": update(cursors)
        .where(row.name == name, row.owner == owner)
        .values(position=case((row.position < position, position), else_=row.position))
        .returning(row.position),
        "release": update(cursors)
        .where(row.name == name, row.owner == owner)
        .values(owner=None, lease_until=0.0),
        "positions": select(row.name, row.position),
        "drop": delete(cursors)
        .where(
            row.name == name,
            or_(row.owner.is_(None), row.lease_until <= bindparam("b_now", type_=Double)),
        )
        .returning(row.name),
    }
    return CursorStatements(**{key: compiled(one, dialect) for key, one in statements.items()})
