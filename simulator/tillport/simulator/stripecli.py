"""What `stripe listen` talks to: a session by HTTP, then events over a websocket and the application's answers back.

The official CLI asks for a session with its key, opens the websocket that the session names, prints the session's
signing secret and POSTs what comes in to `--forward-to` itself. To the simulator such a listener is one more endpoint,
which no list shows and which lives as long as its websocket. As at Stripe, an event counts as delivered once the CLI
has it: what the application answered is noted in the log of deliveries, and a failure is not tried again.
"""

from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import msgspec

from tillport.simulator.account import API_VERSION, Account
from tillport.simulator.deliveries import Attempt
from tillport.simulator.render import pretty
from tillport.simulator.simulator import Simulator
from tillport.simulator.wire import Request, Response

if TYPE_CHECKING:
    from tillport.simulator.asgi import Receive, Scope, Send

SESSIONS = "/v1/stripecli/sessions"
SUBSCRIBE = "/v1/stripecli/subscribe/"
# An attempt for a listener has this for its URL's beginning, and the listener's id after it.
SCHEME = "stripecli:"
MAX_SESSIONS = 64
# After so long the CLI connects anew; a reload of its own, nothing depends on it.
RECONNECT_SECONDS = 24 * 3600


class _Endpoint(msgspec.Struct, frozen=True):
    """What the delivery queue needs to know of a listener."""

    id: str
    url: str
    enabled_events: tuple[str, ...] = ("*",)
    status: str = "enabled"
    api_version: str | None = None
    listener: bool = True


class _Session(msgspec.Struct):
    id: str
    simulator: Simulator
    secret: str
    send: Any = None

    @property
    def account(self) -> Account:
        """The account as it is now: a reset puts another in its place."""
        return self.simulator.account


class _Answer(msgspec.Struct):
    """What the CLI reports; of `event_ack` and `webhook_response` only the second has a status."""

    type: str = ""
    webhook_conversation_id: str = ""
    status: int | None = None


class Listeners:
    """The `stripe listen` sessions of one server."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._sessions: dict[str, _Session] = {}
        self._count = 0

    # The session ---------------------------------------------------------------------------------------------

    def open_session(self, request: Request) -> Response:
        """Answer `POST /v1/stripecli/sessions`; a key that is refused elsewhere is refused here, in the same words."""
        path, _, query = request.path.partition("?")
        base = path.removesuffix(SESSIONS)
        # The wire judges the key: whoever may see the account may listen to it.
        probe = self._simulator.handle(
            Request("GET", f"{base}/v1/account" + (f"?{query}" if query else ""), request.headers)
        )
        if probe.connection != "ok" or probe.status != 200:
            return probe
        simulator, _ = self._simulator.resolve(request)
        account = simulator.account
        self._count += 1
        # One secret for an account, whoever listens: `stripe listen --print-secret` is asked in another process.
        secret = "whsec_" + sha256(f"stripecli:{account.id}".encode()).hexdigest()
        session = _Session(
            f"cliws_{sha256(f'{secret}:{self._count}'.encode()).hexdigest()[:24]}", simulator, secret
        )
        while len(self._sessions) >= MAX_SESSIONS:
            self._end(self._sessions.pop(next(iter(self._sessions))))
        self._sessions[session.id] = session
        host = request.headers.get("host", "127.0.0.1")
        payload = {
            "websocket_url": f"ws://{host}{base}{SUBSCRIBE}{quote(session.id)}",
            "websocket_id": session.id,
            "websocket_authorized_feature": "webhooks",
            "reconnect_delay": RECONNECT_SECONDS,
            "secret": secret,
            "default_version": API_VERSION,
            "latest_version": API_VERSION,
            "display_connect_filter_warning": False,
            "device_token": "device_simulated",
        }
        return Response(200, probe.headers, pretty(payload))

    # The websocket -------------------------------------------------------------------------------------------

    async def websocket(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Play Stripe's end of a listener's websocket until it closes."""
        session_id = unquote(scope["path"].rpartition(SUBSCRIBE)[2])
        session = self._sessions.get(session_id)
        await receive()
        if session is None:
            await _unknown(scope, send)
            return
        await send({"type": "websocket.accept"})
        if session.send is not None:
            self._end(session)
        session.send = send
        with session.simulator.lock:
            session.account.deliveries.register(_Endpoint(session.id, SCHEME + session.id), session.secret)
        try:
            while (message := await receive())["type"] == "websocket.receive":
                self._hear(session, message.get("text") or message.get("bytes") or "")
        finally:
            # Unless the CLI has come back on another connection meanwhile.
            if session.send is send:
                self._end(session)

    def _hear(self, session: _Session, text: str | bytes) -> None:
        try:
            answer = msgspec.json.decode(text, type=_Answer)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
            return
        if answer.type != "webhook_response" or answer.status is None:
            return
        for entry in reversed(session.account.deliveries.log):
            if answer.webhook_conversation_id == f"wc_{entry.id}" and entry.endpoint_id == session.id:
                entry.status = answer.status
                break

    def _end(self, session: _Session) -> None:
        session.send = None
        with session.simulator.lock:
            session.account.deliveries.unregister(session.id)

    async def deliver(self, attempt: Attempt) -> int | None:
        """Send one attempt down its listener's websocket; return 200 once it is on its way, None with nobody there."""
        session = self._sessions.get(attempt.url.removeprefix(SCHEME))
        if session is None or session.send is None:
            return None
        message = {
            "type": "webhook_event",
            "endpoint": {"api_version": None},
            "event_payload": attempt.body.decode(),
            "http_headers": attempt.headers,
            "webhook_id": attempt.endpoint_id,
            "webhook_conversation_id": f"wc_{attempt.id}",
        }
        try:
            await session.send({"type": "websocket.send", "text": msgspec.json.encode(message).decode()})
        except Exception:  # noqa: BLE001 - each server has its own error for a websocket that closed meanwhile
            return None
        return 200


async def _unknown(scope: "Scope", send: "Send") -> None:
    if "websocket.http.response" in (scope.get("extensions") or {}):
        # These words make the CLI ask for a new session instead of trying this one again.
        body = b'{"error": {"message": "Unknown WebSocket ID."}}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
    else:
        await send({"type": "websocket.close", "code": 1008})
