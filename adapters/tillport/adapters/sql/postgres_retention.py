"""Forgetting the oldest events on PostgreSQL, in two steps, so that no id is ever without its row or its tombstone.

An insert looks for a tombstone as of the moment its statement began, and for the row as of now. If tombstone and
deletion came in one transaction, an insert that began before it and looks for the row after it would find neither,
and record the event a second time. So first the tombstones are committed, with the number of their transaction; and
the rows go once nobody sees the database as it was before the tombstones came: whoever begins later sees the
tombstone, and whoever began earlier has found the row. Who has written something by then is told by its number; who
has not, an insert that still waits for its first row say, by the oldest number that it takes to be under way.
"""

from typing import Final

from tillport.adapters.sql.postgres_store import PostgresStore

_CHUNK: Final = 5000
"""Events per transaction, so that each is short."""

_LAST: Final = """
SELECT coalesce(max(position), 0) FROM (
    SELECT o.position, e.received_at, bool_and(e.received_at < $1) OVER (ORDER BY o.position) AS old
    FROM (SELECT position, seq FROM tillport_order WHERE position > $3 AND position <= $2
          ORDER BY position LIMIT $4) AS o
    JOIN "StripeEvents" AS e USING (seq)
) AS stretch WHERE old
"""
"""The last position of the stretch to forget: `received_before`, `up_to`, after which, how many at most."""

_MARK: Final = """
INSERT INTO tillport_tombstones (event_id, forgotten_at, xid)
SELECT e.event_id, $3, pg_current_xact_id()::text::bigint
FROM tillport_order AS o JOIN "StripeEvents" AS e USING (seq)
WHERE o.position > $1 AND o.position <= $2
ON CONFLICT (event_id) DO UPDATE SET xid = excluded.xid WHERE tillport_tombstones.xid > excluded.xid
"""
"""A number that is still to come is another server's, which the tombstone was copied from: it would be waited for."""

_TAKE: Final = """
WITH views AS MATERIALIZED (
    SELECT least(
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
        pg_snapshot_xmax(pg_current_snapshot())::text::bigint - max(age(backend_xmin))
    ) AS oldest FROM pg_stat_activity WHERE datname = current_database()
), marked AS (
    SELECT o.position, o.seq, t.xid < (SELECT oldest FROM views) AS settled
    FROM (SELECT position, seq FROM tillport_order WHERE position <= $1 ORDER BY position LIMIT $2) AS o
    JOIN "StripeEvents" AS e USING (seq) JOIN tillport_tombstones AS t USING (event_id)
), going AS (
    SELECT position, seq FROM (
        SELECT position, seq, bool_and(settled) OVER (ORDER BY position) AS goes FROM marked
    ) AS stretch WHERE goes
), bare AS (
    DELETE FROM tillport_order WHERE position IN (SELECT position FROM going)
), nameless AS (
    DELETE FROM tillport_aliases AS a USING going WHERE a.seq = going.seq
), moved AS (
    INSERT INTO tillport_log_state (name, value)
    SELECT 'horizon', max(position) FROM going HAVING count(*) > 0
    ON CONFLICT (name) DO UPDATE SET value = greatest(tillport_log_state.value, excluded.value)
)
DELETE FROM "StripeEvents" AS e USING going WHERE e.seq = going.seq RETURNING 1
"""


async def forget(store: PostgresStore, *, received_before: float, up_to: int, now: float) -> int:
    """Take the oldest events away as far as can be now, and return how many. See `Housekeeping.forget`."""
    last = await _mark(store, received_before=float(received_before), up_to=up_to, now=float(now))
    gone = 0
    while True:
        taken = len(await store.fetch(_TAKE, last, _CHUNK))
        gone += taken
        if taken < _CHUNK:
            return gone


async def _mark(store: PostgresStore, *, received_before: float, up_to: int, now: float) -> int:
    """Leave a tombstone for each event of the stretch to forget; return its last position."""
    position = 0
    while True:
        ((last,),) = await store.fetch(_LAST, received_before, up_to, position, _CHUNK)
        if last <= position:
            return position
        await store.fetch(_MARK, position, last, now)
        position = last
