"""One namespace over four source roots: `tillport` itself is nobody's package.

A stray `tillport/__init__.py` would make one portion the whole package and hide the other three at run time, while
type checkers stay green. So its absence is a law, and so is the marker of typed code in each portion.
"""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("ports", "domain", "adapters", "simulator")


def strays(root: Path) -> list[Path]:
    """Find whatever lies directly in a namespace folder and is not the portion itself."""
    return [
        path
        for room in ROOMS
        for path in (root / room / "tillport").iterdir()
        if path.name not in (room, "__pycache__")
    ]


def test_no_portion_claims_the_namespace():
    assert strays(ROOT) == []


def test_the_guard_sees_a_stray_init(tmp_path):
    for room in ROOMS:
        (tmp_path / room / "tillport" / room).mkdir(parents=True)
    stray = tmp_path / "domain" / "tillport" / "__init__.py"
    stray.touch()
    assert strays(tmp_path) == [stray]


def test_a_stray_init_would_hide_the_other_portions(tmp_path):
    """The harm that the guard prevents, seen once: the portion that comes first swallows the rest."""
    for room in ("domain", "ports"):
        folder = tmp_path / room / "tillport" / room
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    path = f"import sys; sys.path[:0] = [{str(tmp_path / 'domain')!r}, {str(tmp_path / 'ports')!r}]; "
    command = [sys.executable, "-S", "-c", path + "import tillport.domain, tillport.ports"]
    assert subprocess.run(command, check=False).returncode == 0
    (tmp_path / "domain" / "tillport" / "__init__.py").touch()
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0


@pytest.mark.parametrize("room", ROOMS)
def test_each_portion_says_that_it_is_typed(room):
    assert (ROOT / room / "tillport" / room / "py.typed").is_file()


@pytest.mark.parametrize("room", ROOMS)
def test_every_folder_with_code_is_a_package(room):
    """A forgotten `__init__.py` deeper down works by accident, and is left out by tools that look for packages."""
    portion = ROOT / room / "tillport" / room
    folders = {path.parent for path in portion.rglob("*.py")}
    # Migration scripts are loaded by path, by a tool that wants no package around them.
    assert [f for f in folders if not (f / "__init__.py").exists() and "migrations" not in f.parts] == []


def test_the_version_has_one_source():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert importlib.metadata.version("tillport") == project["version"]


def test_a_bare_install_brings_attrs_and_msgspec_alone():
    requirements = importlib.metadata.requires("tillport") or []
    bare = {line.split(">")[0] for line in requirements if "extra ==" not in line}
    assert bare == {"attrs", "msgspec"}
