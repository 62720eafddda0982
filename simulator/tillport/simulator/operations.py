"""The object face: every route of the wire as a method, with the same judgement, minus bytes."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tillport.simulator import retention
from tillport.simulator.account import Account
from tillport.simulator.errors import ApiError
from tillport.simulator.params import spelled
from tillport.simulator.resources.common import Route
from tillport.simulator.routes import ROUTES
from tillport.simulator.wire import Seen, once, run

if TYPE_CHECKING:
    from tillport.simulator.simulator import Simulator


class Operations:
    """A resource's calls as methods: `create(**params)`, `retrieve(id)`, `confirm(id, **params)`, `list(**filters)`.

    Each takes Stripe's parameters as keywords, and `expand=[…]` and `idempotency_key=…` beside them; ids come first. A key
    does what it does on the wire: the same call answers as before, another one is refused.
    Returns the object (an immutable struct with Stripe's field names); raises `ApiError` with what the wire would say.
    """

    def __init__(self, simulator: "Simulator", operations: dict[str, Route]) -> None:
        self._simulator = simulator
        self._operations = operations

    def __getattr__(self, name: str) -> Callable[..., Any]:
        route = self._operations.get(name)
        if route is None:
            raise AttributeError(f"no such call: {name}; there are {', '.join(sorted(self._operations))}")
        simulator, lock = self._simulator, self._simulator.lock
        changes = route.method != "GET"

        def call(*ids: str, idempotency_key: str | None = None, **params: Any) -> Any:
            with lock:
                account = simulator.account  # `reset` puts another in its place
                account.run_until(account.now())
                request_id = account.ids.short("req_")
                if account.journal is None:
                    status, result, _ = _done(account, route, params, list(ids), request_id, idempotency_key)
                else:
                    status, result = _written(account, route, params, list(ids), request_id, idempotency_key)
                if simulator.retain is not None and changes and retention.is_due(account, simulator.retain):
                    retention.forget(account, simulator.retain)
            if status != 200:
                raise ApiError.told(status, result)
            # A server may deliver for this simulator in another thread.
            if changes and simulator.on_change is not None:
                simulator.on_change()
            return result

        call.__name__ = name
        call.__doc__ = route.handler.__doc__
        setattr(self, name, call)
        return call


def _done(
    account: Account,
    route: Route,
    params: dict[str, Any],
    ids: list[str],
    request_id: str,
    key: str | None,
) -> tuple[int, Any, bool]:
    """Do the work, once under its key; return the status, the answer, and whether it was given before."""
    if not key or route.method != "POST":
        return 200, run(account, route, params, ids, request_id, key), False
    status, answer, record = once(
        account,
        "POST",
        _path(route, ids),
        _sent(params),
        key,
        request_id,
        lambda: run(account, route, params, ids, request_id, key),
    )
    return status, answer, record is not None


def _sent(value: Any) -> Any:
    """Return what a client would send for a value, so that a key means the same on the wire and here."""
    if isinstance(value, Mapping):
        return {str(name): _sent(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_sent(item) for item in value]
    return spelled(value)


def _path(route: Route, ids: list[str]) -> str:
    path = route.path
    for object_id in ids:
        before, _, rest = path.partition("{")
        path = before + object_id + rest.partition("}")[2]
    return path


def _written(
    account: Account,
    route: Route,
    params: dict[str, Any],
    ids: list[str],
    request_id: str,
    idempotency_key: str | None,
) -> tuple[int, Any]:
    """Do the work and write the call into the journal as the request that it stands for."""
    status, replayed = 200, False
    try:
        status, answer, replayed = _done(account, route, params, ids, request_id, idempotency_key)
    except ApiError as error:
        status = error.status
        raise
    finally:
        if account.journal is not None:
            path = _path(route, ids)
            seen = Seen(
                account.now(), route.method, path, status, request_id, idempotency_key, replayed, None
            )
            account.journal.write(seen.at, "request", f"{route.method} {path}", request_id, seen)
    return status, answer


def _operations() -> dict[str, dict[str, Route]]:
    found: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        resource = route.resource or route.path.split("/")[2]
        name = route.name or route.handler.__name__.rstrip("_").removeprefix(f"{resource}_")
        found.setdefault(resource, {})[name] = route
    return found


OPERATIONS = _operations()
