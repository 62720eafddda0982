"""What is shipped: the wheel and the source archive, by their contents.

`.ci/run` installs them in clean environments and runs them; this looks inside, which takes a second or two and
no network.
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("ports", "domain", "adapters", "simulator")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Build the source archive and the wheel, without isolation: the build backend is in the extra `dev`."""
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return target


@pytest.fixture(scope="module")
def wheel(built) -> zipfile.ZipFile:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        yield archive


def test_the_wheel_holds_the_four_portions_and_nothing_else(wheel):
    folders = {tuple(name.split("/")[:2]) for name in wheel.namelist() if ".dist-info/" not in name}
    assert folders == {("tillport", room) for room in ROOMS}


def test_each_portion_is_typed_in_the_wheel(wheel):
    assert {f"tillport/{room}/py.typed" for room in ROOMS} <= set(wheel.namelist())


def test_the_wheel_holds_every_source_file_once(wheel):
    shipped = [name for name in wheel.namelist() if ".dist-info/" not in name]
    sources = {
        path.relative_to(ROOT / room).as_posix()
        for room in ROOMS
        for path in (ROOT / room / "tillport" / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(shipped) == len(set(shipped))
    assert set(shipped) == sources


def test_the_wheel_carries_its_license_and_command(wheel):
    meta = {name.split("/", 1)[1]: name for name in wheel.namelist() if ".dist-info/" in name}
    assert "licenses/LICENSE" in meta
    assert "tillport = tillport.adapters.cli:main" in wheel.read(meta["entry_points.txt"]).decode()


def test_the_source_archive_can_be_tested(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "dev.py", "LICENSE", "tests/conftest.py", "tests/house/test_wheel.py"} <= names
    assert not [name for name in names if name.endswith((".pyc", ".sqlite3")) or name.startswith(".venv")]
