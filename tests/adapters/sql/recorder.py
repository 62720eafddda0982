"""A process that records in a stream and says which events it was told are recorded. Run to be killed."""

import asyncio
import sys

from tillport.adapters.conformance.samples import attempt, event
from tillport.adapters.runtime.group_commit import GroupCommit
from tillport.adapters.sql.sqlite import SqliteEventLog, SqliteLedger
from tillport.adapters.sql.sqlite_store import SqliteStore

WORKERS = 8


async def main(path: str, first: int) -> None:
    store = SqliteStore(path)
    log, ledger = GroupCommit(SqliteEventLog(store)), SqliteLedger(store)

    async def record(number: int) -> None:
        while True:
            await log.record([event(number, body=b'{"x": "' + b"x" * (number % 5000) + b'"}')])
            sys.stdout.write(f"evt_{number}\n")
            sys.stdout.flush()
            number += WORKERS

    async def charge(number: int) -> None:
        while True:
            await ledger.open(attempt(number))
            sys.stdout.write(f"key_{number}\n")
            sys.stdout.flush()
            number += 1

    await asyncio.gather(*(record(first + worker) for worker in range(WORKERS)), charge(first))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
