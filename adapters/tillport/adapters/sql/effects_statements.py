"""The statements of an effect queue: one text for each dialect, with named values, for any driver.

Lists travel as one JSON value, because drivers agree on text and on nothing else. On PostgreSQL an effect that
somebody else has locked is passed over (`SKIP LOCKED`): nobody waits for a worker, and none can deadlock another.
On SQLite there is one writer at a time, so nobody is there to be passed over.

Every statement begins by writing, so that a SQLite transaction that was begun as `DEFERRED` waits for its turn
instead of failing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from tillport.adapters.sql.postgres_session import KEEPALIVES
from tillport.ports.effects import Effect, EffectState, Standing
from tillport.ports.event_log import LogUnavailable

_COLUMNS: Final = "handler, event_id, position, payment_key, in_order, state, tries, claims, due_at, error"  # as `effect_of` reads
_E_COLUMNS: Final = ", ".join(f"e.{name}" for name in _COLUMNS.split(", "))

Values = Mapping[str, Any]


@attrs.frozen(kw_only=True)
class EffectStatements:
    """Texts with `:named` values, for SQLAlchemy's `text()`."""

    begin: str
    place: str
    move: str
    enlist: str
    claim: str
    give_back: str
    mark: str
    unmark: str
    postpone: str
    retry: str
    skip: str
    standings: str
    stretch: str
    forget: str


# ruff: noqa: S608 - every text below is put together from constants of this module

_DUE_NOW: Final = """
    SELECT {columns} FROM tillport_effects AS e
    WHERE e.handler = :handler AND e.state = 'due' AND e.due_at <= :now AND NOT (e.in_order AND EXISTS (
        SELECT 1 FROM tillport_effects AS earlier
        WHERE earlier.handler = e.handler AND earlier.payment_key = e.payment_key
          AND earlier.position < e.position AND earlier.state IN ('due', 'dead')))
    ORDER BY e.due_at, e.position LIMIT :limit{lock}
"""
# Whoever names effects by their ids must be served by the primary key. Before PostgreSQL has statistics it takes a
# partial index for as good and reads all that is due, again and again; so what these indexes cover is not said to it.
_IS_DUE: Final = "state || '' = 'due'"
_IS_DEAD: Final = "state || '' = 'dead'"
_IS_OPEN: Final = "state || '' IN ('due', 'dead')"

_BEHIND: Final = "(event_id, handler) > (:event_id, :handler)"

_SHARED: Final = {
    "begin": "INSERT INTO tillport_effect_handlers (handler, position) VALUES (:handler, :position) "
    "ON CONFLICT (handler) DO NOTHING",
    "place": "SELECT position FROM tillport_effect_handlers WHERE handler = :handler",
    "move": "UPDATE tillport_effect_handlers SET position = :position "
    "WHERE handler = :handler AND position = :after RETURNING position",
    "postpone": "UPDATE tillport_effects SET tries = tries + 1, error = :error, state = :state, "
    "due_at = coalesce(CAST(:due_at AS DOUBLE PRECISION), due_at) "
    f"WHERE handler = :handler AND event_id = :event_id AND {_IS_DUE}",
    "retry": "UPDATE tillport_effects SET state = 'due', tries = 0, claims = 0, due_at = :now "
    f"WHERE handler = :handler AND event_id = :event_id AND {_IS_DEAD} RETURNING event_id",
    "skip": "UPDATE tillport_effects SET state = 'skipped' "
    f"WHERE handler = :handler AND event_id = :event_id AND {_IS_OPEN} RETURNING event_id",
    "standings": "SELECT h.handler, h.position, "
    "coalesce(sum(CASE WHEN e.state = 'due' THEN 1 ELSE 0 END), 0) AS due, "
    "coalesce(sum(CASE WHEN e.state = 'dead' THEN 1 ELSE 0 END), 0) AS dead, min(e.position) AS oldest "
    "FROM tillport_effect_handlers AS h LEFT JOIN tillport_effects AS e "
    "ON e.handler = h.handler AND e.state IN ('due', 'dead') GROUP BY h.handler, h.position ORDER BY h.handler",
    # Along the primary key, so that the table is gone through once, however much of it stays.
    "stretch": f"SELECT event_id, handler FROM (SELECT event_id, handler FROM tillport_effects WHERE {_BEHIND} "
    "ORDER BY event_id, handler LIMIT :limit) AS next ORDER BY event_id DESC, handler DESC LIMIT 1",
    "forget": f"DELETE FROM tillport_effects WHERE {_BEHIND} AND (event_id, handler) <= (:last_event_id, :last_handler) "
    "AND position <= :up_to AND state IN ('done', 'skipped') RETURNING 1",
}

_ENLIST: Final = (
    f"INSERT INTO tillport_effects ({_COLUMNS}) "
    "SELECT :handler, {event_id}, {position}, {payment_key}, {in_order}, 'due', 0, 0, {due_at}, NULL FROM {rows} "
    "ON CONFLICT (handler, event_id) DO NOTHING"
)

_PG_IDS: Final = "ANY (ARRAY(SELECT jsonb_array_elements_text(CAST(:event_ids AS jsonb))))"
_PG_MINE: Final = f"""
    SELECT handler, event_id FROM tillport_effects
    WHERE handler = :handler AND event_id = {_PG_IDS} AND {_IS_DUE} FOR UPDATE SKIP LOCKED
"""
_LITE_IDS: Final = "(SELECT value FROM json_each(:event_ids))"

POSTGRESQL_EFFECTS: Final = EffectStatements(
    **_SHARED,
    enlist=_ENLIST.format(
        event_id="r.event_id",
        position="r.position",
        payment_key="r.payment_key",
        in_order="r.in_order",
        due_at="r.due_at",
        rows="jsonb_to_recordset(CAST(:rows AS jsonb)) "
        "AS r (event_id text, position bigint, payment_key text, in_order boolean, due_at float8)",
    ).replace(":handler", "CAST(:handler AS TEXT)"),
    claim=f"""
        WITH due AS MATERIALIZED ({_DUE_NOW.format(columns="e.handler, e.event_id", lock=" FOR UPDATE OF e SKIP LOCKED")})
        UPDATE tillport_effects AS e SET due_at = :until, claims = e.claims + 1 FROM due
        WHERE e.handler = due.handler AND e.event_id = due.event_id RETURNING {_E_COLUMNS}
    """,
    give_back=f"""
        WITH mine AS MATERIALIZED ({_PG_MINE})
        UPDATE tillport_effects AS e SET due_at = :now, claims = greatest(e.claims - 1, 0) FROM mine
        WHERE e.handler = mine.handler AND e.event_id = mine.event_id
    """,
    mark=f"""
        WITH mine AS MATERIALIZED ({_PG_MINE})
        UPDATE tillport_effects AS e SET state = 'done' FROM mine
        WHERE e.handler = mine.handler AND e.event_id = mine.event_id RETURNING e.event_id, CAST(e.xmin AS TEXT)
    """,
    unmark=f"""
        UPDATE tillport_effects SET state = 'due' WHERE handler = :handler AND event_id = {_PG_IDS}
    """,
)

FREE: Final = f"""
    UPDATE tillport_effects SET state = 'due'
    WHERE handler = :handler AND event_id = {_PG_IDS} AND state = 'done' AND CAST(xmin AS TEXT) = :xid
"""
"""Takes back, on PostgreSQL, marks that a transaction of ours has committed: none that another worker has set since."""

SQLITE_EFFECTS: Final = EffectStatements(
    **_SHARED,
    # WHERE true: without it SQLite takes ON CONFLICT for a part of the join.
    enlist=_ENLIST.format(
        event_id="json_extract(value, '$.event_id')",
        position="json_extract(value, '$.position')",
        payment_key="json_extract(value, '$.payment_key')",
        in_order="json_extract(value, '$.in_order')",
        due_at="json_extract(value, '$.due_at')",
        rows="json_each(:rows) WHERE true",
    ),
    claim=f"""
        UPDATE tillport_effects SET due_at = :until, claims = claims + 1
        WHERE handler = :handler AND event_id IN (
            SELECT event_id FROM ({_DUE_NOW.format(columns="e.event_id", lock="")}))
        RETURNING {_COLUMNS}
    """,
    give_back=f"""
        UPDATE tillport_effects SET due_at = :now, claims = max(claims - 1, 0)
        WHERE handler = :handler AND event_id IN {_LITE_IDS} AND {_IS_DUE}
    """,
    mark=f"""
        UPDATE tillport_effects SET state = 'done'
        WHERE handler = :handler AND event_id IN {_LITE_IDS} AND {_IS_DUE} RETURNING event_id
    """,
    unmark=f"UPDATE tillport_effects SET state = 'due' WHERE handler = :handler AND event_id IN {_LITE_IDS}",
)

FORGET_STRETCH: Final = 2000
"""How many effects are looked at in one transaction of `forget`: milliseconds, in which nobody else writes on SQLite."""

STATEMENT_SECONDS: Final = 10.0
"""How long a database may take to answer what is ours, where that can be limited."""

IDLE_SECONDS: Final = 300.0
"""Ten times what a coroutine handler may take unless told otherwise. It is counted anew after each statement, and each
handler is followed by one, so it does not matter how many share a round."""

LIMITS: Final = "SELECT " + ", ".join(
    f"set_config('{name}', {value}, true)"
    for name, value in (
        ("idle_in_transaction_session_timeout", ":idle_milliseconds"),
        *((name, f"'{value}'") for name, value in KEEPALIVES.items()),
    )
)
"""What a transaction of ours begins with on PostgreSQL, and ends with: it is nobody else's.

A worker whose machine or network went away without a word would otherwise keep its rows locked for hours. The server
finds that out by itself in eleven seconds, and of a worker that stands still after `idle_seconds`.
"""

STATEMENTS: Final = {"postgresql": POSTGRESQL_EFFECTS, "sqlite": SQLITE_EFFECTS}


_REMEDY: Final = (
    "Look at the database that holds the effects: does it run, is it unlocked, has it the tables "
    "(`create_tables`, or Tillport's migrations)? Then try again."
)


def unavailable(error: Exception) -> LogUnavailable:
    """Return what to raise when one of these statements can't be carried out. Tells no values."""
    state = sqlstate_of(error) or getattr(error, "sqlite_errorname", None)
    what = " ".join(filter(None, (type(error).__name__, state)))
    return LogUnavailable(f"The effects can't be reached now ({what}).", remedy=_REMEDY)


def sqlstate_of(error: Exception) -> str | None:
    """Return what PostgreSQL calls an error of a driver's, or of SQLAlchemy's around it."""
    return getattr(getattr(error, "orig", error), "sqlstate", None)


def limits_values(idle_seconds: float) -> dict[str, Any]:
    """Return the values of `LIMITS`."""
    return {"idle_milliseconds": str(int(idle_seconds * 1000))}


def as_json(value: Any) -> str:
    """Return a list as the statements take it."""
    return msgspec.json.encode(value).decode()


def enlist_values(handler: str, effects: Sequence[Effect]) -> dict[str, Any]:
    """Return the values of `enlist`."""
    rows = [
        {
            "event_id": effect.event_id,
            "position": effect.position,
            "payment_key": effect.payment_key,
            "in_order": effect.in_order,
            "due_at": float(effect.due_at),
        }
        for effect in effects
    ]
    return {"handler": handler, "rows": as_json(rows)}


def ids_of(effects: Sequence[Effect]) -> dict[str, Any]:
    """Return the values that name effects of one handler."""
    assert len({effect.handler for effect in effects}) == 1, "one handler at a time"
    return {"handler": effects[0].handler, "event_ids": as_json([effect.event_id for effect in effects])}


def postpone_values(effect: Effect, error: str, due_at: float | None) -> dict[str, Any]:
    """Return the values of `postpone`."""
    return {
        "handler": effect.handler,
        "event_id": effect.event_id,
        "error": error,
        "state": EffectState.DEAD.value if due_at is None else EffectState.DUE.value,
        "due_at": None if due_at is None else float(due_at),
    }


def list_statement(
    states: Sequence[EffectState],
    handler: str | None,
    event_id: str | None,
    payment_key: str | None,
    limit: int,
) -> tuple[str, dict[str, Any]]:
    """Return the statement that lists, for both dialects, and its values.

    It says nothing that was not asked for, so that each question finds its index.
    """
    asked = {"handler": handler, "event_id": event_id, "payment_key": payment_key}
    values: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    # States are our own words; as constants they are known to be covered by an index of what is open.
    words = ", ".join(f"'{state.value}'" for state in states) or "NULL"
    conditions = " AND ".join([f"state IN ({words})", *(f"{name} = :{name}" for name in values)])
    return (
        f"SELECT {_COLUMNS} FROM tillport_effects WHERE {conditions} ORDER BY position, handler LIMIT :limit",
        {**values, "limit": limit},
    )


Place: TypeAlias = tuple[str, str]
"""Where a stretch of effects ends: event id and handler."""

BEGINNING: Final[Place] = ("", "")


def stretch_values(place: Place) -> dict[str, Any]:
    """Return the values of `stretch`, which finds the end of the next one; there is no row if nothing follows."""
    return {"event_id": place[0], "handler": place[1], "limit": FORGET_STRETCH}


def forget_values(place: Place, last: Place, up_to: int) -> dict[str, Any]:
    """Return the values of `forget` for one stretch, which returns a row for each that is gone."""
    ends = {"event_id": place[0], "handler": place[1], "last_event_id": last[0], "last_handler": last[1]}
    return {**ends, "up_to": up_to}


def effect_of(row: Sequence[Any]) -> Effect:
    """Return the effect of a row of every column."""
    return Effect(
        handler=row[0],
        event_id=row[1],
        position=row[2],
        payment_key=row[3],
        in_order=bool(row[4]),
        state=EffectState(row[5]),
        tries=row[6],
        claims=row[7],
        due_at=row[8],
        error=row[9],
    )


def by_position(rows: Sequence[Sequence[Any]]) -> list[Effect]:
    """Return the effects of rows that came in any order."""
    return sorted(map(effect_of, rows), key=lambda effect: effect.position)


def standing_of(row: Sequence[Any]) -> Standing:
    """Return a row of `standings` as what it means."""
    return Standing(
        handler=row[0], position=row[1], due=int(row[2]), dead=int(row[3]), oldest_position=row[4]
    )
