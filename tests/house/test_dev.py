"""dev.py, the file that a stranger runs first: it installs once, survives interruption, and touches only its own.

A checkout of two files and a make-believe `uv` stand in for the real ones, so that nothing is downloaded.
"""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

UV = """#!/bin/sh
echo "$@" >> "$UV_SAW"
echo "Resolved 3 packages"
# By the shell itself: one that waits for a command when it is interrupted goes on with the next.
[ -z "$UV_HANGS" ] || { : > "$UV_HANGS"; exec sleep 60; }
exit "${UV_FAILS:-0}"
"""


class Checkout:
    """A folder with dev.py, pyproject.toml and a `uv` that only writes down what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.folder.mkdir()
        for name in ("dev.py", "pyproject.toml"):
            (self.folder / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
        self.tools = folder / "tools"
        self.tools.mkdir()
        (self.tools / "uv").write_text(UV)
        (self.tools / "uv").chmod(0o755)
        self.saw = folder / "saw"
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()

    def start(
        self, *arguments: str, python: str | Path = sys.executable, **environment: str
    ) -> subprocess.Popen[str]:
        """Start dev.py from another folder."""
        plain = {name: value for name, value in os.environ.items() if name != "TILLPORT_DEV_ENV"}
        path = f"{self.tools}{os.pathsep}{plain.get('PATH', os.defpath)}"
        return subprocess.Popen(
            [str(python), str(self.folder / "dev.py"), *arguments],
            cwd=self.elsewhere,
            env=plain | {"PATH": path, "UV_SAW": str(self.saw)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, *arguments: str, python: str | Path = sys.executable, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run dev.py to its end."""
        with self.start(*arguments, python=python, **environment) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    @property
    def installations(self) -> int:
        """How often `uv` was asked to install."""
        return len(self.saw.read_text().splitlines()) if self.saw.exists() else 0

    def change(self, old: str, new: str) -> None:
        """Edit pyproject.toml."""
        file = self.folder / "pyproject.toml"
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new), "utf-8")


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return Checkout(tmp_path)


SHOW = "import os, sys; print(os.getcwd(), sys.argv[1:], sys.prefix)"


def test_the_first_run_installs_and_the_second_begins_at_once(checkout):
    first = checkout.run("setup")
    assert first.returncode == 0, first.stderr
    assert "Setting up" in first.stdout
    second = checkout.run("setup")
    assert second.stdout == f"ready: {checkout.folder / '.venv/bin/python'}\n"
    assert checkout.installations == 1


def test_the_project_is_installed_editable_with_its_extra_dev(checkout):
    checkout.run("setup")
    assert checkout.saw.read_text().split()[-2:] == ["-e", f"{checkout.folder}[dev]"]


def test_a_command_runs_in_the_checkout_and_gets_its_arguments_and_exit_code(checkout):
    run = checkout.run("run", "python", "-c", SHOW + "; sys.exit(7)", "--keep", "-k", "a name")
    assert run.returncode == 7
    assert (
        run.stdout.splitlines()[-1]
        == f"{checkout.folder} ['--keep', '-k', 'a name'] {checkout.folder / '.venv'}"
    )


@pytest.mark.parametrize("command", [["test", "-k", "name"], ["demo", "--keep"]])
def test_the_two_commands_pass_their_arguments_on(checkout, command):
    checkout.run("setup")
    python = checkout.folder / ".venv/bin/python"
    python.unlink()
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    module = {"test": "pytest", "demo": "tillport.adapters.cli demo"}[command[0]]
    assert checkout.run(*command).stdout.strip() == f"-m {module} {' '.join(command[1:])}"


def test_changed_dependencies_install_again_and_other_settings_do_not(checkout):
    checkout.run("setup")
    checkout.change("line-length = 110", "line-length = 100")
    checkout.run("setup")
    assert checkout.installations == 1
    checkout.change('"attrs>=25.4"', '"attrs>=25.4.0"')
    checkout.run("setup")
    assert checkout.installations == 2


def test_who_has_activated_the_environment_may_run_it_too(checkout):
    checkout.run("setup")
    activated = checkout.folder / ".venv/bin/python"
    assert checkout.run("setup", python=activated).stdout == f"ready: {activated}\n"
    assert checkout.installations == 1
    checkout.change('"attrs>=25.4"', '"attrs>=25.4.0"')  # now it removes the very Python that it was run by
    again = checkout.run("run", "python", "-c", SHOW, "a name", python=activated)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == f"{checkout.folder} ['a name'] {checkout.folder / '.venv'}"
    assert checkout.installations == 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_installation_is_made_anew(checkout, tmp_path, how):
    hanging = tmp_path / "hanging"
    process = checkout.start("setup", UV_HANGS=str(hanging))
    while not hanging.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, how)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert json.loads((checkout.folder / ".venv/tillport-dev.json").read_text())["fingerprint"] is None
    assert checkout.run("run", "python", "-c", SHOW).returncode == 0
    assert checkout.installations == 2


def test_a_half_written_stamp_is_no_stamp(checkout):
    checkout.run("setup")
    (checkout.folder / ".venv/tillport-dev.json").write_text('{"finger')
    assert checkout.run("setup").returncode == 0
    assert checkout.installations == 2


def test_two_first_runs_at_once_install_once(checkout):
    both = [checkout.start("setup") for _ in range(2)]
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    assert checkout.installations == 1


def test_an_environment_of_someone_elses_is_left_alone(checkout):
    theirs = checkout.folder / ".venv" / "precious"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    run = checkout.run("setup")
    assert run.returncode == 1
    assert "TILLPORT_DEV_ENV" in run.stderr
    assert theirs.read_text() == "mine"
    assert checkout.run("setup", TILLPORT_DEV_ENV=str(checkout.folder / ".dev/env")).returncode == 0


def test_a_failed_installation_says_what_helps_and_is_not_taken_for_a_finished_one(checkout):
    nowhere = {
        "UV_FAILS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "/nowhere",
        "PIP_CONFIG_FILE": os.devnull,
    }
    run = checkout.run("setup", **nowhere)
    assert run.returncode == 1
    assert "uv gave up" in run.stdout
    assert "PIP_FIND_LINKS=/path/to/wheels" in run.stderr
    assert "Setting up" in checkout.run("setup").stdout


def test_an_unknown_command_lists_the_known_and_installs_nothing(checkout):
    run = checkout.run("bogus")
    assert run.returncode == 2
    assert "demo" in run.stderr
    assert checkout.run("--help").returncode == 0
    assert checkout.installations == 0


def test_an_old_python_can_read_as_far_as_its_refusal():
    ast.parse((ROOT / "dev.py").read_text("utf-8"), feature_version=(3, 6))


def test_only_the_standard_library_is_imported():
    tree = ast.parse((ROOT / "dev.py").read_text("utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    }
    assert imported <= sys.stdlib_module_names


def test_every_benchmark_can_be_named(checkout):
    for name in ("door.py", "simulator/face.py", "simulator/_shared.py"):
        (checkout.folder / "benchmarks" / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout.folder / "benchmarks" / name).write_text("import sys; print(sys.argv[1:])")
    listed = checkout.run("bench").stdout
    assert [line.split()[-1] for line in listed.splitlines() if "dev.py bench" in line] == [
        "door",
        "simulator/face",
    ]
    assert checkout.run("bench", "simulator/face", "--short").stdout.strip() == "['--short']"


def test_the_readme_shows_the_two_commands():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "python3 dev.py demo" in readme
    assert "python3 dev.py test" in readme
