"""The control routes of private accounts: `/_sim/accounts`, to list, make, reset and throw away.

What concerns one account (its clock, faults, requests …) is under its own path: `/acct/<name>/_sim/…`.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from tillport.simulator.accounts import described
from tillport.simulator.errors import ApiError
from tillport.simulator.faults import Faults
from tillport.simulator.simulator import Simulator


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /_sim/accounts` takes; `like` names the account to fork."""

    name: str | None = None
    like: str | None = None
    seed: str | int | None = None
    faults: Faults | None = None


def answer(simulator: Simulator, method: str, rest: str, body: Callable[[], bytes]) -> Any:
    """Answer a route below `/_sim/accounts`; raise ApiError or ValueError for what cannot be done."""
    accounts = simulator.private_accounts
    name, _, action = rest.partition("/")
    match method, name, action:
        case "GET", "", "":
            return {"accounts": [described(one) for one in accounts]}
        case "POST", "", "":
            order = msgspec.json.decode(body(), type=Order)
            like = None if order.like is None else _found(simulator, order.like).freeze()
            made = accounts.create(order.name, like=like, seed=order.seed, faults=order.faults)
            return described(made)
        case "GET", _, "":
            return described(_found(simulator, name))
        case "DELETE", _, "":
            _found(simulator, name)
            accounts.remove(name)
            return {"removed": name}
        case "POST", _, "reset":
            body()
            one = _found(simulator, name)
            one.reset()
            return described(one)
    raise ApiError(
        404, f"No such control route: {method} /_sim/accounts/{rest[:100]}. See docs/simulator.md."
    )


def _found(simulator: Simulator, name: str) -> Simulator:
    found = simulator.private_accounts.find(name)
    if found is None:
        raise ApiError(
            404, f"There is no account {name[:64]!r}: GET /_sim/accounts lists those that there are."
        )
    return found
