"""Webhook deliveries as a queue under the virtual clock.

The core never sends. `take_due` hands out signed HTTP requests as data; whoever performs one reports its status with
`settle`, and the queue schedules a retry or forgets it. Each attempt is rendered and signed when it is handed out,
at its own time, as Stripe does; so a retry has a new timestamp and `pending_webhooks` is true to the moment.
"""

from collections import deque
from hashlib import sha256
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

from tillport.simulator.faults import Fault
from tillport.simulator.render import pretty
from tillport.simulator.signing import Signer, header
from tillport.simulator.thin import thin

if TYPE_CHECKING:
    from tillport.simulator.account import Account, Event

# Stripe says "exponential backoff for up to three days" and publishes no timetable; these steps are what
# dashboards showed people. Sandboxes retry three times over a few hours (docs.stripe.com/webhooks).
LIVE_RETRIES: tuple[float, ...] = (300, 1800, 7200, 18000, 36000, 43200, 43200, 43200, 43200)
SANDBOX_RETRIES: tuple[float, ...] = (300, 3600, 10800)
# "Days of failure" is all that is said; three are as long as one event is retried.
DISABLED_AFTER_SECONDS = 3 * 86400.0

_HEADERS = {
    "Accept": "*/*; q=0.5, application/xml",
    "Accept-Encoding": "gzip",
    "Cache-Control": "no-cache",
    "Content-Type": "application/json; charset=utf-8",
    "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
}


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One signed HTTP request to perform: POST `body` with `headers` to `url`, then report the status."""

    id: int
    event_id: str
    event_type: str
    endpoint_id: str
    url: str
    headers: dict[str, str]
    body: bytes
    number: int
    at: float
    faults: tuple[str, ...] = ()
    # The private account that sends it; the simulator's own has no name.
    account: str = ""


class AttemptLog(msgspec.Struct, gc=False):
    """What became of an attempt: `status` is None until it is known, 0 when there was no answer."""

    id: int
    at: float
    event_id: str
    event_type: str
    endpoint_id: str
    number: int
    faults: tuple[str, ...]
    status: int | None = None


class _Delivery(msgspec.Struct, gc=False):
    event: "Event"
    endpoint_id: str
    number: int = 1
    # The faults that struck together with a delay, and wait with it; None before any.
    delayed: dict[str, Fault] | None = None
    # A resend by hand neither stops nor starts automatic retries.
    by_hand: bool = False


class _Endpoint:
    __slots__ = (
        "all",
        "enabled",
        "expiries",
        "failing_since",
        "id",
        "listener",
        "signers",
        "thin",
        "types",
        "url",
        "version",
    )

    def __init__(self, endpoint: Any, signers: list[Signer]) -> None:
        self.id = endpoint.id
        self.signers = signers
        # When each signer ends, beside it: never, but for the old ones while a secret rolls.
        self.expiries: list[float] = [inf] * len(signers)
        # When the failures began that no success has ended since.
        self.failing_since: float | None = None
        self.configure(endpoint)

    def configure(self, endpoint: Any) -> None:
        self.url: str = endpoint.url
        self.thin: bool = getattr(endpoint, "thin", False)
        # Somebody on a connection, not an address: he stays through a reset, and no copy has him.
        self.listener: bool = getattr(endpoint, "listener", False)
        names = endpoint.enabled_events
        self.types = frozenset(name.removeprefix("v1.") for name in names) if self.thin else frozenset(names)
        self.all = "*" in self.types
        enabled = endpoint.status == "enabled"
        if enabled and not getattr(self, "enabled", True):
            self.failing_since = None
        self.enabled = enabled
        self.version: str | None = endpoint.api_version

    def wants(self, event: "Event") -> bool:
        return self.enabled and (self.all or event.type in self.types)


class Deliveries:
    """Queue, sign, retry; nothing here performs I/O."""

    def __init__(self, account: "Account", retry_seconds: tuple[float, ...]) -> None:
        self._account = account
        self.retry_seconds = retry_seconds
        self.disable_after_seconds: float = DISABLED_AFTER_SECONDS
        self._endpoints: dict[str, _Endpoint] = {}
        self._heap: list[tuple[float, float, int, _Delivery]] = []
        self._open: dict[int, tuple[_Delivery | None, AttemptLog]] = {}
        self._sequence = 0
        self._attempts = 0
        self.pending: dict[str, int] = {}
        self.failed: set[str] = set()
        self.log: deque[AttemptLog] = deque(maxlen=2_000)
        self._wrong = Signer("whsec_this_is_not_the_secret_of_the_endpoint")

    # Endpoints -----------------------------------------------------------------------------------------------

    def register(self, endpoint: Any, secret: str) -> None:
        self._endpoints[endpoint.id] = _Endpoint(endpoint, [Signer(secret)])

    def configure(self, endpoint: Any) -> None:
        self._endpoints[endpoint.id].configure(endpoint)

    def unregister(self, endpoint_id: str) -> None:
        self._endpoints.pop(endpoint_id, None)

    def keep_listeners(self, before: "Deliveries") -> None:
        """Deliver from now on to those who listened to the account that this one takes the place of."""
        kept = {name: one for name, one in before._endpoints.items() if one.listener}  # noqa: SLF001 - of our own kind
        self._endpoints |= kept

    def roll(self, endpoint_id: str, secret: str, keep_until: float) -> None:
        """Sign with a new secret too; the present ones end at `keep_until`, or when they would have."""
        endpoint = self._endpoints[endpoint_id]
        endpoint.expiries = [inf, *(min(at, keep_until) for at in endpoint.expiries)]
        endpoint.signers = [Signer(secret), *endpoint.signers]
        self.forget_secrets(endpoint_id)

    def forget_secrets(self, endpoint_id: str) -> None:
        """Stop signing with the secrets whose time is over."""
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is None:
            return
        now = self._account.now()
        kept = [(s, at) for s, at in zip(endpoint.signers, endpoint.expiries, strict=True) if at > now]
        endpoint.signers = [signer for signer, _ in kept]
        endpoint.expiries = [at for _, at in kept]

    # The queue -----------------------------------------------------------------------------------------------

    def queue(self, event: "Event") -> None:
        """Let an event that happens now be delivered to every endpoint that listens for it."""
        if not self._endpoints:
            return
        count, now = 0, self._account.now()
        for endpoint in self._endpoints.values():
            if endpoint.wants(event):
                self._push(now, _Delivery(event, endpoint.id))
                count += 1
        if count:
            self.pending[event.id] = count

    def resend(self, event: "Event", endpoint_id: str) -> None:
        """Deliver again by hand; automatic retries go on as they were."""
        self._push(self._account.now(), _Delivery(event, endpoint_id, by_hand=True))

    def resend_to_all(self, event: "Event") -> int:
        """Deliver again by hand to everybody who listens for such an event; return to how many."""
        wanting = [endpoint.id for endpoint in self._endpoints.values() if endpoint.wants(event)]
        for endpoint_id in wanting:
            self.resend(event, endpoint_id)
        return len(wanting)

    def _push(self, due: float, delivery: _Delivery) -> None:
        self._sequence = number = self._sequence + 1
        plan = self._account.faults
        heappush(self._heap, (due, plan.tie() if plan.rates.shuffle else 0.0, number, delivery))

    @property
    def attempted(self) -> int:
        """Count the attempts handed out so far: the last one's id."""
        return self._attempts

    def number_after(self, attempted: int) -> None:
        """Number attempts on from there, so that a late answer to an attempt of another account is nobody's here."""
        self._attempts = max(self._attempts, attempted)

    def next_due(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    @property
    def backlog(self) -> int:
        """Count what is queued or handed out and not yet settled."""
        return len(self._heap) + len(self._open)

    def take_due(self, now: float, limit: int | None = None) -> list[Attempt]:
        """Return the attempts due by `now`, signed at `now`; each is the caller's to perform and settle."""
        out: list[Attempt] = []
        heap, plan = self._heap, self._account.faults
        while heap and heap[0][0] <= now and (limit is None or len(out) < limit):
            delivery = heappop(heap)[3]
            endpoint = self._endpoints.get(delivery.endpoint_id)
            if endpoint is None or not (endpoint.enabled or delivery.by_hand):
                # What is sent by hand was never counted as pending: to take it off would hide another's delivery.
                if not delivery.by_hand:
                    self._done(delivery.event.id)
            elif delivery.delayed is not None:
                self._faulty(out, delivery, endpoint, now, delivery.delayed)
            elif (plan.script or plan.delivery_rates) and (faults := plan.delivery(delivery.event.type)):
                self._faulty(out, delivery, endpoint, now, {fault.kind: fault for fault in faults})
            else:
                out.append(self._attempt(delivery, endpoint, now, None))
        return out

    def _faulty(
        self,
        out: list[Attempt],
        delivery: _Delivery,
        endpoint: _Endpoint,
        now: float,
        kinds: dict[str, Fault],
    ) -> None:
        rates = self._account.faults.rates
        if "delay" in kinds or "reorder" in kinds:
            if "delay" in kinds:
                wait = kinds["delay"].seconds or rates.delay_seconds
            else:
                wait = (kinds["reorder"].seconds or rates.reorder_seconds) * self._account.faults.uniform()
            delivery.delayed = {kind: kinds[kind] for kind in kinds if kind not in ("delay", "reorder")}
            self._push(now + wait, delivery)
            return
        attempt = self._attempt(delivery, endpoint, now, kinds)
        if "drop" in kinds:
            self.settle(attempt, None)
            return
        out.append(attempt)
        if "duplicate" in kinds:
            out.append(self._attempt(delivery, endpoint, now, kinds, twin=True))

    def _attempt(
        self,
        delivery: _Delivery,
        endpoint: _Endpoint,
        now: float,
        kinds: dict[str, Fault] | None,
        *,
        twin: bool = False,
    ) -> Attempt:
        account, event = self._account, delivery.event
        if endpoint.thin:
            body = pretty(thin(event, livemode=account.livemode))
        else:
            body = pretty(view(account, event, endpoint.version))
        timestamp = int(now)
        names: tuple[str, ...] = ()
        signers = endpoint.signers
        if kinds:
            names = tuple(kinds)
            if "stale" in kinds:
                timestamp -= int(kinds["stale"].seconds or account.faults.rates.stale_seconds)
            if "wrong_secret" in kinds:
                signers = [self._wrong]
        signature = header(signers, body, timestamp)
        if kinds and "tamper" in kinds:
            body = tampered(body)
        self._attempts = number = self._attempts + 1
        log = AttemptLog(number, now, event.id, event.type, endpoint.id, delivery.number, names)
        self.log.append(log)
        self._open[number] = (None if twin else delivery, log)
        if account.journal is not None:
            account.journal.attempted(log)
        return Attempt(
            number,
            event.id,
            event.type,
            endpoint.id,
            endpoint.url,
            {**_HEADERS, "Stripe-Signature": signature},
            body,
            delivery.number,
            now,
            names,
            account.name,
        )

    def settle(self, attempt: Attempt, status: int | None) -> None:
        """Report what an endpoint answered; None for no answer. Only a 2xx counts as delivered."""
        found = self._open.pop(attempt.id, None)
        if found is None:
            return
        delivery, log = found
        log.status = status or 0
        account = self._account
        if account.journal is not None:
            account.journal.answered(account.now(), log)
        if delivery is None or delivery.by_hand:
            return
        event_id = delivery.event.id
        endpoint = self._endpoints.get(delivery.endpoint_id)
        if status is not None and 200 <= status < 300:
            if endpoint is not None:
                endpoint.failing_since = None
            self._done(event_id)
            return
        if endpoint is not None:
            self._failing(endpoint)
        if delivery.number > len(self.retry_seconds):
            self.failed.add(event_id)
            self._done(event_id)
            return
        wait = self.retry_seconds[delivery.number - 1]
        self._push(account.now() + wait, _Delivery(delivery.event, delivery.endpoint_id, delivery.number + 1))

    def _failing(self, endpoint: _Endpoint) -> None:
        """Note a failure; disable an endpoint that has only failed for days (Stripe writes e-mails before)."""
        now = self._account.now()
        if endpoint.failing_since is None:
            endpoint.failing_since = now
        elif now - endpoint.failing_since >= self.disable_after_seconds and endpoint.enabled:
            endpoint.enabled = False
            self._account.endpoint_disabled(endpoint.id)

    def _done(self, event_id: str) -> None:
        left = self.pending.pop(event_id, 0) - 1
        if left > 0:
            self.pending[event_id] = left


class EventData(msgspec.Struct, gc=False):
    object: Any
    previous_attributes: Any = msgspec.UNSET


class EventView(msgspec.Struct, gc=False):
    """An event as the wire shows it."""

    id: str
    object: str
    api_version: str | None
    created: int
    data: EventData
    livemode: bool
    pending_webhooks: int
    request: Any
    type: str


def view(account: "Account", event: "Event", version: str | None = None) -> EventView:
    """Render an event, with `pending_webhooks` as it stands now."""
    previous = event.previous
    return EventView(
        event.id,
        "event",
        version or DEFAULT_VERSION,
        event.created,
        EventData(event.object) if previous is None else EventData(event.object, previous),
        account.livemode,
        account.deliveries.pending.get(event.id, 0),
        event.request,
        event.type,
    )


DEFAULT_VERSION = "2026-10-28.endive"


def tampered(body: bytes) -> bytes:
    """Change one digit of a body without changing its length: what a forger on the way would do."""
    at = int.from_bytes(sha256(body).digest()[:4], "big") % len(body)
    for i in (*range(at, len(body)), *range(at)):
        if 0x30 <= body[i] <= 0x39:
            return body[:i] + (b"1" if body[i] != 0x31 else b"2") + body[i + 1 :]
    return body + b" "
