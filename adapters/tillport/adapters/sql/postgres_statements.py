"""The statements that PostgreSQL has to itself: recording, giving positions, reading, forgetting."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    Select,
    Subquery,
    bindparam,
    func,
    literal_column,
    select,
    true,
)

from tillport.adapters.sql.packed import pack
from tillport.adapters.sql.rows import EVENT_COLUMNS, event_row, event_selection, more_aliases
from tillport.adapters.sql.schema import events, log_state, order
from tillport.adapters.sql.selection import Shape, condition
from tillport.adapters.sql.statements import Compiled, compiled
from tillport.ports.event_log import Event

NEWS: Final = "tillport_news"
"""Where it is told that positions were given. The payload is who gave them."""

ARRIVALS: Final = "tillport_arrivals"
"""Where it is told, from within a host's transaction, that its commit left events without a position."""

ANNOUNCE: Final = (
    f"SELECT pg_notify('{ARRIVALS}', ''), CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') "
    "THEN set_config('synchronous_commit', 'on', true) END"
)
"""What a host's transaction says once it has recorded something new: it is heard when, and only if, it commits.

And it commits to the disk, whatever the host's setting: a repetition of the event, which others see from then on, is
acknowledged because the event is there.
"""

_SEQUENCING_LOCK: Final = 0x7111_9047_0000_0002

_TYPES: Final = {"key_is_alias": "bool", "livemode": "bool", "created": "bigint", "received_at": "float8"}
_COLUMNS: Final = ", ".join(EVENT_COLUMNS)
_PACKED: Final = tuple(name for name in EVENT_COLUMNS if name not in (*_TYPES, "body"))
"""The columns of short texts, which travel as one text each (`packed`)."""


_POSITIONS: Final = "tillport_order_position_seq"
"""The sequence that positions are drawn from, under `_SEQUENCING_LOCK` alone."""

_NUMBERS: Final = '"StripeEvents_seq_seq"'

_DRAWN: Final = "CASE WHEN is_called THEN last_value ELSE last_value - 1 END"
"""The newest number of a sequence. One that nothing was drawn from says 1 too, and gives that next."""

_HEAD: Final = (
    "greatest((SELECT max(position) FROM tillport_order), "
    "(SELECT value FROM tillport_log_state WHERE name = 'horizon'), 0)"
)

_LEFT_WAITING: Final = "queued AS (INSERT INTO tillport_pending (seq) SELECT seq FROM fresh"


def record_statement(mark: Callable[[int], str] = "${}".format, *, with_aliases: bool) -> str:
    """Return the statement that records a batch, leaves it waiting for positions, and returns id and `seq` of each new event.

    For a transaction that may stay open. Its values are those of `record_values`. `mark` writes a driver's placeholder.

    Hand the events in by the order of their ids. Two batches that hold the same two events then wait for each other
    where they might otherwise deadlock; the ranks say in which order the events were recorded nevertheless.
    """
    return _record(mark, f"{_LEFT_WAITING})", "SELECT event_id, seq FROM fresh", with_aliases=with_aliases)


@lru_cache(maxsize=64)
def placing_statement(*, with_aliases: bool, sender: str) -> str:
    """Return the statement that records a batch, gives it positions and tells everybody. Its values are the same.

    Each row ends with the position of the first of them, after which the others follow in the order of their numbers. It is
    null if the batch was left waiting, because positions were given by an older version of Tillport and the sequence lags
    behind them: the sequencer's script brings it up. To be committed by itself, at once. `sender` is a word of our own
    making. See `postgres_positions`.
    """
    assert sender.isalnum()
    return _record(
        "${}".format,
        _placed(sender),
        "SELECT event_id, seq, (SELECT min(position) FROM placed) FROM fresh",
        with_aliases=with_aliases,
    )


_IS_PLACED: Final = "EXISTS (SELECT 1 FROM told)"


def _placed(sender: str) -> str:
    return (
        # All rows are in before the lock is asked for: whoever waits for a host's transaction holds up nobody else.
        "counted AS MATERIALIZED (SELECT count(*) AS new FROM fresh), "  # noqa: S608 - numbers, constants and a word of ours
        # For this lock one waits as long as a statement may take: those who hold it are committing.
        "locked AS MATERIALIZED (SELECT new, set_config('lock_timeout', '0', true), "
        f"pg_advisory_xact_lock({_SEQUENCING_LOCK}) FROM counted WHERE new > 0), "
        # It names `new`, so that it is read after the lock was taken; the head is that of the statement's beginning.
        "drawn AS MATERIALIZED (SELECT newest FROM locked CROSS JOIN LATERAL "
        f"(SELECT {_DRAWN} AS newest FROM {_POSITIONS} WHERE new > 0 OFFSET 0) AS positions), "
        f"told AS MATERIALIZED (SELECT pg_notify('{NEWS}', '{sender}') FROM drawn WHERE newest >= {_HEAD}), "
        f"placed AS (INSERT INTO tillport_order (position, seq) SELECT nextval('{_POSITIONS}'), seq "
        f"FROM (SELECT seq FROM fresh ORDER BY seq) AS ordered WHERE {_IS_PLACED} RETURNING position), "
        f"{_LEFT_WAITING} WHERE NOT {_IS_PLACED})"
    )


def _record(mark: Callable[[int], str], then: str, result: str, *, with_aliases: bool) -> str:
    ranks, separator, nothing = (
        f"CAST({mark(1)} AS int[])",
        f"CAST({mark(2)} AS text)",
        f"CAST({mark(3)} AS text)",
    )
    arrays = {
        name: f"string_to_array(CAST({mark(number)} AS text), {separator}, {nothing})"
        if name in _PACKED
        else f"CAST({mark(number)} AS {_TYPES.get(name, 'text')}[])"
        for number, name in enumerate(EVENT_COLUMNS, 4)
    }
    more, owners = (f"CAST({mark(number)} AS text[])" for number in (PLAIN_VALUES + 1, PLAIN_VALUES + 2))
    aliases = (
        ", named AS (INSERT INTO tillport_aliases (alias, seq) SELECT m.alias, fresh.seq "  # noqa: S608 - constants
        f"FROM unnest({more}, {owners}) AS m (alias, event_id) JOIN fresh USING (event_id) "
        "ON CONFLICT DO NOTHING)"
    )
    return (
        f"WITH numbers AS MATERIALIZED (SELECT array_agg(nextval('{_NUMBERS}')) AS drawn "  # noqa: S608 - constants
        f"FROM generate_series(1, cardinality({ranks}))), "
        f'fresh AS (INSERT INTO "StripeEvents" (seq, {_COLUMNS}) OVERRIDING SYSTEM VALUE '
        f"SELECT (SELECT drawn FROM numbers)[rank], {_COLUMNS} "
        f"FROM unnest({', '.join((ranks, *arrays.values()))}) AS u (rank, {_COLUMNS}) "
        # Without the row that the end of the packed texts makes. An array and not a join, which would be free to
        # change the order.
        "WHERE u.rank IS NOT NULL AND u.event_id <> ALL (ARRAY(SELECT t.event_id FROM tillport_tombstones AS t "
        f"WHERE t.event_id = ANY ({arrays['event_id']}))) "
        "ON CONFLICT (event_id) DO NOTHING RETURNING event_id, seq), "
        f"{then}{aliases if with_aliases else ''} {result}"
    )


PLAIN_VALUES: Final = 3 + len(EVENT_COLUMNS)
"""How many values a statement without aliases takes."""


def record_values(events: Sequence[Event]) -> list[Any]:
    """Return the values of `record_statement`.

    They are the events' ranks (which is the how-manieth, from 1), what the packed texts are cut by, one text or array for
    each of `EVENT_COLUMNS`, and, only if there are more aliases than the columns hold, arrays of those and of the ids of
    their events. Of events with one id only the first counts, aliases included.
    """
    unique: dict[str, tuple[int, Event]] = {}
    for rank, event in enumerate(events, 1):
        unique.setdefault(event.id, (rank, event))
    ranked = sorted(unique.values(), key=lambda pair: pair[1].id)
    rows = [event_row(event) for _, event in ranked]
    columns: dict[str, list[Any]] = {
        name: list(column) for name, column in zip(EVENT_COLUMNS, zip(*rows, strict=True), strict=True)
    }
    separator, nothing, texts = pack([columns[name] for name in _PACKED])
    values = columns | dict(zip(_PACKED, texts, strict=True))
    result = [_dense([rank for rank, _ in ranked]), separator, nothing, *values.values()]
    pairs = [(alias, event.id) for _, event in ranked for alias in more_aliases(event)]
    if pairs:
        result += [[alias for alias, _ in pairs], [event_id for _, event_id in pairs]]
    return result


def _dense(ranks: list[int]) -> list[int]:
    """Close the gaps that repeated ids left, since as many numbers are drawn as there are events."""
    place = {rank: index for index, rank in enumerate(sorted(ranks), 1)}
    return [place[rank] for rank in ranks]


HEAD: Final = f"SELECT {_HEAD} FROM {_POSITIONS}"  # noqa: S608 - constants
"""It names the sequence, so that whoever looks at the log before beginning learns of tables of an older version."""
OLDEST_PENDING: Final = "SELECT min(seq) FROM tillport_pending"


_TAKE_THE_LOCK: Final = (
    # As long as a statement may take: those who hold it are committing.
    f"SELECT set_config('lock_timeout', '0', true), pg_advisory_xact_lock({_SEQUENCING_LOCK}); "
)
BRING_UP_NUMBERS: Final = (
    f"{_TAKE_THE_LOCK}SELECT setval('{_NUMBERS}', newest) FROM {_NUMBERS}, "  # noqa: S608 - constants
    f'(SELECT max(seq) AS newest FROM "StripeEvents") AS ends WHERE newest > {_DRAWN}'
)
"""The script for a copy of the database that came without its sequences, where numbers are drawn that events have already."""


def these_script(numbers: Sequence[int], *, sender: str) -> str:
    """Return the script that gives positions to those of these numbers that wait for one, and tells everybody.

    Its command tag counts them. `sender` is a word of our own making. See `postgres_positions`.
    """
    return _sequence(f"({', '.join(map(str, map(int, numbers)))})", sender)


def everything_script(*, limit: int, sender: str) -> str:
    """Return the script that gives positions to the first of all that wait, and tells everybody."""
    return _sequence(f"(SELECT seq FROM tillport_pending ORDER BY seq LIMIT {limit:d})", sender)  # noqa: S608 - a number


def _sequence(which: str, sender: str) -> str:
    assert sender.isalnum()
    return (
        f"{_TAKE_THE_LOCK}"  # noqa: S608 - numbers, constants and a word of ours
        # Positions of an older version's, or a sequence that a restored copy did not bring along.
        f"SELECT setval('{_POSITIONS}', head) FROM {_POSITIONS}, (SELECT {_HEAD} AS head) AS ends WHERE head > {_DRAWN}; "
        f"WITH taken AS (DELETE FROM tillport_pending WHERE seq IN {which} RETURNING seq), "
        f"placed AS (INSERT INTO tillport_order (position, seq) SELECT nextval('{_POSITIONS}'), seq "
        "FROM (SELECT seq FROM taken ORDER BY seq) AS ordered RETURNING 1) "
        f"SELECT (SELECT pg_notify('{NEWS}', '{sender}')) FROM placed"
    )


@lru_cache(maxsize=512)
def page_statement(shape: Shape, dialect: Dialect) -> Compiled:
    """Return the statement that reads a page along the log: `b_after`, `b_last`, `b_limit`, and the selector's values.

    Each row begins with head and horizon; there is one row, with nothing else in it, if nothing is selected. It is
    one statement, so that head, horizon and rows are of one moment.
    """
    position = order.c.position
    page = (
        select(*event_selection(position))
        .select_from(order.join(events, order.c.seq == events.c.seq))
        .where(
            *_within(position),
            condition(shape),
        )
        .order_by(position)
        .limit(bindparam("b_limit", type_=BigInteger))
        .subquery("page")
    )
    return compiled(_with_ends(page), dialect)


@lru_cache(maxsize=512)
def picking_statement(shape: Shape, dialect: Dialect) -> Compiled:
    """Return the statement that reads the same page as `page_statement`, from what is selected to where it stands.

    It costs as much as there is selected in the whole log, and nothing for what is not. Which of the two ways is
    cheaper depends on the values; the server keeps one plan for all of them, and without statistics it guesses. So
    the way is chosen by us: OFFSET 0 keeps the planner from turning a subquery inside out.
    """
    nothing_off: ColumnElement[int] = literal_column("0")
    chosen = select(events.c.seq).where(condition(shape)).offset(nothing_off).subquery("chosen")
    placed = (
        select(order.c.position, order.c.seq)
        .where(
            order.c.seq == chosen.c.seq,
            *_within(order.c.position),
        )
        .offset(nothing_off)
        .lateral("placed")
    )
    picked = (
        select(placed.c.position, placed.c.seq)
        .select_from(chosen.join(placed, true()))
        .order_by(placed.c.position)
        .limit(bindparam("b_limit", type_=BigInteger))
        .subquery("picked")
    )
    page = (
        select(*event_selection(picked.c.position))
        .select_from(picked.join(events, picked.c.seq == events.c.seq))
        .subquery("page")
    )
    return compiled(_with_ends(page), dialect)


@lru_cache(maxsize=512)
def span_statement(shape: Shape, dialect: Dialect) -> Compiled:
    """Return the statement that finds the log's end, its horizon, and the first and last selected position after `b_after`.

    Without an order or a limit to tempt the planner along the log, it looks by the block ranges of times.
    """
    position = order.c.position
    statement = (
        select(_head(), _horizon(), func.min(position), func.max(position))
        .select_from(order.join(events, order.c.seq == events.c.seq))
        .where(position > bindparam("b_after", type_=BigInteger), condition(shape))
    )
    return compiled(statement, dialect)


def _within(position: ColumnElement[int]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (
        position > bindparam("b_after", type_=BigInteger),
        position <= bindparam("b_last", type_=BigInteger),
    )


def _with_ends(page: Subquery) -> Select[Any]:
    """Select a page in its order, with head and horizon at the beginning of each row, of which there is one at least."""
    ends = select(_head().label("head"), _horizon().label("horizon")).subquery("bounds")
    return (
        select(ends.c.head, ends.c.horizon, *page.c)
        .select_from(ends.outerjoin(page, true()))
        .order_by(page.c.position)
    )


def _head() -> ColumnElement[int]:
    newest = select(func.max(order.c.position)).scalar_subquery()
    return func.greatest(newest, _horizon())


def _horizon() -> ColumnElement[int]:
    row = select(log_state.c.value).where(log_state.c.name == literal_column("'horizon'")).scalar_subquery()
    return func.coalesce(row, literal_column("0"))  # the row comes with the first event that is forgotten


FIND_SOURCE: Final = order.join(events, order.c.seq == events.c.seq)
