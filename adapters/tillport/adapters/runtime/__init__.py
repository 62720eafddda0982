"""What keeps the core going: a clock, and loops that drive its step functions. Knows no technology but asyncio."""

from tillport.adapters.runtime.clock import SystemClock
from tillport.adapters.runtime.effects import EffectsWork, EnlisterWork
from tillport.adapters.runtime.loop import Loop, LoopState, Rest, Work
from tillport.adapters.runtime.relay import RelayWork
from tillport.adapters.runtime.resolver import ResolverWork
from tillport.adapters.runtime.retention import MarksRetentionWork, RetentionWork

__all__ = [
    "EffectsWork",
    "EnlisterWork",
    "Loop",
    "LoopState",
    "MarksRetentionWork",
    "RelayWork",
    "ResolverWork",
    "Rest",
    "RetentionWork",
    "SystemClock",
    "Work",
]
