"""The load: a process of its own that keeps a number of connections busy, one request in flight on each.

An order may say how many requests a second it should be, for as long as the answers keep up.

It takes orders as lines of JSON on its input and answers each with a line. Everything is built and connected before
the clock starts. One epoll loop, no garbage collection while the clock runs: on two cores the load must cost little.
"""

import gc
import json
import random
import select
import socket
import sys
import time
from collections import deque
from typing import Any

from ingesting._events import Maker

_LOST_SECONDS = 30.0


class Load:
    """What one run sends, and what came of it."""

    def __init__(self, maker: Maker, order: dict[str, Any]) -> None:
        self.order = order
        plan = list(range(order["requests"]))
        chance = random.Random(order["requests"])
        for at in range(1, len(plan)):
            if chance.random() * 100 < order["duplicates"]:
                # Half of them while the first one is most likely still in flight, the others at any time later.
                near = max(0, at - order["connections"])
                plan[at] = plan[chance.randrange(near if chance.random() < 0.5 else 0, at)]
        kinds = {number: at for at, number in enumerate(sorted(set(plan)))}
        requests = maker.requests(order["path"], len(kinds))
        self.bodies_bytes = sum(len(one) - one.index(b"\r\n\r\n") - 4 for one in requests[:100]) / min(
            100, len(requests)
        )
        self._plan = [(number, requests[kinds[number]]) for number in plan]
        self.answered: dict[int, list[int]] = {}
        self.latencies: list[float] = []
        self.broken = 0

    def run(self) -> dict[str, Any]:
        address = ("127.0.0.1", self.order["port"])
        clients = []
        for _ in range(min(self.order["connections"], len(self._plan))):
            client = socket.create_connection(address, timeout=10)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            clients.append(client)
        gc.disable()
        try:
            began, ended = self._drive(clients)
        finally:
            gc.enable()
        for client in clients:
            client.close()
        self.latencies.sort()
        good = self.answered.get(200, [])
        return {
            "seconds": ended - began,
            "ended": ended,
            "acknowledged": len(good),
            "unique": len(set(good)),
            "answers": {status: len(numbers) for status, numbers in self.answered.items()},
            "broken": self.broken,
            "p50_ms": self._quantile(0.5),
            "p99_ms": self._quantile(0.99),
            "max_ms": self._quantile(1.0),
            "body_bytes": self.bodies_bytes,
            "ran_dry": not self.order["rate"] and len(good) >= len(self._plan),
        }

    def _quantile(self, part: float) -> float:
        found = self.latencies
        return 1e3 * found[min(len(found) - 1, int(len(found) * part))] if found else float("nan")

    def _drive(self, clients: list[socket.socket]) -> tuple[float, float]:
        poller, clock = select.epoll(), time.perf_counter
        remaining, idle, rate, offered = iter(self._plan), deque[int](), self.order["rate"], 0
        by_number = {client.fileno(): client for client in clients}
        sent: dict[int, tuple[int, float]] = {}
        parts: dict[int, bytes] = {}
        answered, latencies = self.answered, self.latencies
        last = began = clock()
        deadline = began + self.order["seconds"]
        for number in by_number:
            poller.register(number, select.EPOLLIN)
            idle.append(number)
        while sent or idle:
            now = clock()
            while idle and (not rate or began + offered / rate <= now):
                following = next(remaining, None) if now < deadline else None
                if following is None:
                    idle.clear()
                    break
                offered += 1
                number = idle.popleft()
                sent[number] = following[0], now
                by_number[number].sendall(following[1])
            pause = began + offered / rate - now if idle and rate else 1.0
            ready = poller.poll(max(0.0, min(pause, 1.0)), 512)
            if not ready and sent and clock() - last > _LOST_SECONDS:
                self.broken += len(sent)
                break
            for number, _ in ready:
                client = by_number[number]
                data = client.recv(65_536)
                if number in parts:
                    data = parts.pop(number) + data
                if not data:
                    self.broken += 1
                    poller.unregister(number)
                    if sent.pop(number, None) is None:
                        idle.remove(number)
                    continue
                if not _whole(data):
                    parts[number] = data
                    continue
                last = clock()
                event, since = sent[number]
                latencies.append(last - since)
                answered.setdefault(int(data[9:12]), []).append(event)
                del sent[number]
                following = next(remaining, None) if not rate and last < deadline else None
                if following is not None:
                    sent[number] = following[0], last
                    client.sendall(following[1])
                elif rate:
                    idle.append(number)
        poller.close()
        return began, last


def _whole(data: bytes) -> bool:
    """Tell whether an answer is complete. Every server here says how long it is."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    at = data.lower().find(b"content-length:", 0, end)
    return len(data) >= end + 4 + int(data[at + 15 : data.find(b"\r\n", at)])


def main() -> None:
    """Carry out orders until the input ends."""
    maker = Maker(int(sys.argv[1]), spread="spread" in sys.argv[2:])
    for line in sys.stdin:
        print(json.dumps(Load(maker, json.loads(line)).run()), flush=True)


if __name__ == "__main__":
    main()
