"""The wire: bytes and headers in, bytes and headers out, one layer after the other.

faults before → key → route → permission → parameters → idempotency → the work → expand → encode → faults after.
Nothing here waits: what an edge must do to the connection (reset it, stall, dribble) is said in the response.
"""

from base64 import b64decode
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from tillport.simulator import routes
from tillport.simulator.account import API_VERSION, Account, Origin
from tillport.simulator.errors import ApiError, invalid
from tillport.simulator.expand import expand
from tillport.simulator.faults import Fault
from tillport.simulator.form import decode
from tillport.simulator.idempotency import MAX_KEY, Record, fingerprint, in_flight
from tillport.simulator.render import pretty
from tillport.simulator.resources.common import Call, Route
from tillport.simulator.resources.payment_intents import PaymentIntent, public

MAX_BODY = 1_000_000
_FORM = ("application/x-www-form-urlencoded", "")
_OF_STRIPE_JS = frozenset(
    ("key", "_stripe_version", "_stripe_account", "payment_user_agent", "guid", "muid", "sid")
)


class Request(msgspec.Struct, frozen=True):
    """One HTTP request: `path` as sent, query included; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path.partition('?')[0]})"


class Response(msgspec.Struct):
    """One HTTP response, and what happens to the connection.

    `connection`: "ok"; "reset" (no answer: drop the connection); "timeout" (no answer: leave the client waiting);
    "truncated" (half the body, then drop); "drip" (in tiny pieces over `delay_seconds`). `deliver_first`: deliver the
    due webhooks before answering.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    connection: str = "ok"
    delay_seconds: float = 0.0
    deliver_first: bool = False


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


class Key(msgspec.Struct, frozen=True):
    """What an API key opens."""

    account: Account
    publishable: bool


class Wire:
    """Answer HTTP requests for the accounts whose keys it knows."""

    def __init__(self, default: Account, keys: Callable[[str], Key | None]) -> None:
        self._default = default
        self._keys = keys
        self.seen: deque[Seen] = deque(maxlen=2_000)
        self._opened: dict[str, Key] = {}

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
            fault = account.faults.before(method, path)
            if fault is not None and (lost := _strike_before(account, fault, key)) is not None:
                self._log(account, method, path, 0, request_id, key, fault=fault.kind)
                return lost
            if found is None:
                found = self._authenticate(request, query)
                account = found.account
            account.run_until(account.now())
            status, payload, replay = self._work(account, found, request, method, path, query, request_id)
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
        after = account.faults.after(method, path)
        if after is not None:
            response = _strike_after(account, after, response, key, request_id)
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
            found = self._authenticate(request, query)
        except ApiError:
            found = None
        version = request.headers.get("stripe-version") or API_VERSION
        return found, version if _is_version(version) else API_VERSION

    def _authenticate(self, request: Request, query: str) -> Key:
        # One client sends one header: what it opens was found out before.
        known = self._opened.get(request.headers.get("authorization", ""))
        if known is not None:
            return known
        given = key_of(request, query)
        if not given:
            raise ApiError(
                401,
                "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication "
                "for details.",
                stored=False,
                headers={"WWW-Authenticate": 'Bearer realm="Stripe"'},
            )
        if given.startswith(("sk_live_", "pk_live_", "rk_live_")):
            raise ApiError(
                401,
                "This is Tillport's simulator: it takes no live-mode keys, so that a real key is never sent to a fake by "
                "mistake. Use the test key that the simulator printed at its start.",
                stored=False,
            )
        key = self._keys(given)
        if key is None:
            shown = given if len(given) < 15 else given[:11] + "*" * (len(given) - 15) + given[-4:]
            if len(given) < 15:
                shown = "*" * len(given)
            raise ApiError(401, f"Invalid API Key provided: {shown[:64]}", stored=False)
        header = request.headers.get("authorization", "")
        if header.startswith("Bearer ") and len(self._opened) < 64:
            self._opened[header] = key
        return key

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
        if request.headers.get("stripe-account") not in (None, account.id):
            raise ApiError(
                403,
                f"The provided key does not have access to account '{request.headers['stripe-account'][:60]}' (or that "
                "account does not exist). Tillport's simulator models no connected accounts.",
                code="account_invalid",
                stored=False,
            )
        params = _params(request, method, query)
        idempotency_key = request.headers.get("idempotency-key") if method == "POST" else None
        if not idempotency_key:
            return 200, run(account, route, params, ids, request_id, None, key.publishable), None
        if len(idempotency_key) > MAX_KEY:
            raise invalid(f"Idempotency keys can be at most {MAX_KEY} characters long.", None)
        print_ = fingerprint(method, path, params)
        now = account.now()
        record = account.idempotency.lookup(idempotency_key, print_, now)
        if record is not None:
            return record.status, record.payload, record
        try:
            payload = run(account, route, params, ids, request_id, idempotency_key, key.publishable)
        except ApiError as error:
            if error.stored:
                body = error.body(_log_url(account, request_id))
                record = Record(print_, error.status, body, request_id, now, now)
                account.idempotency.remember(idempotency_key, record)
            raise
        account.idempotency.remember(idempotency_key, Record(print_, 200, payload, request_id, now, now))
        return 200, payload, None

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
    paths = params.pop("expand", None)
    if paths is not None and not isinstance(paths, list | tuple):
        raise invalid("Invalid array: expand must be an array of paths.", "expand")
    parsed = route.spec.parse(params)
    call = Call(Origin(request_id, idempotency_key), publishable)
    result = route.handler(account, call, parsed, *ids)
    if paths:
        result = expand(account, result, paths)
    if publishable and isinstance(result, PaymentIntent):
        return public(result)
    return result


def _params(request: Request, method: str, query: str) -> dict[str, Any]:
    params = decode(query)
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
        params = {**params, **decode(text)}
    # Stripe.js sends its key, and a fingerprint of itself, among the parameters.
    if not _OF_STRIPE_JS.isdisjoint(params):
        params = {name: value for name, value in params.items() if name not in _OF_STRIPE_JS}
    return params


def _json(body: bytes) -> dict[str, Any]:
    """Read the body of the second API, a JSON object."""
    try:
        read = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise invalid("Invalid request: the body must be a JSON object.", None)
    return read


def key_of(request: Request, query: str) -> str | None:
    header = request.headers.get("authorization", "")
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value
    if scheme.lower() == "basic":
        try:
            return b64decode(value, validate=True).decode().partition(":")[0]
        except ValueError:
            return None
    # Publishable keys may arrive as a parameter, from Stripe.js.
    for text in (query, request.body.decode(errors="replace") if b"key=pk_" in request.body else ""):
        if "key=pk_" in text:
            for pair in text.split("&"):
                if pair.startswith("key=pk_"):
                    return pair[4:]
    return None


@lru_cache(maxsize=64)
def _is_version(text: str) -> bool:
    date, _, name = text.partition(".")
    parts = date.split("-")
    return (
        len(text) < 60
        and text.isascii()
        and len(parts) == 3
        and [len(x) for x in parts] == [4, 2, 2]
        and all(x.isdigit() for x in parts)
        and name.replace(";", "")
        .replace("=", "")
        .replace("_", "")
        .replace(" ", "")
        .replace(".", "")
        .isalnum()
        | (name == "")
    )


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


def _log_url(account: Account, request_id: str) -> str:
    return f"https://dashboard.stripe.com/{account.id}/test/logs/{request_id}?t={int(account.now())}"


def _refusal(account: Account, error: ApiError, request_id: str, version: str, key: str | None) -> Response:
    headers = _headers(request_id, version, key)
    headers.update(error.headers)
    return Response(error.status, headers, pretty(error.body(_log_url(account, request_id))))


def _strike_before(account: Account, fault: Fault, key: str | None) -> Response | None:
    """Refuse or lose a request before its work begins: nothing happens, nothing is remembered."""
    kind = fault.kind
    if kind in ("reset_before", "timeout_before"):
        return Response(0, {}, b"", "reset" if kind == "reset_before" else "timeout", fault.seconds or 0.0)
    retry = account.faults.rates.should_retry
    headers = {} if retry is None else {"Stripe-Should-Retry": "true" if retry else "false"}
    if kind == "rate_limited":
        headers["Stripe-Rate-Limited-Reason"] = "global-rate"
        text = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
        raise ApiError(429, text, code="rate_limit", headers=headers, stored=False)
    if kind == "lock_timeout":
        text = (
            "This object cannot be accessed right now because another API request or Stripe process is currently "
            "accessing it. If you see this error intermittently, retry the request."
        )
        raise ApiError(429, text, code="lock_timeout", headers=headers, stored=False)
    if kind == "key_in_use":
        raise in_flight(key or "")
    status = 503 if kind == "unavailable" else 500
    raise ApiError(status, "An unknown error occurred", type="api_error", headers=headers, stored=False)


def _strike_after(
    account: Account, fault: Fault, response: Response, key: str | None, request_id: str
) -> Response:
    """Spoil the answer after the effect."""
    rates = account.faults.rates
    match fault.kind:
        case "answer_lost":
            response.connection = "reset"
        case "timeout_after":
            response.connection = "timeout"
            response.delay_seconds = fault.seconds or 0.0
        case "truncated":
            response.connection = "truncated"
        case "drip":
            response.connection = "drip"
            response.delay_seconds = fault.seconds or rates.slow_seconds
        case "slow":
            response.delay_seconds = fault.seconds or rates.slow_seconds
        case "webhook_first":
            response.deliver_first = True
        case "error_after":
            error = ApiError(500, "An unknown error occurred", type="api_error")
            body = error.body(_log_url(account, request_id))
            if key:
                account.idempotency.overwrite(key, 500, body)
            response.status = 500
            response.body = pretty(body)
            if rates.should_retry is not None:
                response.headers["Stripe-Should-Retry"] = "true" if rates.should_retry else "false"
    if response.delay_seconds and key and response.connection != "timeout":
        # Until the answer is out, the key is in flight for everybody else.
        account.idempotency.hold(key, account.now() + response.delay_seconds)
    return response
