"""Other processes, as Linux tells of them."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def state_of(pid: int) -> str | None:
    """Return the state of a process as the kernel has it, None if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def lives(pid: int) -> bool:
    """Tell whether a process runs: a zombie waits for its parent, and runs no more."""
    return state_of(pid) not in (None, "Z")


def children_of(pid: int) -> Iterator[int]:
    """Yield the processes that a process started and that live."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                yield int(stat.parent.name)
