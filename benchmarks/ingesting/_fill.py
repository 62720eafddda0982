"""Older events, by the million: the table as it is after months. Their bodies are short; their ids and indexes are not."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import asyncpg  # type: ignore[import-untyped] # it ships no types

_AGE_SECONDS = 90 * 86_400
_COLUMNS = (
    "event_id, id, type, payment_key, key_is_alias, aliases, account, livemode, api_version, request_key, "
    "created, received_at, body"
)


def _values(word: str, number: str, start: int, rows: int) -> str:
    """Return one older event's values; `word` and `number` are SQL for its own hexadecimal word and its number."""
    moment = f"{start} + {number} * {_AGE_SECONDS} / {rows}"
    return (
        f"'evt_3' || {word} || '1aaaaaaaa', 'ch_3' || {word} || '2aaaaaaaa', 'charge.succeeded', "
        f"'pi_3' || {word} || '0aaaaaaaa', true, "
        f"'[\"ch_3' || {word} || '2aaaaaaaa\",\"pi_3' || {word} || '0aaaaaaaa\"]', NULL, false, "
        f"'2026-05-27.dahlia', {word}, {moment}, {moment}, "
        '\'{"object":"event","filler":"' + "x" * 160 + "\"}'"
    )


def fill_sqlite(file: Path, rows: int) -> None:
    """Append that many events, told already, to a file that nobody has open."""
    start = int(time.time()) - _AGE_SECONDS
    values = _values("printf('%07xJvEtkwdC', n)", "n", start, rows)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-200000")
        for first in range(1, rows + 1, 200_000):
            last = min(first + 199_999, rows)
            connection.execute(
                f"WITH RECURSIVE numbers (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}) "
                f'INSERT INTO "StripeEvents" ({_COLUMNS}) SELECT {values} FROM numbers'
            )
        connection.execute(
            "INSERT INTO tillport_cursors (name, position, lease_until) VALUES ('relay', ?, 0)", (rows,)
        )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def fill_postgres(url: str, rows: int) -> None:
    """Append that many events, placed and told already, to an empty database."""
    start = int(time.time()) - _AGE_SECONDS
    values = _values("lpad(to_hex(n), 7, '0') || 'JvEtkwdC'", "n::bigint", start, rows)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET synchronous_commit = off")
        for first in range(1, rows + 1, 200_000):
            last = min(first + 199_999, rows)
            await connection.execute(
                f'INSERT INTO "StripeEvents" ({_COLUMNS}) SELECT {values} FROM generate_series({first}, {last}) AS s (n)'
            )
        await connection.execute(
            'INSERT INTO tillport_order SELECT seq, seq FROM "StripeEvents" ORDER BY seq'
        )
        await connection.execute(
            "INSERT INTO tillport_cursors (name, position, lease_until) VALUES ('relay', $1, 0)", rows
        )
        for table in ('"StripeEvents"', "tillport_order"):
            await connection.execute(f"VACUUM ANALYZE {table}")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
