"""Static keys, and the policy of a maximum amount."""

import pytest

from tillport.adapters.memory.access import StaticKeyRing
from tillport.adapters.memory.policy import MaximumAmount
from tillport.ports.access import CallerKind
from tillport.ports.money import InvalidAmount, Money, UnknownCurrency
from tillport.ports.payments import ChargeOrder

APP, SERVER = "app-key-0123456789", "server-key-0123456789"
CALLER = StaticKeyRing(app_keys=[APP]).find(APP)


def test_each_key_makes_its_kind_of_caller() -> None:
    ring = StaticKeyRing(app_keys=[APP], server_keys=[SERVER])
    assert ring.find(APP).kind is CallerKind.APP
    assert ring.find(SERVER).kind is CallerKind.SERVER


@pytest.mark.parametrize(
    "presented", ["", APP[:-1], APP + "x", APP.upper(), "\0", "\udc80", "\N{SNOWMAN}" * 1000]
)
def test_what_is_no_key_makes_no_caller(presented) -> None:
    assert StaticKeyRing(app_keys=[APP], server_keys=[SERVER]).find(presented) is None
    assert StaticKeyRing().find(presented) is None


def test_a_caller_id_is_stable_and_reveals_no_key() -> None:
    ring = StaticKeyRing(server_keys=[SERVER])
    assert ring.find(SERVER).id == StaticKeyRing(app_keys=[APP], server_keys=[SERVER]).find(SERVER).id
    assert SERVER not in repr(ring)
    assert SERVER not in ring.find(SERVER).id


@pytest.mark.parametrize(
    "keys", [{"app_keys": ["short"]}, {"server_keys": [""]}, {"app_keys": [APP], "server_keys": [APP]}]
)
def test_weak_and_repeated_keys_are_refused_without_showing_them(keys) -> None:
    with pytest.raises(ValueError, match="API key") as refused:
        StaticKeyRing(**keys)
    assert APP not in str(refused.value)


@pytest.mark.parametrize(
    ("amount_minor", "currency", "allowed"),
    [(1, "usd", True), (1000, "usd", True), (1001, "usd", False), (1, "eur", False), (500, "jpy", True)],
)
async def test_the_limit_of_each_currency_is_kept(amount_minor, currency, allowed) -> None:
    policy = MaximumAmount({"usd": 1000, "jpy": 500})
    refusal = await policy.decide(ChargeOrder("tok_1", Money(amount_minor, currency)), CALLER)
    assert (refusal is None) == allowed
    if refusal is not None:
        assert refusal.remedy


async def test_without_limits_nothing_is_charged() -> None:
    refusal = await MaximumAmount({}).decide(ChargeOrder("tok_1", Money(1, "usd")), CALLER)
    assert refusal is not None


def test_limits_that_are_no_amounts_are_refused() -> None:
    with pytest.raises(InvalidAmount):
        MaximumAmount({"usd": -1})
    with pytest.raises(InvalidAmount):
        MaximumAmount({"usd": 10.5})
    with pytest.raises(UnknownCurrency):
        MaximumAmount({"dollars": 10})
