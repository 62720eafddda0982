"""Search: Stripe's query language, and what it refuses."""

from typing import Any

import pytest

from tillport.simulator import ApiError, Simulator


@pytest.fixture
def shop(sim: Simulator) -> Simulator:
    """Three payments: 1000 usd (order 1), 2000 eur (order 2), a declined 3000 usd (order 3, gift)."""
    data = {
        "type": "card",
        "card": {"token": "tok_visa"},
        "billing_details": {"address": {"postal_code": "94110"}},
    }
    sim.payment_intents.create(
        amount=1000, currency="usd", confirm=True, payment_method_data=data, metadata={"order": "1"}
    )
    sim.advance(10)
    sim.payment_intents.create(
        amount=2000,
        currency="eur",
        confirm=True,
        payment_method="pm_card_mastercard",
        metadata={"order": "2"},
    )
    sim.advance(10)
    with pytest.raises(ApiError):
        sim.payment_intents.create(
            amount=3000,
            currency="usd",
            confirm=True,
            payment_method="pm_card_chargeDeclined",
            metadata={"order": "3", "gift": "yes"},
        )
    return sim


@pytest.mark.parametrize(
    ("query", "amounts"),
    [
        ("status:'succeeded'", [2000, 1000]),
        ("-status:'succeeded'", [3000]),
        ("STATUS:'succeeded'", None),
        ("amount>1000", [3000, 2000]),
        ("amount>=1000 AND amount<3000", [2000, 1000]),
        ("amount:2000", [2000]),
        ("currency:'USD' status:'succeeded'", [1000]),
        ("amount:1000 OR amount:3000", [3000, 1000]),
        ("metadata['order']:'2'", [2000]),
        ('metadata["order"]:"2"', [2000]),
        ("-metadata['gift']:null", [3000]),
        ("metadata['gift']:null", [2000, 1000]),
        ("-metadata['order']:'2'", [3000, 1000]),
        ("payment_method_details.card.brand:'mastercard'", [2000]),
        ("payment_method_details.card.last4:4242", [1000]),
        ("billing_details.address.postal_code:'94110'", [1000]),
        ("refunded:'false' AND disputed:'false'", [3000, 2000, 1000]),
        ("customer:null", [3000, 2000, 1000]),
    ],
)
def test_a_query_finds_the_charges_it_describes(
    shop: Simulator, query: str, amounts: list[int] | None
) -> None:
    if amounts is None:
        with pytest.raises(ApiError):
            shop.charges.search(query=query)
        return
    assert [charge.amount for charge in shop.charges.search(query=query).data] == amounts


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   ",
        "status",
        "status:",
        "status:'open",
        "status:'a' AND amount>1 OR amount>2",
        "colour:'red'",
        "status~'succ'",
        "amount~12",
        "amount>'x'",
        "status>'a'",
        "amount>1 AND",
        "amount>null",
        "name:'a'",
        " AND ".join(["amount>1"] * 11),
    ],
)
def test_what_is_no_query_is_refused(shop: Simulator, query: str) -> None:
    with pytest.raises(ApiError) as caught:
        shop.charges.search(query=query)
    assert (caught.value.status, caught.value.param) == (400, "query")


def test_text_is_looked_into_from_three_letters_on(sim: Simulator) -> None:
    sim.customers.create(name="Ada O'Neil", email="ada@example.test", phone="+1555")
    sim.customers.create()

    def found(query: str) -> int:
        return len(sim.customers.search(query=query).data)

    assert (found("email~'EXAMPLE'"), found("name:'ada o\\'neil'"), found("-email:null")) == (1, 1, 1)
    with pytest.raises(ApiError, match="three characters"):
        found("name~'Ad'")


def test_a_search_has_pages(sim: Simulator) -> None:
    for i in range(5):
        sim.payment_intents.create(amount=1000 + i, currency="usd")
    seen: list[int] = []
    page: dict[str, Any] = {}
    while True:
        result = sim.payment_intents.search(query="amount>0", limit=2, **page)
        seen += [intent.amount for intent in result.data]
        if not result.has_more:
            break
        page = {"page": result.next_page}
    assert seen == [1004, 1003, 1002, 1001, 1000]
    assert result.next_page is None
    with pytest.raises(ApiError, match="Invalid page"):
        sim.payment_intents.search(query="amount>0", page="nonsense")


def test_a_new_object_may_take_its_time_to_be_found(sim: Simulator) -> None:
    sim.account.search_lag_seconds = 60
    sim.payment_intents.create(amount=1000, currency="usd")
    assert sim.payment_intents.search(query="amount:1000").data == []
    sim.advance(60)
    assert len(sim.payment_intents.search(query="amount:1000").data) == 1
