"""Words on a terminal: coloured where somebody looks, plain in a file or a pipe.

Ten escape sequences don't need a library; https://no-color.org and `TERM=dumb` are heeded.
"""

import os
import sys
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


def complain(text: str) -> None:
    """Print what went wrong, where errors go."""
    sys.stderr.write(f"{paint('tillport:', 'red', stream=sys.stderr)} {text}\n")
    sys.stderr.flush()
