"""Forgetting the oldest events on SQLite, a stretch per transaction, so that recording never waits for long.

With one writer at a time tombstone and deletion may come in one transaction: nobody can come in between.
"""

import sqlite3
from typing import Final

STRETCH: Final = 1000
"""Events per transaction: a few milliseconds of the writer's time."""


def forget_stretch(connection: sqlite3.Connection, *, received_before: float, up_to: int, now: float) -> int:
    """Take away up to `STRETCH` of the oldest events and return how many; fewer means that no more may go."""
    rows = connection.execute(
        'SELECT seq, received_at FROM "StripeEvents" WHERE seq <= ? ORDER BY seq LIMIT ?', (up_to, STRETCH)
    ).fetchall()
    last, gone = 0, 0
    for seq, received_at in rows:
        if received_at >= received_before:
            break
        last, gone = seq, gone + 1
    if not gone:
        return 0
    connection.execute(
        "INSERT INTO tillport_tombstones (event_id, forgotten_at) "
        'SELECT event_id, ? FROM "StripeEvents" WHERE seq <= ? ON CONFLICT DO NOTHING',
        (now, last),
    )
    connection.execute(
        "DELETE FROM tillport_aliases WHERE seq <= ? AND alias IN "
        '(SELECT value FROM "StripeEvents", json_each(aliases) WHERE seq <= ?)',
        (last, last),
    )
    connection.execute('DELETE FROM "StripeEvents" WHERE seq <= ?', (last,))
    connection.execute(
        "INSERT INTO tillport_log_state (name, value) VALUES ('horizon', ?) "
        "ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
        (last,),
    )
    return gone
