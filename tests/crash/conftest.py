"""What needs a disk that can be full: small file systems in memory, mounted where we may, left out aloud elsewhere."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_LEFT_OUT = pytest.StashKey[list[str]]()


class SmallDisk:
    """A file system in memory of so many bytes, which truly has no room beyond them."""

    def __init__(self, size: int) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="tillport-disk-"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tillport", self.path], check=True)
        self.path.chmod(0o777)

    def resize(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", self.path], check=True)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", self.path], check=True)
        shutil.rmtree(self.path, ignore_errors=True)


def _mounts() -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    try:
        SmallDisk(65_536).close()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], SmallDisk]]:
    """Make small disks, gone after the test."""
    made: list[SmallDisk] = []

    def make(size: int) -> SmallDisk:
        made.append(SmallDisk(size))
        return made[-1]

    yield make
    for disk in made:
        disk.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a mount where mounting is not allowed: only root may."""
    needing = [item for item in items if "small_disk" in getattr(item, "fixturenames", ())]
    if needing and not _mounts():
        config.stash[_LEFT_OUT] = [item.nodeid for item in needing]
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in needing]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for nodeid in config.stash.get(_LEFT_OUT, []):
        terminalreporter.write_line(
            f"left out: {nodeid} mounts a small disk, which only root may", yellow=True
        )
