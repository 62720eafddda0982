"""Words on a terminal: coloured where somebody looks, plain in a file or a pipe.

Ten escape sequences don't need a library; https://no-color.org and `TERM=dumb` are heeded.
"""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def colourful(stream: TextIO) -> bool:
    """Tell whether colours are wanted on this stream."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, *styles: str, stream: TextIO | None = None) -> str:
    """Return the text in these styles, or as it is where colours are not wanted."""
    if not styles or not colourful(stream or sys.stdout):
        return text
    return f"\033[{';'.join(_CODES[style] for style in styles)}m{text}\033[0m"


def say(text: str = "") -> None:
    """Print a line for whoever runs the command, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def hand_over(data: bytes) -> None:
    """Write bytes as they are, whatever the terminal's encoding, and all of them: unbuffered, Python may write a part."""
    sys.stdout.flush()
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        out.write(data)


def complain(text: str) -> None:
    """Print what went wrong, where errors go."""
    with suppress(OSError):  # nobody can be told that nobody can be told
        sys.stderr.write(f"{paint('tillport:', 'red', stream=sys.stderr)} {text}\n")
        sys.stderr.flush()


def prepare() -> None:
    """Make both streams take any text: Python has None for one that was closed, and one in Latin-1 lacks the "…"."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def let_go() -> None:
    """Give up what can't be written. Python would try once more at its end, tell of it, and exit with a code of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
