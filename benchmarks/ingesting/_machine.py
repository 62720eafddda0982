"""What the machine does meanwhile: processor time of process trees, memory, the disk's fsync (Linux)."""

import os
import statistics
import tempfile
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(root: int) -> float:
    """Return the processor time that a process and its descendants have used so far."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile; its parent has its time
            parents[int(folder.name)] = int(fields[1])
            used[int(folder.name)] = sum(map(int, fields[11:15])) / _TICKS
    total = 0.0
    for number, seconds in used.items():
        ancestor = number
        while ancestor not in (root, 0):
            ancestor = parents.get(ancestor, 0)
        total += seconds if ancestor == root else 0
    return total


def memory_megabytes(process: int) -> tuple[float, float]:
    """Return how much memory a process holds now, and at most so far."""
    lines = dict(
        line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines() if ":" in line
    )
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024


def fsync_ms(folder: Path, *, times: int = 40) -> float:
    """Return the median time that the disk takes to keep 8 KB appended to a file."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(times):
            file.write(b"x" * 8192)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000
