"""The command line: `tillport demo | serve | simulate | events | db | version`. Needs `tillport[cli]`."""

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line of this process and exit; without its extra, say in words what to install.

    The program `tillport` comes with every installation, the bare one included, which has nothing to parse its
    arguments with.
    """
    try:
        from tillport.adapters.cli.app import main as run
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == "tillport":
            raise
        print(  # noqa: T201 - a word to a person, before there is a terminal module to say it
            f"tillport: the command line needs {missing.name}, which is not installed.\n"
            "Install it with all that the service needs: pip install 'tillport[service]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    run()
