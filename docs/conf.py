"""Sphinx reads this: `python3 dev.py docs`, where a warning is an error. Nothing in it needs a network."""

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import tillport.ports

project = "Tillport"
author = "The Tillport maintainers"
copyright = "the Tillport maintainers"
release = importlib.metadata.version("tillport")
version = ".".join(release.split(".")[:2])

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

# Pages are Markdown: definition lists, fenced directives by colons, and links to any heading of a page.
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# The reference shows contracts in the order in which their module tells them, types in the text and not in the line.
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"

html_theme = "furo"
html_title = f"Tillport {release}"
html_show_sphinx = False
html_copy_source = False


def read_as_markdown(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Turn the Markdown that docstrings are written in (code spans and tables) into what autodoc reads."""
    done: list[str] = []
    table: list[list[str]] = []
    for raw in [*lines, ""]:
        line = re.sub(r"(?<![`\\:])`([^`]+)`(?![`_])", r"``\1``", raw)
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("| ").split("|")])
            continue
        if table:
            done += ["", ".. list-table::", "   :header-rows: 1", ""]
            for row in table:
                if set("".join(row)) - set("-: "):  # not the rule between head and body
                    done += [f"   {'  -' if column else '* -'} {cell}" for column, cell in enumerate(row)]
            done.append("")
            table = []
        done.append(line)
    lines[:] = done


def append_every_port(_app: Any, docname: str, source: list[str]) -> None:
    """Give the page of the ports one section for each module there is, so that none is forgotten."""
    if docname == "reference/ports":
        for path in sorted(Path(tillport.ports.__path__[0]).glob("[!_]*.py")):
            module = f"tillport.ports.{path.stem}"
            directive = f".. automodule:: {module}\n   :members:\n   :undoc-members:\n"
            source[0] += f"\n## `{module}`\n\n```{{eval-rst}}\n{directive}```\n"


def setup(app: Any) -> None:
    """Tell Sphinx about the hooks."""
    app.connect("source-read", append_every_port)
    app.connect("autodoc-process-docstring", read_as_markdown)
