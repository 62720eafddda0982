"""A town in one thread: shoppers, a service that crashes, Stripe, a courier, and an auditor who knows the promises.

`Town` runs the real core behind the real HTTP adapter and the real Stripe adapter, against the simulator, under one
virtual clock. `Auditor` judges by what can be seen from outside. `Machine` lets hypothesis decide what happens.
"""

from town.auditor import Auditor, BrokenPromise
from town.machine import Machine
from town.town import Town

__all__ = ["Auditor", "BrokenPromise", "Machine", "Town"]
