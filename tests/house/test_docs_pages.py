"""Every code block of every page runs, in order, as a reader would run it.

The rules, which `CONTRIBUTING.md` tells to writers:

* `python` blocks of a page share one namespace, like the cells of a notebook; `await` works at the top level.
* `pycon` blocks are doctests in that namespace: what they show is what comes out.
* `console` blocks run line by line: each `$ command` in one shell per block, in a scratch folder, and must succeed.
  Lines without `$` are output and are not compared.
* `json` and `toml` blocks must parse.
* `text`, `http`, `sql`, `diff` and the like show something and claim nothing.
* A block that cannot run here says why, on the line above it: `<!-- not run: needs a Stripe key -->`.
  Its Python is compiled all the same.
* Any other language is refused, so that no block goes unrun by a slip of the pen; and so is what would hide one: a block
  that never ends, one in a quotation, and directives that show code (`{code-block}`).
"""

import ast
import asyncio
import doctest
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
import traceback
import types
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if "_build" not in path.relative_to(ROOT).parts
)
RUN = {"python", "pycon", "console"}
PARSED = {"json", "toml"}
SHOWN = {"text", "http", "sql", "diff", "ini", "yaml", "html", "javascript"}

FENCE = re.compile(r"^(?P<indent>\s*)(?P<fence>`{3,}|~{3,})\s*(?P<language>[^\s`]*)(?P<rest>.*)$")
HIDING = re.compile(
    r"^\s*>[\s>]*(`{3,}|~{3,})|^\s*(`{3,}|~{3,}|:{3,})\s*\{(code|code-block|code-cell|sourcecode)\}"
)
NOT_RUN = re.compile(r"<!--\s*not run:\s*(?P<why>\S.*?)\s*-->\s*$")


@attrs.frozen
class Block:
    """One fenced block: its language, its code, the line its code begins on, and why it is not run, if so."""

    language: str
    code: str
    line: int
    not_run: str | None


def blocks(text: str) -> Iterator[Block]:
    """Read the fenced blocks of a Markdown page, without those that are directives of the page itself."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        assert not HIDING.match(lines[number]), (
            f"line {number + 1}: code that would not be run: {lines[number]}"
        )
        number += 1
        if opening is None:
            continue
        indent, fence, language = len(opening["indent"]), opening["fence"], opening["language"]
        start = number
        closing = re.compile(rf"^\s*{re.escape(fence[0])}{{{len(fence)},}}\s*$")
        while number < len(lines) and not closing.match(lines[number]):
            number += 1
        assert number < len(lines), f"line {start}: a block that does not end"
        inside = lines[start:number]
        number += 1
        if language.startswith("{"):
            # A directive (a note, a figure): its text is page, so blocks may stand in it.
            shift = "\n".join(["", *inside])
            for inner in blocks(shift):
                yield attrs.evolve(inner, line=inner.line + start - 1)
            continue
        above = next((line for line in reversed(lines[: start - 1]) if line.strip()), "")
        why = NOT_RUN.search(above)
        code = "\n".join(line[indent:] if line[:indent].isspace() else line for line in inside)
        yield Block(language, code + "\n", start + 1, why["why"] if why else None)


class Page:
    """Runs the blocks of one page in their order."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.module = types.ModuleType("__page__")
        self.runner = asyncio.Runner()

    def run(self, block: Block) -> None:
        """Run one block, or raise what is wrong with it."""
        if block.language in RUN and block.not_run is None:
            getattr(self, f"run_{block.language}")(block)
        elif block.language == "python":
            self.compile(block)
        elif block.language == "json":
            json.loads(block.code)
        elif block.language == "toml":
            tomllib.loads(block.code)
        elif block.language not in RUN | SHOWN:
            known = ", ".join(sorted(RUN | PARSED | SHOWN))
            raise AssertionError(f"{self.name}:{block.line - 1}: language {block.language!r}; one of {known}")

    def compile(self, block: Block) -> types.CodeType:
        """Compile a block so that a traceback names the page and the line in it."""
        padded = "\n" * (block.line - 1) + block.code
        return compile(padded, self.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)

    def run_python(self, block: Block) -> None:
        code = self.compile(block)
        if code.co_flags & inspect.CO_COROUTINE:

            async def whole() -> None:
                await eval(code, self.module.__dict__)

            self.runner.run(whole())
        else:
            exec(code, self.module.__dict__)

    def run_pycon(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(
            block.code, self.module.__dict__, f"{self.name}:{block.line}", self.name, block.line - 1
        )
        test.globs = self.module.__dict__
        complaints: list[str] = []
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
            test, out=complaints.append, clear_globs=False
        )
        assert not complaints, "".join(complaints)

    def run_console(self, block: Block) -> None:
        script = [line.strip()[2:] for line in block.code.splitlines() if line.strip().startswith("$ ")]
        assert script, f"{self.name}:{block.line}: a console block without a line that begins with `$ `"
        programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(script)],
            cwd=self.folder,
            env=os.environ | {"PATH": programs, "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        said = run.stdout[-2000:] + run.stderr[-2000:]
        assert run.returncode == 0, f"{self.name}:{block.line}: exit {run.returncode}\n{said}"


def run_page(name: str, text: str, folder: Path) -> None:
    """Run every block of a page."""
    page = Page(name, folder)
    sys.modules[page.module.__name__] = page.module  # where frameworks look up a function's annotations
    try:
        with page.runner:
            for block in blocks(text):
                page.run(block)
    finally:
        del sys.modules[page.module.__name__]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_block_of_the_page_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(str(path.relative_to(ROOT)), path.read_text("utf-8"), tmp_path)


def dev_commands(text: str) -> set[str]:
    """Find what a page tells people to type after `dev.py`."""
    return set(re.findall(r"dev\.py ([a-z]+)", "\n".join(block.code for block in blocks(text))))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_page_names_commands_that_dev_py_has(path):
    """Blocks with `dev.py` are not run here, for this runs inside one of them; so at least the names are true."""
    usage = subprocess.run(
        [sys.executable, str(ROOT / "dev.py"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    known = {line.split()[0] for line in usage.splitlines() if line.startswith("  ")}
    assert dev_commands(path.read_text("utf-8")) <= known


# The rules themselves, each seen to bite ------------------------------------------------------------------------------

HOLDS = {
    "blocks share names": "```python\na = 1\n```\ntext\n```python\nassert a == 1\n```\n",
    "await at the top": "```python\nimport asyncio\nawait asyncio.sleep(0)\n```\n",
    "a run of one's own": "```python\nimport asyncio\nasyncio.run(asyncio.sleep(0))\n```\n",
    "a loop that goes on": "```python\nimport asyncio\nq = asyncio.Queue()\nawait q.put(1)\n```\n```python\nassert await q.get()\n```\n",
    "shown output": "```pycon\n>>> 1 + 1\n2\n```\n",
    "a command": "```console\n$ echo $((1 + 1))\n2\n```\n",
    "a reason": "<!-- not run: needs a key -->\n```python\nraise SystemExit\n```\n",
    "a note": "```{note}\nhello\n```\n",
}
FAILS = {
    "an error": ("```python\n1 / 0\n```\n", ZeroDivisionError),
    "an error in a note": ("````{note}\n```python\n1 / 0\n```\n````\n", ZeroDivisionError),
    "in a list": ("* item\n\n  ```python\n  1 / 0\n  ```\n", ZeroDivisionError),
    "other output": ("```pycon\n>>> 1 + 1\n3\n```\n", AssertionError),
    "a block without an end": ("```text\nshown\n\n```python\n1 / 0\n", AssertionError),
    "code in a directive": ("```{code-block} python\n1 / 0\n```\n", AssertionError),
    "code in a quotation": ("> ```python\n> 1 / 0\n> ```\n", AssertionError),
    "a failing command": ("```console\n$ false\n```\n", AssertionError),
    "a command without $": ("```console\necho hello\n```\n", AssertionError),
    "an unknown language": ("```pyhton\n1\n```\n", AssertionError),
    "no language": ("```\n1\n```\n", AssertionError),
    "broken json": ("```json\n{,}\n```\n", ValueError),
    "a reason is no licence": ("<!-- not run: shy -->\n```python\n1 +\n```\n", SyntaxError),
    "a reason must be given": ("<!-- not run: -->\n```python\n1 / 0\n```\n", ZeroDivisionError),
}


@pytest.mark.parametrize("text", HOLDS.values(), ids=HOLDS)
def test_a_good_page_passes(text, tmp_path):
    run_page("page.md", text, tmp_path)


@pytest.mark.parametrize(("text", "error"), FAILS.values(), ids=FAILS)
def test_a_wrong_page_fails(text, error, tmp_path):
    with pytest.raises(error):
        run_page("page.md", text, tmp_path)


def test_a_failure_names_the_line_of_the_page(tmp_path):
    with pytest.raises(ZeroDivisionError) as caught:
        run_page("page.md", "one\n\n```python\na = 1\n\na / 0\n```\n", tmp_path)
    frame = traceback.extract_tb(caught.tb)[-1]
    assert (frame.filename, frame.lineno) == ("page.md", 6)
