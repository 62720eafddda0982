"""The town: everything that lives, and everything that can happen to it."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from tillport.adapters.litestar import create_app
from tillport.adapters.memory.access import StaticKeyRing
from tillport.adapters.memory.channel import MemoryChannel
from tillport.adapters.memory.clock import ManualClock
from tillport.adapters.memory.cursors import MemoryCursors
from tillport.adapters.memory.doorbell import LocalDoorbell
from tillport.adapters.memory.event_log import MemoryEventLog
from tillport.adapters.memory.ledger import MemoryLedger
from tillport.adapters.memory.policy import MaximumAmount
from tillport.adapters.stripe import Patience, StripeConnection, StripeGateway
from tillport.domain import Charging, Till, Verifier, parse_selector, relay_once, resolve_once
from tillport.domain.notify import Heard
from tillport.ports.channel import ChannelUnavailable
from tillport.ports.cursors import LeaseLost
from tillport.ports.event_log import EventLog, LogUnavailable, RecordedEvent
from tillport.ports.payments import PaymentGateway
from tillport.simulator import Faults, Simulator
from tillport.simulator.deliveries import Attempt
from tillport.simulator.sdk import SimulatorHTTPClient, deliver_async
from town.crash import FragileChannel, FragileLog, GatedGateway, PowerCut, Process
from town.web import Answer, ask

APP_KEY = "app-key-of-the-web-page"
SERVER_KEY = "server-key-that-stays-home"
RELAY = "relay"
CARDS = ("4242424242424242", "5555555555554444", "4000000000000002", "4000000000009995", "4000000000003220")


@attrs.define
class Order:
    """What a shopper wants, and every answer that it got for the same request."""

    number: int
    amount_minor: int
    token: str
    key: str | None
    answers: list[Answer] = attrs.field(factory=list)
    asking: "list[asyncio.Task[Answer]]" = attrs.field(factory=list)


@attrs.define
class Subscriber:
    """A client that listens for one transaction, reconnecting as browsers do: from the last position it saw."""

    selector: str
    transaction_id: str
    heard: list[RecordedEvent] = attrs.field(factory=list)
    position: int = 0


@attrs.define
class Wiring:
    """What a test may replace, to break a promise on purpose."""

    gateway: Callable[[PaymentGateway], PaymentGateway] = lambda gateway: gateway
    log: Callable[[EventLog], EventLog] = lambda log: log
    verifier: Callable[[Verifier], Any] = lambda verifier: verifier
    relay: Callable[..., Any] = relay_once
    select: Callable[[str], Any] = parse_selector


@attrs.define
class SkewedClock:
    """The service's own idea of the time, which somebody may set wrong; Stripe's stays right."""

    true: ManualClock
    ahead_seconds: float = 0.0

    def now(self) -> float:
        return self.true.now() + self.ahead_seconds

    async def sleep_until(self, moment: float) -> None:
        await self.true.sleep_until(moment - self.ahead_seconds)


class Town:
    """One town under one clock and one seed. Every method runs until nothing more can happen by itself."""

    def __init__(self, *, seed: int = 0, wiring: Wiring | None = None) -> None:
        self.wiring = wiring or Wiring()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.service_clock = SkewedClock(self.clock)
        self.simulator = Simulator(clock=self.clock, seed=seed, faults=Faults(shuffle=True))
        endpoint = self.simulator.webhook_endpoints.create(
            url="http://till.localhost/webhooks/stripe", enabled_events=["*"]
        )
        self.signing_secret: str = endpoint.secret
        # The disks: they outlive every process.
        self.ledger = MemoryLedger()
        self.log = self.wiring.log(MemoryEventLog())
        self.cursors = MemoryCursors()
        self.courier = MemoryChannel(self.clock)
        self.orders: list[Order] = []
        self.subscribers: list[Subscriber] = []
        self.acknowledged: list[bytes] = []
        self.refused: list[Attempt] = []
        self.starts = 0
        self.start()

    # Life and death ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the service on whatever the disks hold."""
        self.starts += 1
        self.process = process = Process()
        connection = StripeConnection(
            self.simulator.secret_key,
            clock=self.service_clock,
            patience=Patience(max_tries=1),
            http_client=SimulatorHTTPClient(self.simulator),
        )
        self.gateway = GatedGateway(
            process, self.wiring.gateway(StripeGateway(connection, absence_seconds=60))
        )
        self.process_log = FragileLog(process, self.log)
        self.channel = FragileChannel(process, self.courier)
        nonces = self._nonces()
        self.till = Till(
            charging=Charging(
                gateway=self.gateway,
                ledger=process.guard(self.ledger),
                policy=MaximumAmount({"usd": 1_000_000}),
                clock=self.service_clock,
            ),
            verifier=self.wiring.verifier(Verifier([self.signing_secret], livemode=False)),
            log=self.process_log,  # type: ignore[arg-type] # it hands everything else through
            doorbell=LocalDoorbell(self.service_clock),
            nonces=lambda: next(nonces),
        )
        self.app = create_app(self.till, StaticKeyRing(app_keys=[APP_KEY], server_keys=[SERVER_KEY]))

    def crash(self) -> None:
        """Kill the service wherever it stands, and start it anew."""
        self.process.die()
        self.spin()
        self.start()

    def _nonces(self) -> Iterator[str]:
        number = 0
        while True:
            number += 1
            yield f"{self.starts}-{number}"

    def __enter__(self) -> "Town":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.process.die()
        self.spin()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.spin()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def spin(self) -> None:
        """Let everyone run until all wait for somebody else."""

        async def turns() -> None:
            for _ in range(60):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def run(self, work: Any) -> Any:
        """Run to the end; a process that dies on the way is started again, and None is returned."""
        try:
            return self.loop.run_until_complete(work)
        except PowerCut:
            self.crash()
            return None

    # Shoppers ----------------------------------------------------------------------------------------------------

    def order(self, *, amount_minor: int, card: int, key: bool) -> Order:
        """A shopper fills the basket: a token of a card, an amount, perhaps an idempotency key of its own."""
        token = self.simulator.tokens.create(
            card={"number": CARDS[card % len(CARDS)], "exp_month": 12, "exp_year": 2034, "cvc": "123"}
        )
        number = len(self.orders)
        made = Order(number, amount_minor, token.id, f"order-{number}" if key else None)
        self.orders.append(made)
        return made

    def ask(self, order: Order, *, gated: bool = False) -> None:
        """Send the order, for the first time or again. Gated, it stops on its way to Stripe and back."""
        headers = {"Authorization": f"Bearer {APP_KEY}", "Content-Type": "application/json"}
        if order.key:
            headers["Idempotency-Key"] = order.key
        body = json.dumps(
            {
                "token": order.token,
                "amount_minor": order.amount_minor,
                "currency": "usd",
                "metadata": {"order": str(order.number)},
            }
        ).encode()
        self.gateway.gated = gated
        task = self.loop.create_task(ask(self.app, "POST", "/charges", headers=headers, body=body))
        order.asking.append(task)
        self.spin()
        self.gateway.gated = False
        self.hear_answers()

    def let_through(self, choice: int) -> None:
        """Let one of the requests at a gate go on."""
        self.gateway.gated = True
        self.process.let_through(choice)
        self.spin()
        self.gateway.gated = False
        self.hear_answers()

    def hear_answers(self) -> None:
        for order in self.orders:
            for task in [task for task in order.asking if task.done()]:
                order.asking.remove(task)
                if isinstance(task.exception(), PowerCut):
                    continue  # the connection broke
                order.answers.append(task.result())

    # Stripe ------------------------------------------------------------------------------------------------------

    def deliver(self, *, dies_after_commit: bool = False) -> None:
        """Stripe sends what is due, with whatever faults are set."""

        async def sink(attempt: Attempt) -> int | None:
            try:
                answer = await ask(
                    self.app, "POST", "/webhooks/stripe", headers=attempt.headers, body=attempt.body
                )
            except PowerCut:
                return None  # the connection broke; the process is started again below
            if 200 <= answer.status < 300:
                self.acknowledged.append(attempt.body)
            elif answer.status == 400:
                self.refused.append(attempt)
            return answer.status

        self.process_log.dies_after_commit = dies_after_commit
        self.loop.run_until_complete(deliver_async(self.simulator, sink))
        if not self.process.alive:
            self.crash()
        self.process_log.dies_after_commit = False

    # The service's own work --------------------------------------------------------------------------------------

    def relay(self, *, dies_after_publish: bool = False) -> None:
        """One round of the relay, which may find the courier away or die before its cursor moves."""

        async def work() -> None:
            owner = f"relay-{self.starts}"
            cursors = self.process.guard(self.cursors)
            now = self.service_clock.now()
            position = await cursors.claim(RELAY, owner=owner, now=now, until=now + 9)
            while position is not None:
                try:
                    done = await self.wiring.relay(
                        self.till.log,
                        self.channel,
                        cursors,
                        name=RELAY,
                        owner=owner,
                        position=position,
                        batch_size=3,
                    )
                except (ChannelUnavailable, LeaseLost, LogUnavailable):
                    return
                if not done.more:
                    return
                position = done.position

        self.channel.dies_after_publish = dies_after_publish
        self.run(work())

    def resolve(self) -> None:
        """One round of the worker that settles unknown charges."""
        self.run(resolve_once(self.till.charging, self.till.log))

    def subscribe(self, transaction_id: str) -> None:
        """A client starts to listen, early or late."""
        self.subscribers.append(Subscriber(f"id = '{transaction_id}'", transaction_id))

    def listen(self) -> None:
        """Every subscriber connects from its last position and hears what there is."""

        async def hear(subscriber: Subscriber) -> None:
            caller = StaticKeyRing(app_keys=[APP_KEY]).find(APP_KEY)
            assert caller is not None
            stream = self.till.subscribe(
                self.wiring.select(subscriber.selector), caller=caller, after=subscriber.position
            )
            while True:
                waiting: asyncio.Task[Heard] = asyncio.ensure_future(anext(stream))  # type: ignore[arg-type] # a coroutine
                for _ in range(30):
                    await asyncio.sleep(0)
                if not waiting.done():
                    waiting.cancel()
                    await asyncio.gather(waiting, return_exceptions=True)
                    return
                heard = waiting.result()
                if isinstance(heard, RecordedEvent):
                    subscriber.heard.append(heard)
                subscriber.position = heard.position

        for subscriber in self.subscribers:
            self.run(hear(subscriber))

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.spin()
        self.hear_answers()

    def calm_down(self) -> None:
        """End all faults and give everyone the time they need, so that promises that take time can be judged."""
        self.simulator.set_faults(Faults())
        self.simulator.account.faults.script.clear()
        self.courier.available = True
        self.courier.breaks_after = None
        self.service_clock.ahead_seconds = 0.0
        for _ in range(40):
            self.let_through(0)
        self.crash()
        for _ in range(12):
            self.advance(12 * 3600)
            self.resolve()
            self.deliver()
        self.relay()
        self.listen()
