"""A state machine to subclass: Hypothesis plays the customers, the bank, Stripe's bad days and a forger, and your
webhook handler is what it tries to break.

    class Shop(StripeMachine):
        def open(self):                       # a fresh application
            self.paid = {}

        def webhook(self, body, headers):     # what your web framework calls; return the status
            ...
            return 200

        def check(self):                      # at the end, when everything has been delivered
            for intent in self.intents():
                assert self.paid.get(intent.id, 0) == intent.amount_received

    TestShop = Shop.TestCase

The events of one moment come in any order. The laws that hold without your help: a genuine delivery is answered with 2xx
in the end, a forged or stale one never, and the handler raises nothing. Needs the extra `testing`.
"""

from contextlib import suppress
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from tillport.simulator import strategies
from tillport.simulator.clock import ManualClock
from tillport.simulator.deliveries import Attempt
from tillport.simulator.errors import ApiError
from tillport.simulator.faults import Fault, Faults
from tillport.simulator.simulator import Simulator

_FORGED = {"tamper", "wrong_secret", "stale"}
_THREE_MONTHS = 90 * 86_400


class StripeMachine(RuleBasedStateMachine):
    """Drive a simulated Stripe and a webhook handler; subclass it and override `open`, `webhook` and `check`.

    `self.sim` is the simulator (virtual time: `self.sim.clock.now()` is the handler's now), `self.secret` the signing
    secret of the endpoint.
    """

    payments: Bundle[str] = Bundle("payments")
    held: Bundle[str] = Bundle("held")

    # To override ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin with a fresh application."""

    def webhook(self, body: bytes, headers: dict[str, str]) -> int:
        """Take one webhook request and return the status."""
        raise NotImplementedError("override webhook(body, headers): call your handler and return its status")

    def check(self) -> None:
        """Compare your application's books with Stripe's; called at the end, when everything has been delivered."""

    # Stripe's books ------------------------------------------------------------------------------------------

    def intents(self) -> list[Any]:
        """Return every payment intent as Stripe has it, oldest first."""
        return list(self.sim.account.payment_intents)[::-1]

    def charges(self) -> list[Any]:
        """Return every charge as Stripe has it, oldest first."""
        return list(self.sim.account.charges)[::-1]

    # Rules ---------------------------------------------------------------------------------------------------

    @initialize(seed=st.integers(0, 1 << 16))
    def stripe_opens(self, seed: int) -> None:
        """Begin with an account of its own and an endpoint."""
        # Stripe promises no order: a handler that counts on one is seldom met by scripted faults alone.
        faults = Faults(shuffle=True)
        self.sim = Simulator(clock=ManualClock(), seed=seed, faults=faults, journal=20_000)
        endpoint = self.sim.webhook_endpoints.create(url="http://app.test/hook", enabled_events=["*"])
        self.secret: str = endpoint.secret
        self.open()

    @rule(target=payments, price=strategies.prices(most=1_000_000), method=strategies.payment_methods())
    def a_customer_pays(self, price: strategies.Price, method: str) -> str:
        """Confirm a payment."""
        return self._pay(price, method, "automatic_async")

    @rule(target=held, price=strategies.prices(most=1_000_000), method=strategies.payment_methods(pays=True))
    def a_customer_reserves(self, price: strategies.Price, method: str) -> str:
        """Confirm a payment that is to be captured later."""
        return self._pay(price, method, "manual")

    @rule(target=payments, intent=consumes(held), part=st.integers(1, 100))
    def the_shop_captures(self, intent: str, part: int) -> str:
        """Capture what was reserved."""
        amount = self.sim.payment_intents.retrieve(intent).amount
        self._try("capture", intent, amount_to_capture=max(1, amount * part // 100))
        return intent

    @rule(intent=consumes(held))
    def the_shop_cancels(self, intent: str) -> None:
        """Cancel what was reserved."""
        self._try("cancel", intent)

    @rule(intent=payments, part=st.integers(1, 100))
    def the_shop_refunds(self, intent: str, part: int) -> None:
        """Refund a part of what was paid."""
        paid = self.sim.payment_intents.retrieve(intent).amount_received
        with suppress(ApiError):  # there may be nothing (more) to refund
            self.sim.refunds.create(payment_intent=intent, amount=max(1, paid * part // 100))

    @rule(intent=payments, succeed=st.booleans())
    def the_bank_is_asked(self, intent: str, succeed: bool) -> None:
        """Let a cardholder whose bank asks confirm, or fail to."""
        if self.sim.payment_intents.retrieve(intent).status == "requires_action":
            with suppress(ApiError):  # it may be declined after the challenge
                self.sim.authenticate(intent, succeed=succeed)

    @rule(faults=st.lists(strategies.delivery_faults(), min_size=1, max_size=3))
    def deliveries_will_go_wrong(self, faults: list[Fault]) -> None:
        """Script faults for the deliveries to come."""
        self.sim.script(*faults)

    @rule(intent=payments)
    def stripe_sends_it_all_again(self, intent: str) -> None:
        """Deliver again what was delivered."""
        account = self.sim.account
        for event in list(account.events)[::-1]:
            if (
                getattr(event.object, "id", None) == intent
                or getattr(event.object, "payment_intent", None) == intent
            ):
                for endpoint in account.webhook_endpoints:
                    account.deliveries.resend(event, endpoint.id)

    @rule(seconds=st.sampled_from((0, 1, 60, 3600, 86_400)))
    def time_passes(self, seconds: int) -> None:
        """Advance the clock, and deliver what falls due."""
        self.sim.advance(seconds, self._deliver)

    @rule(data=st.data())
    def a_stranger_forges(self, data: st.DataObject) -> None:
        """Send what a receiver must refuse."""
        forgery = data.draw(strategies.forged_requests(self.secret, now=int(self.sim.clock.now())))
        status = self.webhook(forgery.request.body, forgery.request.headers)
        assert not 200 <= status < 300, f"a forgery was accepted ({forgery.wrong}): {status}"

    # The end -------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Deliver everything, retries included; then compare the books."""
        if not hasattr(self, "sim"):
            return
        self.sim.account.faults.script.clear()
        self.sim.advance(_THREE_MONTHS, self._deliver)
        undelivered = sorted(self.sim.account.deliveries.failed)
        assert not undelivered, (
            f"good events were never taken: {undelivered[:3]}\n{self.sim.journal.story()[-3000:]}"
        )
        self.check()

    def _deliver(self, attempt: Attempt) -> int:
        status = self.webhook(attempt.body, attempt.headers)
        forged = _FORGED & set(attempt.faults)
        assert not (forged and 200 <= status < 300), (
            f"accepted although {', '.join(forged)}: {attempt.event_id}"
        )
        return status

    def _pay(self, price: strategies.Price, method: str, capture: str) -> str:
        intent = self.sim.payment_intents.create(
            amount=price.amount, currency=price.currency, payment_method=method, capture_method=capture
        )
        self._try("confirm", intent.id, return_url="http://app.test/back")
        return str(intent.id)

    def _try(self, call: str, intent: str, **params: Any) -> None:
        with suppress(ApiError):  # a refusal is Stripe's word too; the events tell it
            getattr(self.sim.payment_intents, call)(intent, **params)
