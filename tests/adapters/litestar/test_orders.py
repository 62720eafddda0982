"""Reading orders: whatever comes in is an order or a refusal in words, and nothing is ever rounded or guessed."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillport.adapters.litestar.orders import native_order, seed_order
from tillport.ports.errors import TillportError
from tillport.ports.money import Money

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["token", "amount", "amount_minor", "currency", "description", "metadata", "card", "___class"]
    ),
    JSON | st.sampled_from(["tok_visa", "usd", 1250]),
    max_size=6,
)
BODIES = st.binary(max_size=200) | st.one_of(FIELDS, st.lists(FIELDS, max_size=2), JSON).map(
    lambda value: json.dumps(value).encode()
)


@pytest.mark.parametrize("read", [native_order, seed_order])
@given(body=BODIES)
def test_any_body_is_an_order_or_a_refusal_with_a_way_out(read, body):
    try:
        read_or_refused = read(body, currency="usd").money
    except TillportError as refusal:
        read_or_refused = refusal
    assert type(read_or_refused) is Money or (read_or_refused.message and read_or_refused.remedy)


@given(amount=st.integers(0, 10**12))
def test_an_integer_is_taken_as_it_is_with_or_without_a_decimal_point(amount):
    for text in (str(amount), f"{amount}.0"):
        assert (
            seed_order(f'{{"token":"tok_visa","amount":{text}}}'.encode(), currency="usd").money.amount_minor
            == amount
        )


@given(amount=st.decimals(0, 10**9, allow_nan=False, places=3).filter(lambda d: d != d.to_integral_value()))
def test_what_is_not_whole_is_refused_and_the_advice_is_exact(amount):
    with pytest.raises(TillportError) as refused:
        seed_order(f'{{"token":"tok_visa","amount":{amount}}}'.encode(), currency="usd")
    if "send " in refused.value.remedy:
        advised = refused.value.remedy.partition("send ")[2].partition(".")[0]
        assert Decimal(advised) == amount * 100


@given(body=BODIES)
def test_quoting_a_bare_token_changes_nothing_that_could_be_read_without_it(body):
    try:
        decoded = json.loads(body)
    except ValueError:
        return
    if not (isinstance(decoded, dict) and {"token", "amount"} <= decoded.keys()):
        return
    try:
        order = seed_order(body, currency="usd")
    except TillportError:
        return
    assert order.token == decoded["token"]


def test_text_that_looks_like_a_bare_token_is_left_alone():
    body = b'{"token":"tok_visa","amount":1200,"description":"\\"token\\": tok_other,"}'
    order = seed_order(body, currency="usd")
    assert (order.token, order.description) == ("tok_visa", '"token": tok_other,')
