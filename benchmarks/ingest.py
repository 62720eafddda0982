"""How many webhooks a second are acknowledged, which means durable, beside two handlers that do nothing.

    python benchmarks/ingest.py --database sqlite|postgres [--rounds 5] [--seconds 4] [--connections 32]
        [--duplicates 20] [--rows 1000000] [--ids spread] [--silent] [--rate 2000]
        [--consumer] [--effects [--workers 2] [--one-file]]
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

`--rate` offers that many a second and no more: what is behind then must not grow.

`--consumer` adds a till whose courier is a real NATS (JetStream, file storage), and a durable consumer in another
process. `--effects` adds one with effects at work in a process beside it: one handler that inserts a row for each event
into the database of the log (on SQLite: into a file of its own, as an application has; `--one-file`: into that of the
log). Of both is told how many were done a second while the load lasted, how many were left when it ended and for
how long, what it cost, and whether in the end each acknowledged event had been done exactly once.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ingesting._beside import Beside, Consumer, Effects
from ingesting._machine import cpu_seconds, fsync_ms, memory_megabytes
from ingesting._till import Databases, Served, Till, loads

from tillport.adapters.nats.testing import NatsServer

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
        rate: int = 0,
        till: Till | None = None,
        beside: Beside | None = None,
        nats_pid: int | None = None,
    ) -> None:
        self.name, self.server, self.path, self.till, self.beside = name, server, path, till, beside
        self.processes = {
            "cpu_us": server.process.pid,
            "database_us": till.database_pid if till else None,
            "beside_us": beside.process.pid if beside else None,
            "nats_us": nats_pid,
        }
        self.connections, self.duplicates, self.rate = connections, duplicates, rate
        self.guess = float(FIRST_GUESS_A_SECOND)
        self.turns: list[dict[str, Any]] = []

    def turn(self, load: "subprocess.Popen[str]", seconds: float) -> dict[str, Any]:
        """Put it under load once, wait until everything has been told, and return what was measured."""
        before = self._cpu_seconds()
        result = self._send(load, seconds)
        ended = result["ended"]
        if self.till is not None:
            self.till.expected += result["unique"]
            result["told"] = self.till.settled()
            heard_at = self.till.listener.last_at if self.till.listener else ended
            result["lag_ms"] = max(0.0, heard_at - ended) * 1e3
            if self.beside is not None:
                result |= self.beside.turn(ended, self.till.fresh)
        done = max(1, result["acknowledged"])
        result["rate"] = result["acknowledged"] / result["seconds"]
        for name, used in self._cpu_seconds().items():
            result[name] = (used - before[name]) / done * 1e6
        self.guess = result["rate"]
        return result

    def _cpu_seconds(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) if pid else 0.0 for name, pid in self.processes.items()}

    def _send(self, load: "subprocess.Popen[str]", seconds: float) -> dict[str, Any]:
        assert load.stdin is not None
        assert load.stdout is not None
        order = {
            "port": self.server.port,
            "path": self.path,
            "connections": self.connections,
            "duplicates": self.duplicates,
            "seconds": seconds,
            "rate": self.rate,
            "requests": max(
                2 * self.connections,
                int(self.rate * seconds) if self.rate else int(self.guess * HEADROOM * seconds),
            ),
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
            return Side(name, server, "/noop", connections=options.connections, rate=options.rate)

        def till(rows: int, messaging_url: str = "memory:") -> Till:
            opened = Till(
                databases.create(rows),
                rows_before=rows,
                database_pid=databases.pid,
                listens=not options.silent,
                messaging_url=messaging_url,
            )
            closing.callback(opened.close)
            return opened

        def side(
            name: str,
            opened: Till,
            connections: int,
            beside: Beside | None = None,
            nats_pid: int | None = None,
        ) -> Side:
            if beside is not None:
                closing.callback(beside.close)
            return Side(
                name,
                opened.server,
                WEBHOOK,
                connections=connections,
                duplicates=options.duplicates,
                rate=options.rate,
                till=opened,
                beside=beside,
                nats_pid=nats_pid,
            )

        tills = [till(options.rows)]
        sides = [noop("post"), noop("mounted"), side("till", tills[0], options.connections)]
        if options.connections != 32:
            sides.append(side("till at 32", tills[0], 32))
        if options.rows:
            tills.append(till(0))
            sides.append(side("till, empty", tills[1], options.connections))
        if options.consumer:
            nats = closing.enter_context(NatsServer(folder / "nats"))
            tills.append(till(options.rows, nats.url))
            consumer = Consumer(nats.url, folder / "consumed")
            sides.append(side("till, NATS", tills[-1], options.connections, consumer, nats.pid))
        if options.effects:
            tills.append(till(options.rows))
            url = tills[-1].url
            if options.database == "sqlite" and not options.one_file:
                url = f"sqlite:///{folder / 'application.sqlite3'}"
            effects = Effects(tills[-1].url, url, workers=options.workers)
            sides.append(side("till, effects", tills[-1], options.connections, effects))
        for one in sides:  # a turn to warm up, and to learn how many requests a turn takes
            one.turn(load, min(1.0, options.seconds))
        fsyncs, averages = [], []
        for number in range(options.rounds):
            fsyncs.append(fsync_ms(folder))
            for one in sides[number % len(sides) :] + sides[: number % len(sides)]:
                one.turns.append(one.turn(load, options.seconds))
            averages.append(os.getloadavg()[0])
        counts = [{"rows": one.rows(), "expected": one.expected} for one in tills]
        exact = {one.name: one.beside.exact(one.till) for one in sides if one.beside and one.till}
        memory = memory_megabytes(tills[0].server.process.pid)
    return {
        "sides": {one.name: one.turns for one in sides},
        "counts": counts,
        "beside": {one.name: one.beside.what for one in sides if one.beside},
        "exact": exact,
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
    for name in sides.keys() - {"post", "mounted", "till"} - found["beside"].keys():
        print(f"till / {name}: {ratio(sides, 'till', name):.2f}")
    for name, what in found["beside"].items():
        tell_beside(name, what, sides, exact=found["exact"][name])
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
    return exact and told and all(found["exact"].values())


def tell_beside(name: str, what: str, sides: dict[str, list[dict[str, Any]]], *, exact: bool) -> None:
    """Print what was done beside the service, of how much that was acknowledged meanwhile."""
    turns = sides[name]
    rate = median(turns, lambda turn: turn["while_loaded"] / turn["seconds"])
    share = median(turns, lambda turn: turn["while_loaded"] / max(1, turn["unique"]))
    nats = median(turns, lambda turn: turn["nats_us"])
    print(
        f"{name}: {ratio(sides, name, 'till'):.2f} of the till's rate; {rate:.0f} {what} a second while the load lasted, "
        f"{share:.2f} of what was acknowledged; when it ended {median(turns, lambda turn: turn['behind']):.0f} were left "
        f"(at most {max(turn['behind'] for turn in turns)}), for {median(turns, lambda turn: turn['beside_lag_ms']):.0f} ms; "
        f"{median(turns, lambda turn: turn['beside_us']):.0f} us each{f', NATS {nats:.0f} us' if nats else ''}; "
        f"{'each once' if exact else 'NOT EACH ONCE'}"
    )


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
    parser.add_argument(
        "--rate", type=int, default=0, help="requests a second at most; 0: as fast as they are answered"
    )
    parser.add_argument(
        "--consumer", action="store_true", help="through NATS to a consumer in another process"
    )
    parser.add_argument(
        "--effects", action="store_true", help="effects at work in a process beside the service"
    )
    parser.add_argument("--workers", type=int, default=2, help="of the handler of the effects")
    parser.add_argument(
        "--one-file",
        action="store_true",
        help="on SQLite: effects in the file of the log, not in one beside it",
    )
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
