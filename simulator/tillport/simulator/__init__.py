"""A fake Stripe: objects, lifecycles, signed webhooks and faults, in memory, under a clock and a seed of yours.

The menu is served on demand, since pytest loads this package wherever it is installed (see `pytest_plugin`): importing
it costs nothing before the first name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tillport.simulator.accounts import Snapshot
    from tillport.simulator.clock import Clock, ManualClock, MovableClock, RealClock
    from tillport.simulator.deliveries import LIVE_RETRIES, SANDBOX_RETRIES, Attempt
    from tillport.simulator.errors import ApiError
    from tillport.simulator.faults import Fault, Faults
    from tillport.simulator.journal import Entry, Journal
    from tillport.simulator.signed import SignedRequest, signed_request
    from tillport.simulator.signing import sign
    from tillport.simulator.simulator import PUBLISHABLE_KEY, SECRET_KEY, Simulator
    from tillport.simulator.wire import Request, Response

__all__ = [
    "LIVE_RETRIES",
    "PUBLISHABLE_KEY",
    "SANDBOX_RETRIES",
    "SECRET_KEY",
    "ApiError",
    "Attempt",
    "Clock",
    "Entry",
    "Fault",
    "Faults",
    "Journal",
    "ManualClock",
    "MovableClock",
    "RealClock",
    "Request",
    "Response",
    "SignedRequest",
    "Simulator",
    "Snapshot",
    "sign",
    "signed_request",
]

_HOMES = {
    "accounts": ("Snapshot",),
    "clock": ("Clock", "ManualClock", "MovableClock", "RealClock"),
    "deliveries": ("LIVE_RETRIES", "SANDBOX_RETRIES", "Attempt"),
    "errors": ("ApiError",),
    "faults": ("Fault", "Faults"),
    "journal": ("Entry", "Journal"),
    "signed": ("SignedRequest", "signed_request"),
    "signing": ("sign",),
    "simulator": ("PUBLISHABLE_KEY", "SECRET_KEY", "Simulator"),
    "wire": ("Request", "Response"),
}
_HOME = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return __all__
