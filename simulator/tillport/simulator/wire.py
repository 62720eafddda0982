"""The wire: bytes and headers in, bytes and headers out, one layer after the other.

faults before → key → route → permission → parameters → idempotency → the work → expand → encode → faults after.
Nothing here waits: what an edge must do to the connection (reset it, stall, dribble) is said in the response.
"""

import re
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from tillport.simulator import routes
from tillport.simulator.account import API_VERSION, Account, Origin
from tillport.simulator.errors import ApiError, invalid, not_modelled
from tillport.simulator.expand import expand, judge, paths_of
from tillport.simulator.faults import Fault
from tillport.simulator.form import decode, listed
from tillport.simulator.idempotency import MAX_KEY, Record, fingerprint
from tillport.simulator.keys import Key, Keyring, key_of
from tillport.simulator.messages import Request, Response
from tillport.simulator.render import pretty
from tillport.simulator.resources import setup_intents
from tillport.simulator.resources.common import Call, Route
from tillport.simulator.resources.payment_intents import PaymentIntent, public
from tillport.simulator.striking import strike_after, strike_before
from tillport.simulator.versions import is_version

MAX_BODY = 1_000_000
_FORM = ("application/x-www-form-urlencoded", "")
_FEATURES = re.compile(r"[A-Za-z0-9_=.; ]*\Z")
_OF_STRIPE_JS = frozenset(
    ("key", "_stripe_version", "_stripe_account", "payment_user_agent", "guid", "muid", "sid")
)


class Seen(msgspec.Struct, frozen=True, gc=False):
    """One request in the log: enough to tell the story, nothing secret."""

    at: float
    method: str
    path: str
    status: int
    request_id: str
    idempotency_key: str | None
    replayed: bool
    fault: str | None


class Wire:
    """Answer HTTP requests for the accounts whose keys it knows."""

    def __init__(self, default: Account, keys: Callable[[str], Key | None]) -> None:
        self._default = default
        self._keyring = Keyring(keys)
        self.seen: deque[Seen] = deque(maxlen=2_000)

    def handle(self, request: Request) -> Response:
        """Answer one request; never raises for anything a client can send."""
        account = self._default
        method = request.method.upper()
        path, _, query = request.path.partition("?")
        path = path.partition("#")[0]
        version = API_VERSION
        key: str | None = None
        fault: Fault | None = None
        replay: Record | None = None
        request_id = None
        try:
            found, version = self._enter(request, query)
            if found is not None:
                account = found.account
            request_id = account.ids.short("req_")
            key = request.headers.get("idempotency-key")
            fault = account.faults.before(method, path, keyed=bool(key) and method == "POST")
            if fault is not None and (lost := strike_before(account, fault, key)) is not None:
                self._log(account, method, path, 0, request_id, key, fault=fault.kind)
                return lost
            if found is None:
                found = self._keyring.open(request, query)
                account = found.account
            account.run_until(account.now())
            account.version = request.headers.get("stripe-version", "")
            try:
                status, payload, replay = self._work(account, found, request, method, path, query, request_id)
            finally:
                account.version = API_VERSION
        except ApiError as error:
            request_id = request_id or account.ids.short("req_")
            response = _refusal(account, error, request_id, version, key)
            self._log(
                account, method, path, response.status, request_id, key, fault=fault.kind if fault else None
            )
            return response
        headers = _headers(request_id, version, key)
        if replay is not None:
            headers["Idempotent-Replayed"] = "true"
            headers["Original-Request"] = replay.request_id
        response = Response(status, headers, pretty(payload))
        # A refusal that the work ended with, such as a decline, may be lost like any other answer.
        after = account.faults.after(method, path)
        if after is not None:
            response = strike_after(account, after, response, key, request_id, replayed=replay is not None)
        self._log(
            account,
            method,
            path,
            response.status,
            request_id,
            key,
            replayed=replay is not None,
            fault=after.kind if after else None,
        )
        return response

    # Layers --------------------------------------------------------------------------------------------------

    def _enter(self, request: Request, query: str) -> tuple[Key | None, str]:
        """Find whose account this is, as far as faults need to know; refuse what is too large to read."""
        if len(request.body) > MAX_BODY or len(request.path) > 16_384:
            raise ApiError(413, f"The request is too large: send at most {MAX_BODY} bytes.", stored=False)
        try:
            found = self._keyring.open(request, query)
        except ApiError:
            found = None
        version = request.headers.get("stripe-version") or API_VERSION
        return found, version if _is_version(version) else API_VERSION

    def _work(
        self,
        account: Account,
        key: Key,
        request: Request,
        method: str,
        path: str,
        query: str,
        request_id: str,
    ) -> tuple[int, Any, Record | None]:
        route, ids = routes.find(method, path)
        if key.publishable and not route.publishable:
            raise ApiError(
                403,
                "This API call cannot be made with a publishable API key. Please use a secret API key. You can find a "
                "list of your API keys at https://dashboard.stripe.com/account/apikeys.",
                code="secret_key_required",
                stored=False,
            )
        wanted = request.headers.get("stripe-version")
        if wanted is not None and not _is_version(wanted):
            raise invalid(f"Invalid Stripe API version: {wanted[:40]}", None)
        params = _params(request, method, query)
        _own(account, request.headers.get("stripe-account"))
        if request.headers.get("stripe-context") not in (None, account.id):
            raise not_modelled("the header Stripe-Context")
        # Stripe.js sends its key, and a fingerprint of itself, among the parameters.
        if not _OF_STRIPE_JS.isdisjoint(params):
            _own(account, params.get("_stripe_account"))
            params = {name: value for name, value in params.items() if name not in _OF_STRIPE_JS}
        idempotency_key = request.headers.get("idempotency-key") if method == "POST" else None

        def work() -> Any:
            return run(account, route, params, ids, request_id, idempotency_key, key.publishable)

        if not idempotency_key:
            return *worked(account, request_id, work), None
        return once(account, method, path, params, idempotency_key, request_id, work)

    def _log(
        self,
        account: Account,
        method: str,
        path: str,
        status: int,
        request_id: str,
        key: str | None,
        *,
        replayed: bool = False,
        fault: str | None = None,
    ) -> None:
        seen = Seen(account.now(), method[:16], path[:300], status, request_id, key, replayed, fault)
        self.seen.append(seen)
        if account.journal is not None:
            account.journal.write(seen.at, "request", f"{seen.method} {seen.path}", request_id, seen)


def once(
    account: Account,
    method: str,
    path: str,
    params: dict[str, Any],
    key: str,
    request_id: str,
    work: Callable[[], Any],
) -> tuple[int, Any, Record | None]:
    """Do the work under an idempotency key and remember its answer, or return what was remembered.

    Returns the status, the answer, and the record where it is a replay; raises what no key remembers.
    """
    if len(key) > MAX_KEY:
        raise invalid(f"Idempotency keys can be at most {MAX_KEY} characters long.", None)
    print_ = fingerprint(method, path, params)
    now = account.now()
    record = account.idempotency.lookup(key, print_, now)
    if record is not None:
        return record.status, record.payload, record
    status, payload = worked(account, request_id, work)
    account.idempotency.remember(key, Record(print_, status, payload, request_id, now, now))
    return status, payload, None


def worked(account: Account, request_id: str, work: Callable[[], Any]) -> tuple[int, Any]:
    """Do the work and return its status and answer, a refusal that it ended with too; raise what came before it."""
    try:
        return 200, work()
    except ApiError as error:
        if not error.stored:
            raise
        return error.status, error.body(account.log_url(request_id))


def run(
    account: Account,
    route: Route,
    params: dict[str, Any],
    ids: list[str],
    request_id: str | None,
    idempotency_key: str | None,
    publishable: bool = False,
) -> Any:
    """Do the work of one call: judge the parameters, run the handler, expand the answer."""
    paths = listed(params.pop("expand", None))
    if paths is not None and not isinstance(paths, list | tuple):
        raise invalid("Invalid array: expand must be an array of paths.", "expand")
    wanted = paths_of(paths) if paths else None
    parsed = route.spec.parse(params)
    if wanted and route.method != "GET":
        # Before the work: a refused parameter moves no money.
        judge(route.handler, wanted)
    call = Call(Origin(request_id, idempotency_key), publishable)
    try:
        result = account.at_one_moment(route.handler, call, parsed, *ids)
    except ApiError as error:
        if publishable:
            error.fields = {name: _public(value, call) for name, value in error.fields.items()}
        raise
    if wanted:
        try:
            result = expand(account, result, wanted)
        except ApiError as error:
            error.stored = route.method != "GET"  # the work is done: its key must not do it again
            raise
    return _public(result, call) if publishable else result


def _public(value: Any, call: Call) -> Any:
    """Return what a publishable key may see of what is answered, or told in a refusal."""
    if isinstance(value, PaymentIntent):
        return public(value)
    return setup_intents.shown(call, value) if isinstance(value, setup_intents.SetupIntent) else value


def _params(request: Request, method: str, query: str) -> dict[str, Any]:
    params = decode(query) if query else {}
    if method == "POST" and request.body:
        kind = request.headers.get("content-type", "")
        if kind not in _FORM:
            kind = kind.partition(";")[0].strip().lower()
        if kind == "application/json" and request.path.startswith("/v2/"):
            return {**params, **_json(request.body)}
        if kind not in _FORM:
            raise invalid(
                f"Invalid request: the content type {kind[:60]!r} is not accepted here. Encode parameters as "
                "application/x-www-form-urlencoded.",
                None,
            )
        try:
            text = request.body.decode()
        except UnicodeDecodeError:
            raise invalid("Invalid encoding: the body must be percent-encoded UTF-8.", None) from None
        params = {**params, **decode(text)} if params else decode(text)
    return params


def _own(account: Account, named: Any) -> None:
    """Refuse a request in the name of another account: there are no connected ones."""
    if named not in (None, account.id):
        raise ApiError(
            403,
            f"The provided key does not have access to account '{str(named)[:60]}' (or that account does not exist). "
            "Tillport's simulator models no connected accounts.",
            code="account_invalid",
            stored=False,
        )


def _json(body: bytes) -> dict[str, Any]:
    """Read the body of the second API, a JSON object."""
    try:
        read = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise invalid("Invalid request: the body must be a JSON object.", None)
    return read


def _is_version(text: str) -> bool:
    # Features that are being tried out follow the version: 2026-10-28.preview; feature_beta=v3
    version, _, features = text.partition(";")
    return is_version(version) and len(features) < 500 and _FEATURES.match(features) is not None


def _headers(request_id: str, version: str, key: str | None) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Cache-Control": "no-cache, no-store",
        "Request-Id": request_id,
        "Stripe-Version": version,
    }
    if key and key.isascii() and key.isprintable():
        headers["Idempotency-Key"] = key[:MAX_KEY]
    return headers


def _refusal(account: Account, error: ApiError, request_id: str, version: str, key: str | None) -> Response:
    headers = _headers(request_id, version, key)
    headers.update(error.headers)
    return Response(error.status, headers, pretty(error.body(account.log_url(request_id))))


__all__ = ["MAX_BODY", "Key", "Request", "Response", "Seen", "Wire", "key_of", "once", "run"]
