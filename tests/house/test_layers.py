"""The walls, proved by import contracts; and each contract broken once, to see that it holds something up.

A control copies the source roots, adds one import that its contract forbids, and asks the same tool with the same
configuration. A contract that stays green there would prove nothing about the real tree.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("ports", "domain", "adapters", "simulator")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]

# What the core may import, whole. The contract `pure` names the tempting wrongs; this list ends the discussion.
PURE = frozenset(
    "__future__ abc attrs base64 binascii collections contextlib dataclasses datetime decimal enum functools "
    "hashlib hmac inspect itertools math msgspec operator re string types typing unicodedata".split()
)

# contract id -> the importing module, and the import that must break it
VIOLATIONS = {
    "inwards": [
        ("domain/tillport/domain", "import tillport.adapters"),
        ("ports/tillport/ports", "import tillport.domain"),
        ("ports/tillport/undeclared", ""),  # exhaustive: a fifth room must say where it stands
    ],
    "pure": [
        ("domain/tillport/domain", "import asyncio"),
        ("domain/tillport/domain", "from time import monotonic"),
        ("ports/tillport/ports", "import random"),
        ("ports/tillport/ports", "def late():\n    import stripe"),
    ],
    "simulator-apart": [("simulator/tillport/simulator", "from tillport.ports import money")],
    "simulator-unknown": [
        ("adapters/tillport/adapters/stripe", "import tillport.simulator"),
        ("domain/tillport/domain", "import tillport.simulator"),
    ],
    "adapters-apart": [
        ("adapters/tillport/adapters/sql", "import tillport.adapters.memory"),
        ("adapters/tillport/adapters/litestar", "import tillport.adapters.compose"),
        ("adapters/tillport/adapters/undeclared", ""),
    ],
    "adapters-by-compose": [("adapters/tillport/adapters/cli", "import tillport.adapters.sql")],
    "driven": [("adapters/tillport/adapters/sql", "import tillport.domain")],
    "vendors": [
        ("adapters/tillport/adapters/memory", "import sqlalchemy"),
        ("adapters/tillport/adapters/runtime", "from litestar import Litestar"),
    ],
}


def lint(tree: Path, *only: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a tree, with that tree's own configuration."""
    chosen = [part for contract in only for part in ("--contract", contract)]
    paths = os.pathsep.join(str(tree / room) for room in ROOMS)
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache", *chosen],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": paths, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def copy_tree(target: Path) -> Path:
    """Copy what the contracts look at."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, target / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", target)
    return target


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("tree"))


def test_every_contract_holds(copied):
    run = lint(copied)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_contract_has_a_control():
    assert {contract["id"] for contract in CONTRACTS} == set(VIOLATIONS)


@pytest.mark.parametrize(
    ("contract", "place", "code"),
    [(contract, *violation) for contract, violations in VIOLATIONS.items() for violation in violations],
)
def test_a_violation_breaks_its_contract(copied, contract, place, code):
    folder = copied / place
    new = not folder.exists()
    folder.mkdir(exist_ok=True)
    wrong = folder / ("__init__.py" if new else "wrong.py")
    wrong.write_text(code + "\n")
    try:
        run = lint(copied, contract)
    finally:
        shutil.rmtree(folder) if new else wrong.unlink()
    assert run.returncode == 1, run.stdout + run.stderr
    assert "1 broken" in run.stdout, run.stdout + run.stderr


def foreign_imports(graph: grimp.ImportGraph, room: str) -> set[str]:
    """List what a room imports from outside the project, by top-level name."""
    ours = graph.find_descendants(f"tillport.{room}") | {f"tillport.{room}"}
    found = {
        name.split(".")[0] for module in ours for name in graph.find_modules_directly_imported_by(module)
    }
    return found - {"tillport"}


@pytest.mark.parametrize("room", ["domain", "ports"])
def test_the_core_imports_nothing_but_what_is_pure(room):
    graph = grimp.build_graph("tillport", include_external_packages=True, cache_dir=None)
    assert foreign_imports(graph, room) - PURE == set()


def test_the_list_of_the_pure_sees_a_vendor():
    graph = grimp.build_graph("tillport", include_external_packages=True, cache_dir=None)
    assert "sqlalchemy" in foreign_imports(graph, "adapters") - PURE
