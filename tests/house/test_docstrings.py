"""Every example in a docstring of the product runs and shows what comes out."""

import doctest
import importlib
from pathlib import Path

import pytest

import tillport.adapters
import tillport.domain
import tillport.ports
import tillport.simulator

PORTIONS = [tillport.ports, tillport.domain, tillport.adapters, tillport.simulator]


def module_names() -> list[str]:
    """List the modules of the four portions, wherever they are installed."""
    names = []
    for portion in PORTIONS:
        folder = Path(portion.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder).with_suffix("").parts
            if "migrations" not in inside and inside[-1] != "__main__":
                parts = inside[:-1] if inside[-1] == "__init__" else inside
                names.append(".".join((portion.__name__, *parts)))
    return names


def complaints(module) -> list[str]:
    """Run the examples of a module's docstrings and collect what is wrong with them."""
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(test, out=said.append)
    return said


@pytest.mark.parametrize("name", module_names())
def test_the_examples_show_what_comes_out(name):
    assert not complaints(importlib.import_module(name))


def test_a_wrong_example_is_seen():
    module = type(doctest)("wrong", "A module.\n\n>>> 1 + 1\n3\n")
    assert "Expected:\n    3\nGot:\n    2" in "".join(complaints(module))
