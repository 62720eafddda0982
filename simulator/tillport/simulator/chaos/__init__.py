"""Chaos for any webhook: a seeded storm of what Stripe and others may send, and a report of what broke."""

from tillport.simulator.chaos.loopback import NotLoopback
from tillport.simulator.chaos.report import Finding, Report
from tillport.simulator.chaos.run import Bounds, throw
from tillport.simulator.chaos.storm import Shot, storm

__all__ = ["Bounds", "Finding", "NotLoopback", "Report", "Shot", "storm", "throw"]
