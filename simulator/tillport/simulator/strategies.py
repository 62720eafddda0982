"""Hypothesis strategies: money that Stripe takes, its test cards, events, signed requests, schedules and faults.

    @given(strategies.prices(), strategies.cards(pays=True))
    def test_a_good_card_pays(price, card): ...

Needs the extra `testing`. Events are a simulated account's own, so they have every field that Stripe's have.
"""

from typing import Any

import msgspec
from hypothesis import strategies as st

from tillport.simulator import currencies as c
from tillport.simulator.cards import CARDS, Card
from tillport.simulator.chaos import signatures
from tillport.simulator.clock import ManualClock
from tillport.simulator.deliveries import Attempt
from tillport.simulator.errors import ApiError
from tillport.simulator.faults import AFTER, BEFORE, DELIVERY, Fault, Faults
from tillport.simulator.signed import SignedRequest, signed_request
from tillport.simulator.simulator import Simulator

NOW = 1_793_491_200


class Price(msgspec.Struct, frozen=True):
    """An amount in minor units that Stripe takes in its currency."""

    amount: int
    currency: str


class Delivery(msgspec.Struct, frozen=True, order=True):
    """One delivery of a schedule: which event (an index), and how many seconds after the first."""

    at_seconds: int
    index: int


class Forgery(msgspec.Struct, frozen=True):
    """A request that nobody may believe, and what is wrong with it."""

    request: SignedRequest
    wrong: str


def currencies() -> st.SearchStrategy[str]:
    """Any currency that Stripe charges in; the simplest is usd."""
    return st.sampled_from(c.SUPPORTED)


def amounts(currency: str, *, most: int | None = None) -> st.SearchStrategy[int]:
    """Amounts in minor units that Stripe takes in a currency: above its minimum, whole where the currency is."""
    step = 100 if currency in c.WHOLE_UNITS else 10 if currency in c.THREE_DECIMAL else 1
    least = -(-c.MINIMUM.get(currency, 1) // step)
    top = min(most or c.DEFAULT_MAXIMUM, c.MAXIMUM.get(currency, c.DEFAULT_MAXIMUM)) // step
    return st.integers(least, max(least, top)).map(lambda n: n * step)


def prices(*, most: int | None = None) -> st.SearchStrategy[Price]:
    """Amounts with their currencies."""
    return currencies().flatmap(lambda code: amounts(code, most=most).map(lambda n: Price(n, code)))


def cards(*, pays: bool | None = None) -> st.SearchStrategy[Card]:
    """Published test cards; `pays=True` those that simply pay, `pays=False` those whose bank declines."""

    def fits(card: Card) -> bool:
        simple = card.declined is None and card.three_d_secure is None and card.declined_on_attach is None
        refuses = card.declined is not None and card.three_d_secure is None
        return bool(card.names) and (pays is None or (simple and card.dispute is None if pays else refuses))

    return st.sampled_from([card for card in CARDS if fits(card)])


def payment_methods(*, pays: bool | None = None) -> st.SearchStrategy[str]:
    """`pm_card_…` names of test cards."""
    return cards(pays=pays).map(lambda card: f"pm_card_{card.names[0]}")


def tokens(*, pays: bool | None = None) -> st.SearchStrategy[str]:
    """`tok_…` names of test cards."""
    return cards(pays=pays).map(lambda card: f"tok_{card.names[0]}")


def events() -> st.SearchStrategy[dict[str, Any]]:
    """Single events, as a webhook's body decodes."""
    return stories().flatmap(st.sampled_from).map(msgspec.json.decode)


@st.composite
def stories(draw: st.DrawFn) -> list[bytes]:
    """The webhook bodies of one payment's whole life, in Stripe's usual order."""
    sim = Simulator(clock=ManualClock(NOW), seed=draw(st.integers(0, 1 << 32)))
    sim.webhook_endpoints.create(url="http://app.test/hook", enabled_events=["*"])
    price = draw(prices())
    ends = draw(st.sampled_from(("paid", "refunded", "part refunded", "captured", "cancelled")))
    heard: list[bytes] = []

    def listen(attempt: Attempt) -> int:
        heard.append(attempt.body)
        return 200

    try:
        intent = sim.payment_intents.create(
            amount=price.amount,
            currency=price.currency,
            payment_method=draw(payment_methods()),
            confirm=True,
            capture_method="manual" if ends in ("captured", "cancelled") else "automatic_async",
        )
        if ends == "captured":
            sim.payment_intents.capture(intent.id)
        elif ends == "cancelled":
            sim.payment_intents.cancel(intent.id)
        elif ends != "paid":
            more: dict[str, Any] = {} if ends == "refunded" else {"amount": max(1, price.amount // 2)}
            sim.refunds.create(payment_intent=intent.id, **more)
    except ApiError:
        pass  # a decline, a challenge nobody passes: stories too
    sim.advance(10, listen)
    return heard


def signed_requests(
    secret: str, *, now: int = NOW, bodies: st.SearchStrategy[bytes] | None = None
) -> st.SearchStrategy[SignedRequest]:
    """Requests that a receiver at `now` must believe: every genuine header, within the tolerance of 300 s."""
    makers = st.sampled_from([signatures.right, *signatures.GENUINE.values()])
    source = stories().flatmap(st.sampled_from) if bodies is None else bodies
    return st.builds(
        lambda body, maker, age: _request(body, maker(body, secret, now - age)),
        source,
        makers,
        st.integers(0, 290),
    )


def forged_requests(
    secret: str, *, now: int = NOW, bodies: st.SearchStrategy[bytes] | None = None
) -> st.SearchStrategy[Forgery]:
    """Requests that a receiver at `now` must refuse: forged signatures, and right ones that are too old."""
    source = stories().flatmap(st.sampled_from) if bodies is None else bodies
    forged = st.builds(
        lambda body, name: Forgery(_request(body, signatures.FORGED[name](body, secret, now)), name),
        source,
        st.sampled_from(list(signatures.FORGED)),
    )
    stale = st.builds(
        lambda body, age: Forgery(signed_request(body, secret, timestamp=now - age), f"signed {age} s ago"),
        source,
        st.integers(310, 3 * 86_400),
    )
    return forged | stale


def _request(body: bytes, signature: str | None) -> SignedRequest:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return SignedRequest(body, headers if signature is None else {**headers, "Stripe-Signature": signature})


@st.composite
def delivery_schedules(draw: st.DrawFn, count: int, *, most_repeats: int = 2) -> list[Delivery]:
    """When `count` events arrive: each at least once, some again, in any order, over three days; sorted by time."""
    once = [Delivery(draw(st.integers(0, 259_200)), index) for index in range(count)]
    again = st.builds(Delivery, st.integers(0, 259_200), st.integers(0, max(0, count - 1)))
    return sorted(once + (draw(st.lists(again, max_size=count * most_repeats)) if count else []))


def request_faults() -> st.SearchStrategy[Fault]:
    """One scripted fault of a request: before the work or after it."""
    return st.builds(
        lambda kind, skip, times: Fault(kind=kind, skip=skip, times=times, method="POST"),
        st.sampled_from((*BEFORE, *AFTER)),
        st.integers(0, 3),
        st.integers(1, 2),
    )


def delivery_faults(*, honest: bool = False) -> st.SearchStrategy[Fault]:
    """One scripted fault of a delivery; `honest=True` leaves out what Stripe itself never sends (forgeries)."""
    kinds = [k for k in DELIVERY if not (honest and k in ("tamper", "wrong_secret", "stale"))]
    return st.builds(
        lambda kind, skip, times: Fault(kind=kind, skip=skip, times=times),
        st.sampled_from(kinds),
        st.integers(0, 3),
        st.integers(1, 2),
    )


def fault_scripts(*, most: int = 5) -> st.SearchStrategy[list[Fault]]:
    """Scripts of faults for requests and deliveries; make a fresh one for each run, for a script is used up."""
    return st.lists(request_faults() | delivery_faults(), max_size=most)


def fault_rates(*, highest: float = 0.3) -> st.SearchStrategy[Faults]:
    """Fault rates, a few of them on."""
    rate = st.floats(0.0, highest, allow_nan=False)
    some = st.dictionaries(st.sampled_from((*BEFORE, *AFTER, *DELIVERY)), rate, max_size=4)
    return st.builds(
        lambda rates, shuffle: msgspec.convert({**rates, "shuffle": shuffle}, Faults), some, st.booleans()
    )
