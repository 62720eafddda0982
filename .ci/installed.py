"""Look at an installed Tillport from inside its environment, with no checkout in reach: installed.py bare|all|core."""

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import subprocess
import sys
from pathlib import Path

ROOMS = ("ports", "domain", "adapters", "simulator")
BY_ITSELF = {"attrs", "msgspec"}
TOOLS = {"pip", "setuptools", "wheel"}  # what `python -m venv` may put in


def imported_from() -> None:
    """Refuse to test a checkout by mistake."""
    for room in ROOMS:
        place = Path(importlib.import_module(f"tillport.{room}").__path__[0])
        assert Path(sys.prefix).resolve() in place.resolve().parents, f"{room} comes from {place}"
        assert (place / "py.typed").is_file(), f"{room} does not say that it is typed"
    version = importlib.metadata.version("tillport")
    print(f"tillport {version} with {', '.join(ROOMS)}, each typed")


def menu(package: str) -> None:
    """Take everything that a package offers by name."""
    module = importlib.import_module(package)
    names = getattr(module, "__all__", ())
    for name in names:
        getattr(module, name)
    print(f"{package}: {len(names)} names on the menu")


def everything_below(package: str) -> None:
    """Import every module of a package."""
    module = importlib.import_module(package)
    names = [
        found.name
        for found in pkgutil.walk_packages(module.__path__, package + ".")
        if not {"migrations", "__main__"} & set(found.name.split("."))
    ]
    for name in names:
        importlib.import_module(name)
    print(f"{package}: {len(names)} modules import")


def bare() -> None:
    """`pip install tillport` brings attrs and msgspec alone, and its command says what it lacks."""
    imported_from()
    brought = {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()} - TOOLS
    assert brought == {"tillport", *BY_ITSELF}, f"a bare installation brings {sorted(brought)}"
    menu("tillport.domain")
    everything_below("tillport.domain")
    everything_below("tillport.ports")
    everything_below("tillport.adapters.memory")
    program = Path(sys.executable).parent / "tillport"
    run = subprocess.run([program, "demo"], capture_output=True, text=True, check=False)
    assert run.returncode != 0, "the demonstration needs extras that are not here"
    complaint = f"`tillport demo` without its extras should say what to install; it said:\n{run.stderr}"
    assert "Traceback" not in run.stderr, complaint
    assert "tillport[" in run.stderr, complaint
    print("tillport demo without its extras says:", run.stderr.strip().splitlines()[-1])


def all_of_it() -> None:
    """With every extra, every module imports."""
    imported_from()
    for room in ROOMS:
        everything_below(f"tillport.{room}")


def core() -> None:
    """Without adapters and simulator anywhere, the core imports whole."""
    for room in ("adapters", "simulator"):
        assert importlib.util.find_spec(f"tillport.{room}") is None, f"{room} is in reach"
    menu("tillport.domain")
    everything_below("tillport.ports")
    everything_below("tillport.domain")


{"bare": bare, "all": all_of_it, "core": core}[sys.argv[1]]()
