"""The pages for people: what happened, an example checkout, and a stand-in for Stripe.js.

Static files out of this folder, and nothing from any other host: they work on a plane. What they show and do, they ask
of the API and of the control routes as any other client would.
"""

from functools import cache
from importlib.resources import files
from typing import Any

from tillport.simulator.wire import Request, Response

_SCRIPT = "text/javascript; charset=utf-8"
_HTML = "text/html; charset=utf-8"
# Path → file, type. Stripe.js lives at https://js.stripe.com/v3/: swap the host and it is this one.
_FILES = {
    "/": ("inspect.html", _HTML),
    "/_sim/": ("inspect.html", _HTML),
    "/_sim/inspect.js": ("inspect.js", _SCRIPT),
    "/_sim/style.css": ("style.css", "text/css; charset=utf-8"),
    "/_sim/checkout": ("checkout.html", _HTML),
    "/_sim/checkout.js": ("checkout.js", _SCRIPT),
    "/v3/": ("stripe.js", _SCRIPT),
    "/v3": ("stripe.js", _SCRIPT),
    "/v1/stripe.js": ("stripe.js", _SCRIPT),
}
# Only what is served here runs; a page of another site may embed none of it, but for the bank's page and the script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "frame-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@cache
def _read(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()


def page(request: Request) -> Response | None:
    """Return the page that a browser asks for, or None where the path is for the API.

    `/` and `/_sim/` are the page only to who asks for HTML, as browsers do: to an SDK the first is an unknown URL, as
    at Stripe, and to a script the second is JSON.
    """
    path = request.path.partition("?")[0]
    found = _FILES.get(path)
    if found is None or request.method not in ("GET", "HEAD"):
        return None
    if found[0] == "inspect.html" and "text/html" not in request.headers.get("accept", ""):
        return None
    name, kind = found
    headers = {"Content-Type": kind, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if kind == _HTML:
        headers["Content-Security-Policy"] = _POLICY
    return Response(200, headers, b"" if request.method == "HEAD" else _read(name))


def preflight(request: Request) -> Response | None:
    """Answer a browser that asks whether another site's page may call the API with headers of its own."""
    wanted: Any = request.headers.get("access-control-request-method")
    if request.method != "OPTIONS" or wanted is None or not request.path.startswith("/v1/"):
        return None
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET, HEAD, PUT, PATCH, POST, DELETE",
        "Access-Control-Allow-Headers": "authorization, content-type, idempotency-key, stripe-account, stripe-version",
        "Access-Control-Max-Age": "300",
    }
    return Response(204, headers, b"")
