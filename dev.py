#!/usr/bin/env python3
"""Set up what a command needs, once, then run it: `python3 dev.py demo`, `python3 dev.py test`.

The rules, because people trust this file with their machine:

* It needs Python 3.11 or later and nothing else. The Python that runs it is the Python that everything runs on.
* It writes inside the checkout only: a virtual environment in `.venv` (or where `TILLPORT_DEV_ENV` says), into which
  it installs the project, editable, with the extra `dev`.
* What was installed is remembered as a fingerprint of everything that decides it: the build, dependency and packaging
  tables of pyproject.toml, the Python and the path of the checkout. While the fingerprint stands, nothing is installed,
  no network is touched, and the command begins in a fraction of a second.
* An environment is ready only when its stamp says so, and the stamp is written last. One that was interrupted is
  made anew; one that this file did not make is never touched.
* `uv` installs where it is found, pip otherwise. Settings for either (`PIP_*`, `UV_*`, pip.conf) keep their meaning.
"""

import sys

# Before anything that an older Python lacks; and the whole file keeps to the syntax of 3.6, so that this is reached.
if sys.version_info < (3, 11):  # noqa: UP036 - the point is to be run by Pythons that the project does not support
    import shutil

    newer = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
    sys.exit(
        f"Tillport needs Python 3.11 or later; this is {sys.version.split()[0]} ({sys.executable}).\n"
        + (f"You have {newer[0]}: {newer[0]} dev.py …" if newer else "Install one and run dev.py with it.")
    )

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = Path(os.environ.get("TILLPORT_DEV_ENV") or ROOT / ".venv").absolute()
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = ENVIRONMENT / "tillport-dev.json"  # the fingerprint; null while the installation is under way
LOG = ENVIRONMENT.with_name(f"{ENVIRONMENT.name}.log")
LOCK = ENVIRONMENT.with_name(f"{ENVIRONMENT.name}.lock")

# Four whatever the cores: half of the time the tests wait, for a disk, a server that starts, a time limit.
EVERYTHING = ("-q", "--numprocesses=4", "--dist=loadfile")
CODE = ("ports", "domain", "adapters", "simulator", "tests", "benchmarks", "docs", ".ci", "dev.py")


# The commands ---------------------------------------------------------------------------------------------------------


def demo(arguments: list[str]) -> int:
    """Watch one payment go all the way round, over real HTTP (--keep leaves it running)."""
    return replace_by(PYTHON, "-m", "tillport.adapters.cli", "demo", *arguments)


def test(arguments: list[str]) -> int:
    """Run the whole test suite; arguments go to pytest (-k name, a path, …)."""
    # The whole suite pays for four processes; a selection starts quicker in one, and a debugger needs one.
    return replace_by(PYTHON, "-m", "pytest", *(arguments or EVERYTHING))


def campaign(arguments: list[str]) -> int:
    """List the long campaigns, or run those named: campaign NAME [pytest arguments]."""
    if not arguments:
        return replace_by(PYTHON, "-m", "pytest", "-m", "campaign", "--collect-only", "-q")
    name, *rest = arguments
    return replace_by(PYTHON, "-m", "pytest", "-m", "campaign", "-k", name, *rest)


def check(arguments: list[str]) -> int:
    """Lint, format, types and layers, as CI asks for them (--fix mends what can be mended)."""
    fix = "--fix" in arguments
    code = [name for name in CODE if (ROOT / name).exists()]
    return run_all(
        ("lint", [BIN / "ruff", "check", *(["--fix"] if fix else []), *code]),
        ("format", [BIN / "ruff", "format", *([] if fix else ["--check"]), *code]),
        ("types", [PYTHON, "-m", "mypy"]),
        ("types of dev.py", [PYTHON, "-m", "mypy", "dev.py"]),
        ("layers", [BIN / "lint-imports"]),
    )


def docs(arguments: list[str]) -> int:
    """Build the documentation into docs/_build; a warning is an error."""
    target = ROOT / "docs" / "_build" / "html"
    code = run_all(("docs", [PYTHON, "-m", "sphinx", "-q", "-W", "--keep-going", *arguments, "docs", target]))
    print(f"docs: {target / 'index.html'}" if code == 0 else "docs: not built")
    return code


def bench(arguments: list[str]) -> int:
    """List the benchmarks, or run one: bench NAME [its arguments]."""
    folder = ROOT / "benchmarks"
    programs = (path for path in sorted(folder.rglob("*.py")) if path.stem[0] != "_")
    found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in programs}
    if not arguments or arguments[0] not in found:
        print("benchmarks:", *(f"  python3 dev.py bench {name}" for name in found), sep="\n")
        return 2 if arguments else 0
    return replace_by(PYTHON, found[arguments[0]], *arguments[1:])


def run(arguments: list[str]) -> int:
    """Run any program of the environment: run tillport serve, run python, …"""
    if not arguments:
        sys.exit("dev.py run: say what to run, as in `python3 dev.py run tillport --help`")
    program = shutil.which(arguments[0], path=command_environment()["PATH"])
    if program is None:
        sys.exit(f"dev.py run: there is no program {arguments[0]!r} in {BIN} or on the PATH")
    return replace_by(program, *arguments[1:])


def setup(arguments: list[str]) -> int:
    """Set the environment up and stop there (--again makes it anew)."""
    if set(arguments) - {"--again"}:
        sys.exit("dev.py setup takes --again and nothing else")
    print(f"ready: {PYTHON}")
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    function.__name__: function for function in (demo, test, campaign, check, docs, bench, run, setup)
}


# The environment ------------------------------------------------------------------------------------------------------


def fingerprint() -> str:
    """Hash everything that decides what the environment holds, and nothing else of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    tables = [project["build-system"], project["project"], project["tool"]["hatch"]]
    # The prefix of the Python below: the same whether that runs this file or its child in the environment does.
    facts = [*tables, str(ROOT), sys.version, sys.base_prefix]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def stamped() -> str | None:
    """Read what the stamp says: a fingerprint when the environment is ready, "" when unfinished, None when not ours."""
    try:
        return json.loads(STAMP.read_text("utf-8"))["fingerprint"] or ""
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return ""  # half written: the machine stopped there


def ensure_ready(*, anew: bool) -> None:
    """Make the environment ready unless it is."""
    wanted = fingerprint()
    if not anew and stamped() == wanted and PYTHON.exists():
        return
    if ENVIRONMENT.exists() and ENVIRONMENT.samefile(sys.prefix):
        # An activated environment runs this, and it is about to be removed: the Python below it goes on.
        below = getattr(sys, "_base_executable")  # noqa: B009 - it has no public name, and no stub
        raise SystemExit(replace_by(below, Path(__file__).resolve(), *sys.argv[1:]))
    with only_one():
        found = stamped()
        if not anew and found == wanted and PYTHON.exists():
            return  # another dev.py made it while this one waited
        if found is None and ENVIRONMENT.exists() and any(ENVIRONMENT.iterdir()):
            sys.exit(
                f"{ENVIRONMENT} is there and dev.py did not make it, so it is left alone.\n"
                "Move it away, or name another place: TILLPORT_DEV_ENV=.dev/env python3 dev.py …"
            )
        started = time.monotonic()
        version = sys.version.split()[0]
        print(f"Setting up {ENVIRONMENT} with Python {version} (once; about half a minute)", flush=True)
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        ENVIRONMENT.mkdir(parents=True, exist_ok=True)
        STAMP.write_text('{"fingerprint": null}', "utf-8")
        LOG.unlink(missing_ok=True)
        install()
        partial = STAMP.with_suffix(".part")
        partial.write_text(json.dumps({"fingerprint": wanted}), "utf-8")
        partial.replace(STAMP)
        print(f"Ready in {time.monotonic() - started:.0f} s. The next time this takes no time.", flush=True)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Let one dev.py at a time change the environment; the lock goes with the process that holds it."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        try:
            import fcntl
        except ImportError:  # Windows has no fcntl: two first runs at once are the caller's risk there
            yield
            return
        os.set_inheritable(lock.fileno(), True)  # an installer that outlives a killed dev.py keeps the lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another dev.py is setting up the environment; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install() -> None:
    """Create the virtual environment and install the project with its extra `dev`, by uv or else by pip."""
    uv = shutil.which("uv")
    environment = installer_environment()
    target = f"{ROOT}[dev]"
    try:
        make = [sys.executable, "-m", "venv", *(["--without-pip"] if uv else []), str(ENVIRONMENT)]
        subprocess.run(make, check=True, env=environment, stdin=subprocess.DEVNULL)
    except subprocess.CalledProcessError:
        sys.exit(
            "\nThis Python cannot make a virtual environment with pip in it. On Debian and Ubuntu install the package\n"
            f"python{sys.version_info[0]}.{sys.version_info[1]}-venv; or put `uv` on the PATH, which needs no pip."
        )
    if uv:
        code = narrate([uv, "pip", "install", "--python", str(PYTHON), "-e", target], environment)
        if code == 0:
            return
        print(f"uv gave up ({LOG}); trying with pip, which reads other settings", flush=True)
        if narrate([str(PYTHON), "-m", "ensurepip"], environment):
            explain_failure()
    if narrate([str(PYTHON), "-m", "pip", "install", "--progress-bar", "off", "-e", target], environment):
        explain_failure()


def installer_environment() -> dict[str, str]:
    """Hand the caller's settings to the installer, except those that would install somewhere else."""
    elsewhere = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_DRY_RUN", "PYTHONHOME", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
    environment |= {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    for theirs, ours in (  # uv reads no PIP_*: someone who set only those means both
        ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"),
        ("UV_INDEX", "PIP_EXTRA_INDEX_URL"),
        ("UV_FIND_LINKS", "PIP_FIND_LINKS"),
        ("UV_NO_INDEX", "PIP_NO_INDEX"),
    ):
        if ours in os.environ:
            environment.setdefault(theirs, os.environ[ours])
    return environment


NEWS = ("Collecting", "Downloading", "Building", "Installing", "Resolved", "Prepared", "Installed")


def narrate(command: list[str], environment: dict[str, str]) -> int:
    """Run an installer with its output in the log, and tell its story on one line (on a few, where nobody watches)."""
    live, shown, packages = sys.stdout.isatty(), time.monotonic(), 0
    with LOG.open("a", encoding="utf-8") as log:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert child.stdout is not None
        for line in child.stdout:
            log.write(line)
            words = line.split()
            if not words or words[0] not in NEWS:
                continue
            packages += words[0] == "Collecting"
            story = f"  {packages:3d} packages · {line.strip()}" if packages else f"  {line.strip()}"
            if live:
                print(f"\r\033[K{story[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
            elif time.monotonic() - shown > 5 or words[0] == "Installing":
                shown = time.monotonic()
                print(story[:100], flush=True)
        code = child.wait()
    if live:
        print("\r\033[K", end="", flush=True)
    return code


def explain_failure() -> None:
    """Show the end of the installer's log, say what usually helps, and stop."""
    lines = [line for line in LOG.read_text("utf-8", "replace").splitlines() if line[:7] != "WARNING"]
    print("\nThe installation failed. Its last words:", *lines[-15:], sep="\n  | ", file=sys.stderr)
    sys.exit(
        f"\nAll of it: {LOG}\n"
        "Only this first installation needs a package index. If there is no network, or one is blocked:\n"
        "  behind a mirror     PIP_INDEX_URL=https://your.mirror/simple python3 dev.py …\n"
        "  from a folder       PIP_NO_INDEX=1 PIP_FIND_LINKS=/path/to/wheels python3 dev.py …\n"
        "                      (fill it on a connected machine: pip download -d wheels '.[dev]' hatchling)\n"
        "  behind a proxy      HTTPS_PROXY=… PIP_CERT=/path/to/ca.pem python3 dev.py …\n"
        "Then run the same command again: an unfinished environment is made anew."
    )


# Running things -------------------------------------------------------------------------------------------------------


def command_environment() -> dict[str, str]:
    """Give the command the environment's programs first on the PATH, as an activated environment would."""
    path = os.pathsep.join((str(BIN), os.environ.get("PATH", os.defpath)))
    environment = os.environ | {"VIRTUAL_ENV": str(ENVIRONMENT), "PATH": path}
    environment.pop("PYTHONHOME", None)
    return environment


def replace_by(program: str | Path, *arguments: str | Path) -> int:
    """Become the program, in the checkout: its signals, its exit code and its terminal are its own."""
    os.chdir(ROOT)
    command = [str(program), *map(str, arguments)]
    sys.stdout.flush()
    if os.name == "nt":
        return subprocess.run(command, check=False, env=command_environment()).returncode
    return os.execve(
        command[0], command, command_environment()
    )  # does not return: this process is the program now


def run_all(*steps: tuple[str, Sequence[str | Path]]) -> int:
    """Run every step, failed ones included, so that one run tells all there is to mend."""
    failed = []
    for name, command in steps:
        print(f"== {name}", flush=True)
        if subprocess.run(command, check=False, cwd=ROOT, env=command_environment()).returncode:
            failed.append(name)
    if failed:
        print("failed:", ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


def usage() -> str:
    """List the commands with the first sentence of each."""
    lines = [f"  {name:10}{(function.__doc__ or '').strip()}" for name, function in COMMANDS.items()]
    return "\n".join(["python3 dev.py COMMAND [arguments]", "", *lines])


def main(arguments: list[str]) -> int:
    """Run one command line."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    command = COMMANDS.get(arguments[0])
    if command is None:
        print(f"dev.py has no command {arguments[0]!r}\n\n{usage()}", file=sys.stderr)
        return 2
    try:
        ensure_ready(anew=command is setup and "--again" in arguments)
    except KeyboardInterrupt:
        sys.exit("\nStopped. Run the same command again: an unfinished environment is made anew.")
    return command(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
