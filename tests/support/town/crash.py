"""How a process dies: from one moment on, nothing that it still does reaches a disk or another machine."""

import asyncio
from collections.abc import Sequence
from typing import Any

from tillport.ports.channel import Message
from tillport.ports.event_log import Event, EventLog
from tillport.ports.payments import ChargeOrder, Payment, PaymentGateway


class PowerCut(BaseException):
    """The process is gone. No `except Exception` survives it."""


class Process:
    """One life of the service. Its ports go through `guard`, so that they fall silent when it dies."""

    def __init__(self) -> None:
        self.alive = True
        self._gates: list[asyncio.Future[None]] = []

    def guard(self, port: Any) -> Any:
        """Return the port as this process sees it: it works while the process lives."""
        return _Guarded(self, port)

    async def gate(self) -> None:
        """Wait here until somebody lets this process go on, or it dies."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gates.append(waiting)
        await waiting
        self.check()

    def let_through(self, choice: int) -> bool:
        """Open one of the gates that somebody waits at; tell whether there was one."""
        self._gates = [gate for gate in self._gates if not gate.done()]
        if not self._gates:
            return False
        self._gates.pop(choice % len(self._gates)).set_result(None)
        return True

    def die(self) -> None:
        self.alive = False
        for gate in self._gates:
            if not gate.done():
                gate.set_exception(PowerCut())

    def check(self) -> None:
        if not self.alive:
            raise PowerCut


class _Guarded:
    def __init__(self, process: Process, port: Any) -> None:
        self._process = process
        self._port = port

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if not asyncio.iscoroutinefunction(value):
            return value

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._process.check()
            result = await value(*args, **kwargs)
            self._process.check()  # done on the other side; whether anyone here learns of it is another matter
            return result

        return call


class GatedGateway:
    """The gateway, with a gate before Stripe is asked and one before its answer is taken."""

    def __init__(self, process: Process, gateway: PaymentGateway) -> None:
        self._process = process
        self._gateway = gateway
        self.gated = False

    @property
    def livemode(self) -> bool:
        return self._gateway.livemode

    async def charge(self, order: ChargeOrder, *, idempotency_key: str) -> Payment:
        if self.gated:
            await self._process.gate()
        self._process.check()
        try:
            return await self._gateway.charge(order, idempotency_key=idempotency_key)
        finally:
            if self.gated:
                await self._process.gate()
            self._process.check()

    async def find(self, idempotency_key: str, *, tried_from: float, tried_until: float) -> Payment | None:
        self._process.check()
        found = await self._gateway.find(idempotency_key, tried_from=tried_from, tried_until=tried_until)
        self._process.check()
        return found

    async def holds(self, payment_intent_id: str) -> bool:
        self._process.check()
        held = await self._gateway.holds(payment_intent_id)
        self._process.check()
        return held


class FragileLog:
    """The log, whose process can be told to die right after the next commit, before anyone is answered."""

    def __init__(self, process: Process, log: EventLog) -> None:
        self._process = process
        self._log = log
        self.dies_after_commit = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process.guard(self._log), name)

    async def record(self, events: Sequence[Event]) -> Sequence[bool]:
        self._process.check()
        new = await self._log.record(events)
        if self.dies_after_commit:
            self._process.die()
        self._process.check()
        return new


class FragileChannel:
    """The courier, whose process can be told to die after the next publish, before the cursor moves."""

    def __init__(self, process: Process, channel: Any) -> None:
        self._process = process
        self._channel = channel
        self.dies_after_publish = False

    async def publish(self, messages: Sequence[Message]) -> None:
        self._process.check()
        await self._channel.publish(messages)
        if self.dies_after_publish:
            self._process.die()
        self._process.check()
