"""How many webhooks a second are acknowledged, which means durable, beside two handlers that do nothing.

    python benchmarks/ingest.py --database sqlite|postgres [--rounds 5] [--seconds 4] [--connections 32]
        [--duplicates 20] [--rows 1000000] [--ids spread] [--silent]
    python benchmarks/ingest.py --database sqlite --overload 6000

What is measured is `tillport serve` itself in a process of its own: uvicorn, uvloop, httptools, the relay at work
(to the courier in memory) and one live subscriber who is sent every event whole. A second process sends signed,
pretty-printed events of 3 to 4 KB, each about a payment of its own, over keep-alive connections with one request in
flight on each. Beside it, in the same run and with the same requests:

    post      an ordinary Litestar `@post` handler that reads the body and returns a dict
    mounted   a mounted ASGI handler that reads the body and answers            (`benchmarks/ingesting/_noops.py`)

The sides take turns within each round, in changing order; a ratio is that of one round, and the median of the rounds
is told. So is p99 / p99 of `post`. CPU is that of whole process trees, the work that is left when the last answer is
out included. After the last round the table is counted: as many rows as different events were acknowledged.

With `--connections` other than 32 a further side holds the till against itself at 32; with `--rows` one holds the
full table against an empty one. `--overload` opens more connections than the queue takes, and looks at the memory.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ingesting._machine import cpu_seconds, fsync_ms, memory_megabytes
from ingesting._till import Databases, Served, Till, loads

WEBHOOK = "/webhooks/stripe"
FIRST_GUESS_A_SECOND = 3_000
HEADROOM = 3.0
"""How many requests are built beyond what the last turn needed: a turn must not run out of them."""


class Side:
    """Something that is put under load, turn by turn, and what came of each turn."""

    def __init__(
        self,
        name: str,
        server: Served,
        path: str,
        *,
        connections: int,
        duplicates: int = 0,
        till: Till | None = None,
    ) -> None:
        self.name, self.server, self.path, self.till = name, server, path, till
        self.connections, self.duplicates = connections, duplicates
        self.guess = float(FIRST_GUESS_A_SECOND)
        self.turns: list[dict[str, Any]] = []

    def turn(self, load: "subprocess.Popen[str]", seconds: float) -> dict[str, Any]:
        """Put it under load once, wait until everything has been told, and return what was measured."""
        database = self.till.database_pid if self.till else None
        before = cpu_seconds(self.server.process.pid), cpu_seconds(database) if database else 0.0
        result = self._send(load, seconds)
        ended = time.perf_counter()
        if self.till is not None:
            self.till.expected += result["unique"]
            result["told"] = self.till.settled()
            heard_at = self.till.listener.last_at if self.till.listener else ended
            result["lag_ms"] = max(0.0, heard_at - ended) * 1e3
        after = cpu_seconds(self.server.process.pid), cpu_seconds(database) if database else 0.0
        done = max(1, result["acknowledged"])
        result["rate"] = result["acknowledged"] / result["seconds"]
        result["cpu_us"] = (after[0] - before[0]) / done * 1e6
        result["database_us"] = (after[1] - before[1]) / done * 1e6
        self.guess = result["rate"]
        return result

    def _send(self, load: "subprocess.Popen[str]", seconds: float) -> dict[str, Any]:
        assert load.stdin is not None
        assert load.stdout is not None
        order = {
            "port": self.server.port,
            "path": self.path,
            "connections": self.connections,
            "duplicates": self.duplicates,
            "seconds": seconds,
            "requests": max(2 * self.connections, int(self.guess * HEADROOM * seconds)),
        }
        load.stdin.write(json.dumps(order) + "\n")
        load.stdin.flush()
        answer = load.stdout.readline()
        if not answer:
            sys.exit("the load ended early")
        result: dict[str, Any] = json.loads(answer)
        return result


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure every side and return what was found."""
    with ExitStack() as closing:
        databases = closing.enter_context(Databases(options.database, folder))
        load = closing.enter_context(loads(os.getpid(), spread=options.ids == "spread"))

        def noop(name: str) -> Side:
            server = Served([sys.executable, "-m", "ingesting._noops", name])
            closing.callback(server.stop)
            return Side(name, server, "/noop", connections=options.connections)

        def till(rows: int) -> Till:
            opened = Till(
                databases.create(rows),
                rows_before=rows,
                database_pid=databases.pid,
                listens=not options.silent,
            )
            closing.callback(opened.close)
            return opened

        def side(name: str, opened: Till, connections: int) -> Side:
            return Side(
                name,
                opened.server,
                WEBHOOK,
                connections=connections,
                duplicates=options.duplicates,
                till=opened,
            )

        tills = [till(options.rows)]
        sides = [noop("post"), noop("mounted"), side("till", tills[0], options.connections)]
        if options.connections != 32:
            sides.append(side("till at 32", tills[0], 32))
        if options.rows:
            tills.append(till(0))
            sides.append(side("till, empty", tills[1], options.connections))
        for one in sides:  # a turn to warm up, and to learn how many requests a turn takes
            one.turn(load, min(1.0, options.seconds))
        fsyncs, averages = [], []
        for number in range(options.rounds):
            fsyncs.append(fsync_ms(folder))
            for one in sides[number % len(sides) :] + sides[: number % len(sides)]:
                one.turns.append(one.turn(load, options.seconds))
            averages.append(os.getloadavg()[0])
        counts = [{"rows": one.rows(), "expected": one.expected} for one in tills]
        memory = memory_megabytes(tills[0].server.process.pid)
    return {
        "sides": {one.name: one.turns for one in sides},
        "counts": counts,
        "fsync_ms": statistics.median(fsyncs),
        "load_average": statistics.median(averages),
        "memory_megabytes": memory,
    }


def median(turns: list[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> float:
    """Return the median over the turns of a side."""
    return statistics.median(value(turn) for turn in turns)


def ratio(sides: dict[str, list[dict[str, Any]]], one: str, other: str, name: str = "rate") -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(a[name] / b[name] for a, b in zip(sides[one], sides[other], strict=True))


def tell(options: argparse.Namespace, found: dict[str, Any]) -> bool:
    """Print what was found; return whether the table holds exactly what was acknowledged and all of it was told."""
    sides = found["sides"]
    print(
        f"{options.database}, {options.connections} connections, {options.duplicates} % duplicates, "
        f"{options.rows} rows before, ids {options.ids}; {options.rounds} rounds of {options.seconds} s; "
        f"bodies {median(sides['till'], lambda turn: turn['body_bytes']):.0f} bytes; "
        f"fdatasync of 8 KB {found['fsync_ms']:.2f} ms; load average {found['load_average']:.1f}"
    )
    print(
        f"{'':12} {'per second':>10} {'of post':>8} {'of mounted':>10} {'p50 ms':>7} {'p99 ms':>7} {'p99 / post':>10} "
        f"{'server µs':>9} {'database µs':>11} {'lag ms':>7} {'not 200':>7}"
    )
    for name, turns in sides.items():
        failed = sum(sum(turn["answers"].values()) - turn["acknowledged"] + turn["broken"] for turn in turns)
        print(
            f"{name:12} {median(turns, lambda turn: turn['rate']):10.0f} {ratio(sides, name, 'post'):8.2f} "
            f"{ratio(sides, name, 'mounted'):10.2f} {median(turns, lambda turn: turn['p50_ms']):7.1f} "
            f"{median(turns, lambda turn: turn['p99_ms']):7.1f} {ratio(sides, name, 'post', 'p99_ms'):10.1f} "
            f"{median(turns, lambda turn: turn['cpu_us']):9.0f} {median(turns, lambda turn: turn['database_us']):11.0f} "
            f"{median(turns, lambda turn: turn.get('lag_ms', 0.0)):7.0f} {failed:7}"
        )
    for name in sides.keys() - {"post", "mounted", "till"}:
        print(f"till / {name}: {ratio(sides, 'till', name):.2f}")
    print(
        f"memory of the service: {found['memory_megabytes'][0]:.0f} MB, at most {found['memory_megabytes'][1]:.0f}"
    )
    exact = all(count["rows"] == count["expected"] for count in found["counts"])
    told = all(turn.get("told", True) for turns in sides.values() for turn in turns)
    print(
        f"rows: {', '.join('{rows} (expected {expected})'.format(**count) for count in found['counts'])}: "
        f"{'exact' if exact else 'WRONG'}; {'all told' if told else 'NOT ALL TOLD'}"
    )
    if any(turn["ran_dry"] for turns in sides.values() for turn in turns):
        print("some turns ended before their time, because every request that was built had been sent")
    return exact and told


def overload(options: argparse.Namespace, folder: Path) -> bool:
    """Open more connections than the queue takes, tell what came back and how much memory it took."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with Databases(options.database, folder) as databases, loads(os.getpid(), spread=False) as load:
        opened = Till(
            databases.create(0), rows_before=0, database_pid=databases.pid, listens=not options.silent
        )
        try:
            side = Side("till", opened.server, WEBHOOK, connections=32, till=opened)
            side.turn(load, 1.0)
            before = memory_megabytes(opened.server.process.pid)[0]
            side.connections, side.guess = options.overload, 12_000
            for _ in range(options.rounds):
                turn = side.turn(load, options.seconds)
                now, most = memory_megabytes(opened.server.process.pid)
                print(
                    f"{options.overload} connections: {turn['rate']:.0f} acknowledged a second, answers {turn['answers']}, "
                    f"broken {turn['broken']}, p99 {turn['p99_ms']:.0f} ms, memory {before:.0f} → {now:.0f} MB, "
                    f"at most {most:.0f}"
                )
            exact = opened.rows() == opened.expected
        finally:
            opened.close()
    print(f"rows: {opened.expected} expected: {'exact' if exact else 'WRONG'}")
    return exact


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--duplicates", type=int, default=0, help="percent of the requests")
    parser.add_argument("--rows", type=int, default=0, help="older events in the table")
    parser.add_argument(
        "--ids", choices=("stripe", "spread"), default="stripe", help="like Stripe's, or wholly random"
    )
    parser.add_argument("--silent", action="store_true", help="without the live subscriber")
    parser.add_argument("--overload", type=int, default=0, metavar="CONNECTIONS")
    parser.add_argument("--json", type=Path, help="append what was found to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tillport-ingest-") as folder:
        if options.overload:
            return 0 if overload(options, Path(folder)) else 1
        found = run(options, Path(folder))
    if options.json:
        with options.json.open("a") as file:
            file.write(json.dumps({"options": {**vars(options), "json": None}, **found}) + "\n")
    return 0 if tell(options, found) else 1


if __name__ == "__main__":
    sys.exit(main())
