"""The checker: reads the books that are left after the wreck, and knows only the promises."""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs

from tillport.simulator import Simulator
from wreck.shoppers import Purchase


@attrs.frozen(kw_only=True)
class Books:
    """What is on the service's disk: rows of the log in order, attempts, and how far the relay has come."""

    rows: Sequence[tuple[int, str, str]]
    """Position, event id, payment key."""
    attempts: Counter[str]
    """How many attempts are in which state."""
    relayed: int


def read_sqlite(path: Path) -> Books:
    """Read the books from a SQLite file, without the product's own code."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            'SELECT seq, event_id, payment_key FROM "StripeEvents" ORDER BY seq'
        ).fetchall()
        attempts = Counter(state for (state,) in connection.execute("SELECT state FROM tillport_attempts"))
        relayed = connection.execute("SELECT position FROM tillport_cursors WHERE name = 'relay'").fetchone()
    return Books(rows=rows, attempts=attempts, relayed=relayed[0] if relayed else 0)


def rest(simulator: Simulator, read: Callable[[], Books], *, seconds: float) -> Books:
    """Wait until Stripe has nothing left to say and the service nothing left to do; return the books as they are then.

    Gives up after that many seconds: the checker will say what was not done.
    """
    deadline = time.monotonic() + seconds
    while True:
        # In this order: what Stripe delivered before it fell silent is in the books that are read after that.
        due = simulator.next_due()  # money that becomes available in two days is not waited for
        silent = not simulator.backlog and (due is None or due > simulator.clock.now() + 60)
        books = read()
        last = max((position for position, _, _ in books.rows), default=0)
        placed = all(position for position, _, _ in books.rows)
        unsettled = books.attempts["started"] + books.attempts["unknown"]
        if (silent and placed and not unsettled and books.relayed >= last) or time.monotonic() > deadline:
            return books
        time.sleep(0.2)


def all_of(operations: Any) -> list[Any]:
    """Return everything that the simulator lists."""
    found: list[Any] = []
    page = operations.list(limit=100)
    while page.has_more:
        found += page.data
        page = operations.list(limit=100, starting_after=found[-1].id)
    return found + list(page.data)


def problems(
    simulator: Simulator,
    acknowledged: Sequence[str],
    purchases: Sequence[Purchase],
    books: Books,
    told: Sequence[tuple[str, str]] | None = None,
) -> list[str]:
    """Return every broken promise as a sentence; an empty list is what we want.

    `acknowledged` are ids of events whose delivery was answered 2xx; `told` are (event id, payment key) in the order
    in which the courier holds them.
    """
    found: list[str] = []
    tried: dict[str, list[Any]] = {}
    for charge in all_of(simulator.charges):
        tried.setdefault(charge.metadata["purchase"], []).append(charge)
    for purchase in purchases:
        tries = tried.pop(purchase.number, [])
        mine = [charge for charge in tries if charge.status == "succeeded"]
        outcome = purchase.outcome
        if len(mine) > 1:
            found.append(f"{purchase.number} was charged {len(mine)} times")
        elif len(tries) > 1:  # under one key Stripe decides once: there was another
            found.append(f"{purchase.number} was tried under several keys: {[one.status for one in tries]}")
        if outcome is None:
            found.append(f"{purchase.number} was never told what became of it: {purchase.answers[-1:]}")
        elif outcome[0] == 200 and [charge.id for charge in mine] != [outcome[1]["id"]]:
            found.append(f"{purchase.number} was told of {outcome[1]['id']}, and Stripe has {mine}")
        elif outcome[0] == 402 and mine:
            found.append(f"{purchase.number} was told of a decline, and was charged")
        if any(charge.amount != purchase.amount_minor for charge in mine):
            found.append(f"{purchase.number} was charged another amount")
    found += [f"{number} was charged, and nobody asked for it" for number in tried]
    if books.attempts.total() != len(purchases):
        found.append(f"{len(purchases)} were asked for, and the ledger knows {books.attempts.total()}")
    open_attempts = {
        state: count for state, count in books.attempts.items() if state in ("started", "unknown")
    }
    if open_attempts:
        found.append(f"attempts were forgotten: {open_attempts}")

    rows = Counter(event_id for _, event_id, _ in books.rows)
    found += [f"{event_id} is in the log {count} times" for event_id, count in rows.items() if count > 1]
    found += [
        f"{event_id} was acknowledged and is not in the log" for event_id in set(acknowledged) - set(rows)
    ]
    placed = Counter(position for position, _, _ in books.rows)
    found += [f"{placed[0]} events of the log have no position"] if placed[0] else []
    found += [
        f"position {place} was given {count} times" for place, count in placed.items() if place and count > 1
    ]
    events = {event.id for event in all_of(simulator.events)}
    found += [f"{event_id} never reached the log" for event_id in events - set(rows)]
    found += [f"{event_id} is in the log and not Stripe's" for event_id in set(rows) - events]
    last = max((position for position, _, _ in books.rows), default=0)
    if books.relayed < last:
        found.append(f"the relay stands at {books.relayed}, the log at {last}")
    if told is not None:
        found += _untold(books, told)
    return found


def _untold(books: Books, told: Sequence[tuple[str, str]]) -> list[str]:
    logged = {event_id: (position, key) for position, event_id, key in books.rows}
    first_time = dict.fromkeys(event_id for event_id, _ in told)
    found = [f"{event_id} was recorded and never published" for event_id in logged.keys() - first_time.keys()]
    found += [
        f"{event_id} was published and never recorded" for event_id in first_time.keys() - logged.keys()
    ]
    for event_id, key in told:
        if event_id in logged and key != logged[event_id][1]:
            found.append(f"{event_id} was published under {key}, and is about {logged[event_id][1]}")
    latest: dict[str, int] = {}
    for event_id in first_time:
        # By the key that the log has: were each published under one of its own, no order could be broken.
        position, key = logged.get(event_id, (0, ""))
        if key and position < latest.get(key, 0):
            found.append(f"{event_id} was published out of order")
        latest[key] = position
    return found


def story(purchases: Sequence[Purchase], books: Books, kills: int) -> str:
    """Say in a line what happened, for people who read the campaign's output."""
    again = sum(purchase.asked > 1 for purchase in purchases)
    return json.dumps(
        {"kills": kills, "purchases": len(purchases), "asked again": again, "events": len(books.rows),
         "attempts": dict(books.attempts)}
    )  # fmt: skip


def read_postgres(url: str) -> Books:
    """Read the books from PostgreSQL, without the product's own code."""
    import psycopg

    with psycopg.connect(url) as connection:
        rows = connection.execute(
            'SELECT o.position, e.event_id, e.payment_key FROM "StripeEvents" e LEFT JOIN tillport_order o USING (seq)'
            " ORDER BY o.position"
        ).fetchall()
        attempts = Counter(state for (state,) in connection.execute("SELECT state FROM tillport_attempts"))
        relayed = connection.execute("SELECT position FROM tillport_cursors WHERE name = 'relay'").fetchone()
    return Books(
        rows=[(position or 0, event_id, key) for position, event_id, key in rows],
        attempts=attempts,
        relayed=relayed[0] if relayed else 0,
    )


async def read_nats(url: str, stream: str = "STRIPE") -> list[tuple[str, str]]:
    """Read every message that the stream holds, in its order: event id and payment key."""
    import nats

    client = await nats.connect(url)
    try:
        manager = client.jetstream()
        info = await manager.stream_info(stream)
        found = []
        for sequence in range(info.state.first_seq, info.state.last_seq + 1):
            message = await manager.get_msg(stream, sequence)
            headers = message.headers or {}
            found.append((headers["Nats-Msg-Id"], headers["payment"]))
        return found
    finally:
        await client.close()
