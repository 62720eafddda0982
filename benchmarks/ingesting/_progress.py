"""The worker's side of what works beside the service: how far it has come, and how far it had come at any moment.

A worker tells on its output when it is ready. It then answers each line of its input, a moment, with how many things
it had done by then, how many by now, and when it did the last. Moments are those of `time.perf_counter`, which on
Linux all processes of a machine share.
"""

import json
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Callable

READY = "ready"
_LOOK_SECONDS = 0.01


class Progress:
    """What was done by when. A thread looks a hundred times a second, so that work which is counted costs no more."""

    def __init__(self, done: Callable[[], int]) -> None:
        self._done = done
        self._counts, self._moments = [done()], [time.perf_counter()]
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            count = self._done()
            if count != self._counts[-1]:
                self._counts.append(count)
                self._moments.append(time.perf_counter())

    def answer(self) -> None:
        """Say that the work has begun, and answer until the input ends."""
        print(READY, flush=True)
        for line in sys.stdin:
            by_then = self._counts[max(0, bisect_right(self._moments, float(line)) - 1)]
            found = {"then": by_then, "now": self._counts[-1], "last_at": self._moments[-1]}
            print(json.dumps(found), flush=True)
