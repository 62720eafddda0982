"""Bank transfers: a customer's cash balance is filled by them, and pays the intents that wait for it."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tillport.simulator import ApiError, Simulator

KINDS = {
    "eur": "eu_bank_transfer",
    "gbp": "gb_bank_transfer",
    "jpy": "jp_bank_transfer",
    "mxn": "mx_bank_transfer",
    "usd": "us_bank_transfer",
}
FUNDED = "customer_cash_balance_transaction.created"


def transfer(currency: str = "jpy") -> dict[str, Any]:
    asked: dict[str, Any] = {"type": KINDS[currency]}
    if currency == "eur":
        asked["eu_bank_transfer"] = {"country": "NL"}
    return {"customer_balance": {"funding_type": "bank_transfer", "bank_transfer": asked}}


def pay(sim: Simulator, buyer: str, amount: int = 20000, currency: str = "jpy", **more: Any) -> Any:
    given = {
        "amount": amount,
        "currency": currency,
        "customer": buyer,
        "allowed_payment_method_types": ["customer_balance"],
        "payment_method_data": {"type": "customer_balance"},
        "payment_method_options": transfer(currency),
        "confirm": True,
    }
    return sim.payment_intents.create(**{k: v for k, v in (given | more).items() if v is not None})


def fund(sim: Simulator, customer: str, amount: int, currency: str = "jpy", **more: Any) -> Any:
    return sim.customers.fund_cash_balance(customer, amount=amount, currency=currency, **more)


def types(sim: Simulator) -> list[str]:
    return [event.type for event in reversed(sim.events.list(limit=100).data)][1:]  # without the customer's


def told(intent: Any) -> dict[str, Any]:
    found: dict[str, Any] = intent.next_action["display_bank_transfer_instructions"]
    return found


@pytest.fixture
def buyer(sim: Simulator) -> str:
    made: str = sim.customers.create().id
    return made


def test_a_part_is_told_and_the_rest_completes(sim: Simulator, buyer: str) -> None:
    intent = pay(sim, buyer)
    assert (intent.status, intent.next_action["type"]) == (
        "requires_action",
        "display_bank_transfer_instructions",
    )
    assert told(intent)["amount_remaining"] == 20000
    first = fund(sim, buyer, 10000)
    assert (first.type, first.net_amount, first.ending_balance) == ("funded", 10000, 10000)
    intent = sim.payment_intents.retrieve(intent.id)
    assert (intent.status, intent.amount_received, intent.latest_charge) == ("requires_action", 0, None)
    assert told(intent)["amount_remaining"] == 10000
    assert types(sim) == [
        "payment_intent.created",
        "payment_intent.requires_action",
        *(FUNDED, FUNDED),
        "payment_intent.partially_funded",
    ]
    fund(sim, buyer, 10500)
    intent = sim.payment_intents.retrieve(intent.id)
    assert (intent.status, intent.amount_received, intent.next_action) == ("succeeded", 20000, None)
    charge = sim.charges.retrieve(intent.latest_charge)
    assert (charge.id[:3], charge.status, charge.paid, charge.amount_captured) == (
        *("py_", "succeeded", True),
        20000,
    )
    assert msgspec.to_builtins(charge.payment_method_details) == {
        "customer_balance": {},
        "type": "customer_balance",
    }
    assert types(sim)[5:] == [
        *(FUNDED, FUNDED),
        "charge.succeeded",
        "payment_intent.succeeded",
        "cash_balance.funds_available",
    ]
    moves = sim.customers.cash_balance_transactions_of(buyer).data
    assert [(m.type, m.net_amount, m.ending_balance) for m in moves] == [
        ("applied_to_payment", -10000, 500),
        ("funded", 10500, 10500),
        ("applied_to_payment", -10000, 0),
        ("funded", 10000, 10000),
    ]
    assert sim.customers.cash_balance_of(buyer).available == {"jpy": 500}
    (txn,) = sim.balance_transactions.list().data
    assert (txn.type, txn.amount, txn.source) == ("payment", 20000, charge.id)


def test_what_is_there_pays_at_once_and_what_is_left_of_it_in_part(sim: Simulator, buyer: str) -> None:
    fund(sim, buyer, 25000)
    assert types(sim) == [FUNDED, "cash_balance.funds_available"]
    assert pay(sim, buyer, payment_method_options=None).status == "succeeded"
    second = pay(sim, buyer)
    assert (second.status, told(second)["amount_remaining"]) == ("requires_action", 15000)
    assert types(sim)[-3:] == ["payment_intent.requires_action", FUNDED, "payment_intent.partially_funded"]
    assert sim.customers.cash_balance_of(buyer).available == {"jpy": 0}
    with pytest.raises(ApiError) as caught:
        pay(sim, buyer, payment_method_options=None)
    assert caught.value.code == "simulator_not_modelled"


def test_a_canceled_intent_gives_back_what_it_had_to_the_next_in_line(sim: Simulator, buyer: str) -> None:
    first, second = pay(sim, buyer), pay(sim, buyer, 4000)
    fund(sim, buyer, 10000)
    assert sim.payment_intents.retrieve(second.id).status == "requires_action"
    sim.payment_intents.cancel(first.id)
    assert sim.payment_intents.retrieve(second.id).status == "succeeded"
    assert sim.customers.cash_balance_of(buyer).available == {"jpy": 6000}
    kinds = [m.type for m in sim.customers.cash_balance_transactions_of(buyer).data]
    assert kinds == ["applied_to_payment", "unapplied_from_payment", "applied_to_payment", "funded"]
    untouched = pay(sim, buyer, currency="usd")
    moved = len(kinds)
    sim.payment_intents.cancel(untouched.id)
    assert len(sim.customers.cash_balance_transactions_of(buyer).data) == moved


@pytest.mark.parametrize(
    ("waiting", "sent", "paid"),
    [
        ((3000, 500, 700), 500, (0, 1, 0)),  # exactly this one, though it is not the oldest
        ((3000, 500, 700), 1200, (0, 1, 1)),  # exactly these together
        ((500, 500, 500), 1000, (1, 1, 0)),  # the oldest of equals
        ((3000, 500, 700), 3100, (1, 0, 0)),  # else the oldest first, the next in part
        ((3000, 500, 700), 9000, (1, 1, 1)),
    ],
)
def test_a_transfer_pays_what_fits_it_exactly_and_else_the_oldest(
    sim: Simulator, buyer: str, waiting: tuple[int, ...], sent: int, paid: tuple[int, ...]
) -> None:
    intents = [pay(sim, buyer, amount) for amount in waiting]
    other = pay(sim, sim.customers.create().id, sent)
    fund(sim, buyer, sent)
    now = [sim.payment_intents.retrieve(intent.id) for intent in intents]
    assert tuple(int(intent.status == "succeeded") for intent in now) == paid
    left = sim.customers.cash_balance_of(buyer).available["jpy"]
    spent = sum(i.amount - (told(i)["amount_remaining"] if i.next_action else 0) for i in now)
    assert spent + left == sent
    assert sim.payment_intents.retrieve(other.id).status == "requires_action"


def test_a_transfer_goes_to_the_payment_that_it_names(sim: Simulator, buyer: str) -> None:
    old, named = pay(sim, buyer, 2000, "eur"), pay(sim, buyer, 5000, "eur")
    move = fund(sim, buyer, 2000, "eur", reference=told(named)["reference"])
    assert move.funded["bank_transfer"]["reference"] == told(named)["reference"]
    assert told(sim.payment_intents.retrieve(named.id))["amount_remaining"] == 3000
    assert told(sim.payment_intents.retrieve(old.id))["amount_remaining"] == 2000


@pytest.mark.parametrize(
    ("currency", "networks"),
    [
        ("eur", [["sepa"]]),
        ("gbp", [["bacs", "fps"]]),
        ("jpy", [["zengin"]]),
        ("mxn", [["spei"]]),
        ("usd", [["ach", "domestic_wire_us"], ["swift"]]),
    ],
)
def test_a_customer_is_always_shown_the_same_account(
    sim: Simulator, buyer: str, currency: str, networks: list[list[str]]
) -> None:
    first, second = (told(pay(sim, buyer, 2000, currency)) for _ in range(2))
    assert [a["supported_networks"] for a in first["financial_addresses"]] == networks
    assert first["financial_addresses"] == second["financial_addresses"]
    other = told(pay(sim, sim.customers.create().id, 2000, currency))
    assert first["financial_addresses"] != other["financial_addresses"]
    assert first["type"] == KINDS[currency]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"customer": None}, "parameter_missing"),
        ({"currency": "usd"}, None),
        ({"capture_method": "manual"}, None),
        ({"setup_future_usage": "off_session"}, None),
        ({"allowed_payment_method_types": ["card"]}, None),
        ({"payment_method_options": None}, "simulator_not_modelled"),
        (
            {"payment_method_options": {"customer_balance": {"funding_type": "bank_transfer"}}},
            "parameter_missing",
        ),
        (
            {
                "currency": "eur",
                "payment_method_options": {
                    "customer_balance": {
                        "funding_type": "bank_transfer",
                        "bank_transfer": {"type": "eu_bank_transfer"},
                    }
                },
            },
            "parameter_missing",
        ),
        (
            {
                "payment_method_options": {
                    "customer_balance": {
                        "bank_transfer": {"type": "jp_bank_transfer", "requested_address_types": ["zengin"]}
                    }
                }
            },
            "simulator_not_modelled",
        ),
        ({"error_on_requires_action": True}, "simulator_not_modelled"),
        ({"mandate_data": {"customer_acceptance": {"type": "offline"}}}, "simulator_not_modelled"),
    ],
)
def test_a_payment_that_no_transfer_can_make_is_refused(
    sim: Simulator, buyer: str, change: dict[str, Any], code: str | None
) -> None:
    given: dict[str, Any] = {"currency": "jpy", "payment_method_options": transfer()} | change
    with pytest.raises(ApiError) as caught:
        pay(sim, buyer, **given)
    assert (caught.value.status, caught.value.code) == (400, code)
    assert types(sim) == []


def test_what_is_not_modelled_of_a_waiting_payment_is_refused_by_name(sim: Simulator, buyer: str) -> None:
    intent = pay(sim, buyer)
    fund(sim, buyer, 20000)
    paid, open_ = intent.id, pay(sim, buyer).id
    acts: tuple[Callable[[], Any], ...] = (
        lambda: sim.payment_intents.update(open_, amount=5),
        lambda: sim.payment_intents.update(open_, payment_method="pm_card_visa"),
        lambda: sim.payment_intents.confirm(open_),
        lambda: sim.refunds.create(payment_intent=paid),
        lambda: sim.payment_methods.attach(
            sim.payment_methods.create(type="customer_balance").id, customer=buyer
        ),
    )
    for act in acts:
        with pytest.raises(ApiError) as caught:
            act()
        assert caught.value.code == "simulator_not_modelled"
    assert sim.payment_intents.update(open_, description="a word").description == "a word"
    with pytest.raises(ApiError, match="does not wait for a challenge"):
        sim.authenticate(open_)
    assert sim.payment_intents.retrieve(open_).status == "requires_action"


def test_funds_come_to_customers_that_are_there_in_currencies_that_banks_carry(
    sim: Simulator, buyer: str
) -> None:
    with pytest.raises(ApiError) as caught:
        fund(sim, "cus_nobody", 1)
    assert (caught.value.status, caught.value.code) == (404, "resource_missing")
    for amount, currency in ((0, "jpy"), (1, "chf"), (10**11, "usd")):
        with pytest.raises(ApiError) as caught:
            fund(sim, buyer, amount, currency)
        assert caught.value.status == 400
    assert sim.customers.cash_balance_of(buyer).available is None
    move = fund(sim, buyer, 5)
    stranger = sim.customers.create().id
    with pytest.raises(ApiError) as caught:
        sim.customers.cash_balance_transaction_of(stranger, move.id)
    assert caught.value.status == 404
    assert sim.customers.cash_balance_transaction_of(buyer, move.id) == move
    assert sim.customers.cash_balance_transactions_of(stranger).data == []


def test_the_same_seed_tells_the_same_story(buyer: str) -> None:
    def story() -> list[bytes]:
        sim = Simulator(seed=7)
        customer = sim.customers.create(idempotency_key="a").id
        pay(sim, customer, currency="usd", idempotency_key="b")
        fund(sim, customer, 500, "usd", idempotency_key="c")
        return [
            msgspec.json.encode((event.id, event.type, msgspec.to_builtins(event.object).get("id")))
            for event in sim.account.events
        ]

    assert story() == story()


def test_a_fork_has_the_money_and_spends_it_for_itself(sim: Simulator, buyer: str) -> None:
    fund(sim, buyer, 500)
    frozen = sim.freeze()
    pay(sim, buyer, 500)
    other = frozen.fork()
    assert other.customers.cash_balance_of(buyer).available == {"jpy": 500}
    assert sim.customers.cash_balance_of(buyer).available == {"jpy": 0}
