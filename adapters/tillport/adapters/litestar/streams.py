"""Open streams: how many there may be, and how they all end at once."""

import asyncio
from typing import Any

import attrs

from tillport.adapters.litestar.refusals import Busy


@attrs.define(eq=False)
class Streams:
    """Hold the tasks that feed open streams."""

    most: int
    stopped: bool = attrs.field(init=False, default=False)
    _tasks: set[asyncio.Task[Any]] = attrs.field(init=False, factory=set)

    def admit(self) -> None:
        """Raise `Busy` if there is no room for another stream."""
        if self.stopped:
            raise Busy("The service is stopping.", remedy="Connect again in a moment.")
        if len(self._tasks) >= self.most:
            raise Busy(
                f"{self.most} streams are open, which is all there is room for.", remedy="Come back later."
            )

    def add(self, task: asyncio.Task[Any]) -> None:
        """Count a stream in until its task ends."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.stopped:
            task.cancel()

    def begin(self) -> None:
        """Admit them, after a stop too."""
        self.stopped = False

    def stop(self) -> None:
        """End them all, and admit no more."""
        self.stopped = True
        for task in self._tasks:
            task.cancel()

    def __len__(self) -> int:
        return len(self._tasks)
