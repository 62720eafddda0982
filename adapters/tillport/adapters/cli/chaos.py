"""`tillport chaos`: the simulator's storm at a webhook of this machine, with its report on standard output."""

import sys

from tillport.adapters.cli.terminal import complain, say
from tillport.simulator.chaos import Bounds, NotLoopback, throw


def run_chaos(
    url: str,
    *,
    secret: str,
    seconds: float,
    rate: float,
    seed: str,
    connections: int,
    tolerance_seconds: int,
    timeout_seconds: float,
    as_json: bool,
) -> int:
    """Throw the storm; return 0 if nothing broke, 1 if something did, 2 if it was refused."""
    watched = sys.stderr.isatty() and not as_json

    def progress(sent: int, planned: int) -> None:
        if watched and sent % 10 == 0:
            sys.stderr.write(f"\r{sent} of {planned} ")
            sys.stderr.flush()

    try:
        bounds = Bounds(
            seconds=seconds,
            rate=rate,
            connections=connections,
            tolerance_seconds=tolerance_seconds,
            timeout_seconds=timeout_seconds,
        )
        report = throw(url, secret, seed=seed, bounds=bounds, on_progress=progress)
    except (NotLoopback, ValueError) as error:
        complain(str(error))
        return 2
    if watched:
        sys.stderr.write("\r\033[K")
    say(report.json().decode() if as_json else report.text())
    return 1 if report.broken else 0
