"""The doorbell: tells readers of the log that there may be something new. A hint, never the record."""

from typing import Protocol


class Doorbell(Protocol):
    """Wake whoever waits for new events. A lost ring costs delay and nothing else: readers look anyway, in time.

    To miss nothing, a reader notes `rings` before it reads the log and then waits for more than that.
    """

    @property
    def rings(self) -> int:
        """How often the bell was heard to ring so far, in this process. Never decreases."""
        ...

    def ring(self) -> None:
        """Ring here and wherever else the bell reaches. Never blocks, never raises."""
        ...

    async def wait(self, heard: int, *, seconds: float) -> None:
        """Return once `rings` exceeds `heard`, at once if it does already, and after `seconds` at the latest."""
        ...
