"""Only who may, hears: judged on the tree."""

import pytest

from tillport.domain.access import Forbidden, may_hear, names_one_transaction, sees_raw
from tillport.ports.access import Caller, CallerKind
from tillport.ports.selector import AllOf, Compare, Selector

APP = Caller("app_1", CallerKind.APP)
SERVER = Caller("server_1", CallerKind.SERVER)
ONE = Compare("id", "=", "ch_1")
TYPE = Compare("type", "=", "charge.succeeded")


@pytest.mark.parametrize(
    "selector", [ONE, AllOf((ONE,)), AllOf((TYPE, ONE)), AllOf((AllOf((ONE, TYPE)), TYPE))]
)
def test_an_app_key_hears_what_it_names(selector: Selector) -> None:
    assert names_one_transaction(selector)
    may_hear(APP, selector)


@pytest.mark.parametrize("selector", [None, TYPE, AllOf(()), AllOf((TYPE,)), Compare("id", "=", "")])
def test_an_app_key_hears_nothing_else(selector: Selector | None) -> None:
    with pytest.raises(Forbidden, match="server key"):
        may_hear(APP, selector)
    may_hear(SERVER, selector)
    may_hear(APP, selector, open_channel=True)


def test_only_a_server_key_sees_what_stripe_sent() -> None:
    assert sees_raw(SERVER)
    assert not sees_raw(APP)
