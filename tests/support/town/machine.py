"""The machine: hypothesis decides what happens in the town, and the auditor judges."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tillport.simulator import Fault
from tillport.simulator.faults import AFTER, BEFORE, DELIVERY
from town.auditor import Auditor
from town.town import Town, Wiring

REQUEST_FAULTS = sorted(set(BEFORE + AFTER) - {"slow", "drip"})


class Machine(RuleBasedStateMachine):
    """Any interleaving of charges, repetitions, lost answers, bad deliveries, crashes and restarts."""

    wiring = Wiring()

    def __init__(self) -> None:
        super().__init__()
        self.town: Any = None

    @initialize(seed=st.integers(0, 9))
    def found(self, seed: int) -> None:
        self.town = Town(seed=seed, wiring=self.wiring)

    @rule(amount_minor=st.integers(50, 5_000), card=st.integers(0, 4), key=st.booleans(), gated=st.booleans())
    def a_shopper_pays(self, amount_minor: int, card: int, key: bool, gated: bool) -> None:
        self.town.ask(self.town.order(amount_minor=amount_minor, card=card, key=key), gated=gated)

    @precondition(lambda self: self.town and self.town.orders)
    @rule(choice=st.integers(0, 9), gated=st.booleans())
    def a_shopper_asks_again(self, choice: int, gated: bool) -> None:
        self.town.ask(self.town.orders[choice % len(self.town.orders)], gated=gated)

    @rule(choice=st.integers(0, 9))
    def a_request_moves_on(self, choice: int) -> None:
        self.town.let_through(choice)

    @rule(kind=st.sampled_from(REQUEST_FAULTS))
    def the_next_request_to_stripe_fails(self, kind: str) -> None:
        self.town.simulator.script(Fault(kind=kind, method="POST", path="/v1/payment_intents"))

    @rule(
        faults=st.lists(st.tuples(st.sampled_from(DELIVERY), st.integers(0, 4)), max_size=3),
        dies=st.booleans(),
    )
    def stripe_delivers(self, faults: list[tuple[str, int]], dies: bool) -> None:
        self.town.simulator.script(*(Fault(kind=kind, skip=skip) for kind, skip in faults))
        self.town.deliver(dies_after_commit=dies)

    @rule()
    def the_service_crashes(self) -> None:
        self.town.crash()

    @rule(seconds=st.sampled_from([1, 30, 120, 400, 7_200]))
    def time_passes(self, seconds: int) -> None:
        self.town.advance(seconds)

    @rule(ahead=st.sampled_from([-3_000, -400, -100, 0, 100, 400, 3_000]))
    def somebody_sets_the_services_clock(self, ahead: int) -> None:
        self.town.service_clock.ahead_seconds = ahead

    @rule(dies=st.booleans())
    def the_relay_works(self, dies: bool) -> None:
        self.town.relay(dies_after_publish=dies)

    @rule(available=st.booleans(), breaks_after=st.none() | st.integers(0, 5))
    def the_courier_comes_and_goes(self, available: bool, breaks_after: int | None) -> None:
        self.town.courier.available = available
        self.town.courier.breaks_after = breaks_after

    @rule()
    def the_resolver_works(self) -> None:
        self.town.resolve()

    @precondition(lambda self: self.town)
    @rule(choice=st.integers(0, 9), by_charge=st.booleans())
    def a_client_listens(self, choice: int, by_charge: bool) -> None:
        found = (
            (self.town.simulator.charges if by_charge else self.town.simulator.payment_intents).list().data
        )
        if found:
            self.town.subscribe(found[choice % len(found)].id)
        self.town.listen()

    def teardown(self) -> None:
        if self.town is None:
            return
        try:
            self.town.calm_down()
            Auditor(self.town).judge()
        finally:
            self.town.close()
