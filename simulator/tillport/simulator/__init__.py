"""A fake Stripe: objects, lifecycles, signed webhooks and faults, in memory, under a clock and a seed of yours."""

from tillport.simulator.clock import Clock, ManualClock, MovableClock, RealClock
from tillport.simulator.deliveries import LIVE_RETRIES, SANDBOX_RETRIES, Attempt
from tillport.simulator.errors import ApiError
from tillport.simulator.faults import Fault, Faults
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
    "Fault",
    "Faults",
    "ManualClock",
    "MovableClock",
    "RealClock",
    "Request",
    "Response",
    "Simulator",
    "sign",
]
