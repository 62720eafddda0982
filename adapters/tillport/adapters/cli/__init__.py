"""The command line: `tillport demo | serve | simulate | events | version`. Needs `tillport[cli]`."""

from tillport.adapters.cli.app import main

__all__ = ["main"]
