"""A clock that others set while the program runs: the machine's own, and what a file says that it is ahead."""

import mmap
import os
import struct
import time
from pathlib import Path

CLOCK_FILE = "WRECK_CLOCK"
"""The variable that names the file."""
CLOCK = struct.Struct("d")
"""What is in it: seconds."""


def follow() -> None:
    """Tell such a time from now on, wherever this process asks for it."""
    with Path(os.environ[CLOCK_FILE]).open("rb") as file:
        ahead = mmap.mmap(file.fileno(), CLOCK.size, access=mmap.ACCESS_READ)
    machines = time.time
    time.time = lambda: machines() + CLOCK.unpack(ahead)[0]
