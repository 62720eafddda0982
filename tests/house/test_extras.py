"""Each room works with the extras that it names and without the others.

Installing every extra alone into an environment of its own would take minutes. Instead each room is imported, whole,
in a process that can see only what its extras bring: the distributions reachable from `tillport[extra]` by their own
metadata. Anything else is as good as not installed.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])

# what is imported, with everything below it -> the extras that must suffice
ROOMS = {
    "tillport.ports": "",
    "tillport.domain": "",
    "tillport.simulator": "simulator testing stripe",
    "tillport.adapters.memory": "",
    "tillport.adapters.runtime": "",
    "tillport.adapters.conformance": "testing",
    "tillport.adapters.stripe": "stripe",
    "tillport.adapters.sql": "sql postgres testing",  # with the fixtures that it offers to other people's tests
    "tillport.adapters.nats": "nats testing",
    "tillport.adapters.litestar": "litestar",
    "tillport.adapters.compose": "service",
    "tillport.adapters.cli": "service",
}
# packages that must import, themselves, with less than the whole of them needs
FRONT_DOORS = {
    "tillport.adapters.sql": "sql",
    "tillport.adapters.sql.migrate": "sql",  # `tillport db` on SQLite, and hosts that embed the tables
    "tillport.adapters.nats": "nats",
    "tillport.simulator": "",
}

NO_ROOM = ("__init__.py", "__pycache__", "py.typed")

IMPORT_WITH_ONLY = """
import importlib, importlib.metadata as metadata, pkgutil, re, sys
from packaging.requirements import Requirement

package, deep, extras = sys.argv[1], sys.argv[2] == "deep", sys.argv[3:]

def canonical(name):
    return re.sub("[-_.]+", "-", name).lower()

allowed, waiting = set(), [("tillport", frozenset(extras))]
while waiting:
    name, wanted = waiting.pop()
    if (name, wanted) in allowed:
        continue
    allowed.add((name, wanted))
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in wanted or {""}):
            waiting.append((canonical(requirement.name), frozenset(requirement.extras)))

seen = {name for name, _ in allowed}
hidden = {
    module for module, owners in metadata.packages_distributions().items()
    if not seen & {canonical(owner) for owner in owners}
}

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r} (hidden: not in extras {extras})", name=name)

sys.meta_path.insert(0, NotInstalled())
for loaded in list(sys.modules):
    if loaded.partition(".")[0] in hidden:
        del sys.modules[loaded]

module = importlib.import_module(package)
if deep and hasattr(module, "__path__"):
    for found in pkgutil.walk_packages(module.__path__, package + "."):
        if "migrations" not in found.name.split(".") and not found.name.endswith("__main__"):
            importlib.import_module(found.name)
"""


def import_with_only(package: str, extras: str, *, deep: bool) -> subprocess.CompletedProcess[str]:
    """Import a package in a process that sees only what the extras bring."""
    command = [sys.executable, "-c", IMPORT_WITH_ONLY, package, "deep" if deep else "door", *extras.split()]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("package", "extras"), ROOMS.items())
def test_a_room_needs_no_more_than_its_extras(package, extras):
    run = import_with_only(package, extras, deep=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(("package", "extras"), FRONT_DOORS.items())
def test_a_front_door_opens_with_less(package, extras):
    run = import_with_only(package, extras, deep=False)
    assert run.returncode == 0, run.stderr


def test_a_room_without_its_extra_does_not_import():
    run = import_with_only("tillport.adapters.sql", "stripe", deep=True)
    assert run.returncode != 0
    assert "No module named 'sqlalchemy' (hidden" in run.stderr


def test_every_technology_folder_is_listed():
    inside = (ROOT / "adapters/tillport/adapters").iterdir()
    folders = {f"tillport.adapters.{path.stem}" for path in inside if path.name not in NO_ROOM}
    assert folders == {name for name in ROOMS if name.startswith("tillport.adapters.")}


def test_the_extras_named_here_exist():
    assert {extra for extras in ROOMS.values() for extra in extras.split()} <= EXTRAS
