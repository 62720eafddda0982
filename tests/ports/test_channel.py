"""What no courier is given: the glance at the usual message refuses and lets through what the close look does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillport.ports.channel import Message, MessageRefused, _refuse_unusual, refuse_unsendable

texts = st.text(st.sampled_from("a~! \t\n\0\x7f\u00e9\u2028\ud83d-"), max_size=3)


def message(*, key: str = "pi_1", **headers: str) -> Message:
    return Message(id="evt_1", key=key, headers=headers, body=b"{}")


@given(texts, texts, st.dictionaries(texts, texts, max_size=2))
def test_the_glance_and_the_close_look_agree(name: str, key: str, headers: dict[str, str]) -> None:
    told = Message(id=name, key=key, headers=headers, body=b"{}")
    answers = []
    for look in (
        refuse_unsendable,
        lambda one: _refuse_unusual(one, "".join((name, key, *headers.values()))),
    ):
        try:
            look(told)
        except MessageRefused as refused:
            answers.append(str(refused))
        else:
            answers.append("")
    assert answers[0] == answers[1]


@pytest.mark.parametrize("value", ["a\n", "\na", " a", "a ", "a\0b", "\ud83d"])
def test_a_value_that_some_courier_would_harm_is_refused(value: str) -> None:
    with pytest.raises(MessageRefused):
        refuse_unsendable(message(type=value))


@pytest.mark.parametrize("value", ["", "a b", "café", "💳", "charge.succeeded"])
def test_other_values_are_let_through(value: str) -> None:
    refuse_unsendable(message(type=value))
    refuse_unsendable(message(key=value))
