"""The auditor of payment gateways: plays a history and holds every answer against what the account truly holds.

@given(histories())
async def test_every_history_is_true(history):
    async with my_bench() as bench:
        await judge(bench, history)
"""

from collections import defaultdict
from collections.abc import Awaitable, Sequence

import attrs
from hypothesis import strategies as st

from tillport.adapters.conformance.payments import Card, GatewayBench, Trouble
from tillport.ports.money import Money
from tillport.ports.payments import (
    CardDeclined,
    ChargeOrder,
    GatewayError,
    OutcomeUnknown,
    Payment,
    PaymentStatus,
)


@attrs.frozen
class Step:
    """One step of a history: charge under a key with a card, ask what became of a key, or begin or end trouble."""

    act: str
    key: int = 0
    card: Card = Card.GOOD
    trouble: Trouble | None = None


def histories() -> st.SearchStrategy[list[Step]]:
    """Draw histories: few keys, so that they meet; much trouble."""
    keys = st.integers(0, 2)
    return st.lists(
        st.one_of(
            st.builds(Step, st.just("charge"), keys, st.sampled_from(Card)),
            st.builds(Step, st.just("find"), keys),
            st.builds(Step, st.just("trouble"), trouble=st.one_of(st.none(), st.sampled_from(Trouble))),
        ),
        min_size=1,
        max_size=12,
    )


async def judge(bench: GatewayBench, history: Sequence[Step]) -> None:
    """Play a history and hold every answer against what the account truly holds.

    A key always goes with one order (the card of its first step). Raises `AssertionError`, with the story so far.
    """
    begun = bench.now()
    orders: dict[int, ChargeOrder] = {}
    doubted: dict[int, bool] = defaultdict(bool)
    known: dict[int, str] = {}
    story: list[str] = []
    for step in history:
        before = len(await bench.moved())
        key = f"key-{step.key}"
        answer: Payment | GatewayError | None = None
        if step.act == "trouble":
            await bench.trouble(step.trouble)
        elif step.act == "charge":
            if step.key not in orders:
                orders[step.key] = ChargeOrder(await bench.token(step.card), Money(1000 + step.key, "usd"))
            answer = await _outcome(bench.gateway.charge(orders[step.key], idempotency_key=key))
        else:
            answer = await _outcome(bench.gateway.find(key, tried_from=begun, tried_until=bench.now()))
        story.append(f"{step} → {answer!r}")
        after = await bench.moved()
        mine = [moved for moved in after if moved.amount_minor == 1000 + step.key]
        assert len(mine) <= 1, ("one key, one charge", story)
        assert step.act == "charge" or len(after) == before, ("only charges move money", story)
        if step.act == "trouble":
            continue
        if isinstance(answer, Payment):
            succeeded = answer.status is PaymentStatus.SUCCEEDED
            assert succeeded == bool(mine), ("success means that money moved", story)
            assert known.setdefault(step.key, answer.payment_intent_id) == answer.payment_intent_id, story
        elif isinstance(answer, OutcomeUnknown):
            doubted[step.key] = doubted[step.key] or step.act == "charge"
        elif isinstance(answer, CardDeclined) or answer is None:
            assert not mine, ("declined or absent means that nothing moved", story)
        elif step.act == "charge":
            # "This try moved nothing" is about this try: an earlier one in doubt, or one that worked, is not unsaid.
            assert len(after) == before, ("this error says that nothing moved", story)
            assert not mine or doubted[step.key] or step.key in known, story


async def _outcome(asked: Awaitable[Payment | None]) -> Payment | GatewayError | None:
    try:
        return await asked
    except GatewayError as error:
        return error
