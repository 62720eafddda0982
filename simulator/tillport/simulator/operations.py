"""The object face: every route of the wire as a method, with the same judgement, minus bytes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tillport.simulator import retention
from tillport.simulator.errors import ApiError
from tillport.simulator.resources.common import Route
from tillport.simulator.routes import ROUTES
from tillport.simulator.wire import Seen, run

if TYPE_CHECKING:
    from tillport.simulator.simulator import Simulator


class Operations:
    """A resource's calls as methods: `create(**params)`, `retrieve(id)`, `confirm(id, **params)`, `list(**filters)`.

    Each takes Stripe's parameters as keywords, and `expand=[…]` and `idempotency_key=…` beside them; ids come first.
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
                    result = run(account, route, params, list(ids), request_id, idempotency_key)
                else:
                    result = _written(simulator, route, params, list(ids), request_id, idempotency_key)
                if simulator.retain is not None and changes and retention.is_due(account, simulator.retain):
                    retention.forget(account, simulator.retain)
            # A server may deliver for this simulator in another thread.
            if changes and simulator.on_change is not None:
                simulator.on_change()
            return result

        call.__name__ = name
        call.__doc__ = route.handler.__doc__
        setattr(self, name, call)
        return call


def _written(
    simulator: "Simulator",
    route: Route,
    params: dict[str, Any],
    ids: list[str],
    request_id: str,
    idempotency_key: str | None,
) -> Any:
    """Do the work and write the call into the journal as the request that it stands for."""
    account = simulator.account
    status = 200
    try:
        return run(account, route, params, ids, request_id, idempotency_key)
    except ApiError as error:
        status = error.status
        raise
    finally:
        if account.journal is not None:
            path = route.path
            for object_id in ids:
                before, _, rest = path.partition("{")
                path = before + object_id + rest.partition("}")[2]
            seen = Seen(account.now(), route.method, path, status, request_id, idempotency_key, False, None)
            account.journal.write(seen.at, "request", f"{route.method} {path}", request_id, seen)


def _operations() -> dict[str, dict[str, Route]]:
    found: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        resource = route.resource or route.path.split("/")[2]
        name = route.name or route.handler.__name__.rstrip("_").removeprefix(f"{resource}_")
        found.setdefault(resource, {})[name] = route
    return found


OPERATIONS = _operations()
