"""Copy an account so cheaply that every test can have its own.

What an account holds is mostly immutable objects, so a copy shares them. Collections even share their tables until one
side writes (copy on write). What is truly mutable is copied: queues, random streams, fault scripts, endpoints' secrets.
Whatever pointed to the account points to the copy afterwards, waiting work included. An attempt that was handed out and
is not yet settled belongs to the original; the copy queues its delivery again at once, as after a crash of the sender.
"""

import random
from array import array
from collections import deque
from heapq import heapify
from types import FunctionType
from typing import Any

import msgspec

from tillport.simulator.account import Account
from tillport.simulator.clock import Clock
from tillport.simulator.collection import Collection
from tillport.simulator.deliveries import Deliveries, _Delivery, _Endpoint
from tillport.simulator.faults import FaultPlan
from tillport.simulator.ids import Ids
from tillport.simulator.signing import Signer

_ATOMS = (str, int, float, bool, bytes, type(None), frozenset, FunctionType, Signer)


def forked(account: Account, *, clock: Clock, **changes: Any) -> Account:
    """Return an independent copy of an account on a clock of its own; `changes` replace attributes (keys, names).

    The journal, if any, stays with the original.
    """
    new: Account = Account.__new__(Account)
    for name, value in vars(account).items():
        setattr(new, name, _copy(value, account, new))
    new.clock = clock
    new.journal = None
    for name, value in changes.items():
        setattr(new, name, value)
    return new


def _copy(value: Any, old: Account, new: Account) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if value is old:
        return new
    if kind is tuple:
        return tuple([_copy(item, old, new) for item in value]) if value else value
    if kind is list:
        return [_copy(item, old, new) for item in value]
    if kind is dict:
        # Values are mostly immutable: only containers inside are copied one by one.
        made = value.copy()
        for key, item in value.items():
            if type(item) in _INSIDE:
                made[key] = _copy(item, old, new)
        return made
    copier = _COPIERS.get(kind)
    if copier is not None:
        return copier(value, old, new)
    if isinstance(value, msgspec.Struct):
        return value
    if kind.__module__.startswith("tillport.simulator."):
        return _attributes(value, old, new)
    return value


def _attributes(value: Any, old: Account, new: Account) -> Any:
    """Copy a plain object of ours: the same class, its attributes copied."""
    made = object.__new__(type(value))
    names = [name for part in type(value).__mro__ for name in getattr(part, "__slots__", ())]
    for name in (*names, *getattr(value, "__dict__", ())):
        setattr(made, name, _copy(getattr(value, name), old, new))
    return made


def _stream(value: random.Random) -> random.Random:
    made = random.Random.__new__(random.Random)
    made.setstate(value.getstate())
    return made


def _ids(value: Ids, old: Account, new: Account) -> Ids:  # noqa: ARG001 - every copier has the one signature
    made = Ids.__new__(Ids)
    made._count, made.tail = value._count, value.tail  # noqa: SLF001 - a copy is made from inside
    made._bits = _stream(value._bits.__self__).getrandbits  # type: ignore[attr-defined] # noqa: SLF001 - a bound method has it
    return made


def _plan(value: FaultPlan, old: Account, new: Account) -> FaultPlan:  # noqa: ARG001 - the same
    made = FaultPlan.__new__(FaultPlan)
    made._random = _stream(value._random)  # noqa: SLF001 - the same
    made.script = [msgspec.structs.replace(fault) for fault in value.script]
    made.on_strike = None
    made.set_rates(value.rates)
    return made


def _deliveries(value: Deliveries, old: Account, new: Account) -> Deliveries:
    made: Deliveries = _attributes(value, old, new)
    made._endpoints = {name: one for name, one in made._endpoints.items() if not one.listener}  # noqa: SLF001
    made._heap = [(due, tie, number, _delivery(d)) for due, tie, number, d in value._heap]  # noqa: SLF001
    made.log = deque(
        (msgspec.structs.replace(x) if x.status is None else x for x in value.log), value.log.maxlen
    )
    for delivery, _ in value._open.values():  # noqa: SLF001
        if delivery is not None:
            made._sequence += 1  # noqa: SLF001
            made._heap.append((old.now(), 0.0, made._sequence, _delivery(delivery)))  # noqa: SLF001
    made._open = {}  # noqa: SLF001
    heapify(made._heap)  # noqa: SLF001
    return made


def _delivery(value: _Delivery) -> _Delivery:
    return msgspec.structs.replace(value)


_COPIERS: dict[type, Any] = {
    set: lambda value, _old, _new: value.copy(),
    array: lambda value, _old, _new: value[:],
    deque: lambda value, _old, _new: deque(value, value.maxlen),
    Collection: lambda value, _old, _new: value.fork(),
    Ids: _ids,
    FaultPlan: _plan,
    Deliveries: _deliveries,
    random.Random: lambda value, _old, _new: _stream(value),
}
_INSIDE = frozenset({list, dict, set, deque, array, _Endpoint})
