"""Who calls: read the API key from where it may stand, before anything else of the request is read."""

from urllib.parse import parse_qsl

from litestar.types import HTTPScope

from tillport.adapters.litestar.refusals import BadRequest, NotFound, Unauthorized
from tillport.domain import Forbidden
from tillport.ports.access import Caller, CallerKind, KeyRing

_REMEDY = "Send it as Authorization: Bearer <key>."
_QUERY_FIELDS_MAX = 20
_ID_CHARACTERS_MAX = 255


def header(scope: HTTPScope, name: bytes) -> str | None:
    """Return a header's value, several of them joined by a comma (RFC 9110 §5.3), or None.

    Blanks around a value are no part of it (§5.5), and servers leave some of them to us: uvicorn those at its end.
    """
    found: bytes | None = None
    for key, value in scope["headers"]:  # a plain loop: the webhook door comes by here twice
        if key == name:
            found = value if found is None else found + b"," + value
    return None if found is None else found.strip(b" \t").decode("latin-1")


def single_header(scope: HTTPScope, name: bytes) -> str | None:
    """Return a header's value, None if it is absent. Raises `BadRequest` if it comes more than once."""
    if sum(key == name for key, _ in scope["headers"]) > 1:
        raise BadRequest(f"The header {name.decode()} comes more than once.", remedy="Send it once.")
    return header(scope, name)


def query(scope: HTTPScope) -> dict[str, str]:
    """Return the query's fields. Raises `BadRequest` for one that is given twice, or for very many."""
    try:
        pairs = parse_qsl(
            scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=_QUERY_FIELDS_MAX
        )
    except ValueError as error:
        raise BadRequest("The query has too many fields.", remedy="Send the documented ones only.") from error
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise BadRequest("A field of the query is given twice.", remedy="Send each once.")
    return fields


def caller_of_key(keys: KeyRing, presented: str) -> Caller:
    """Return whose key this is. Raises `Unauthorized`."""
    caller = keys.find(presented)
    if caller is None:
        raise Unauthorized("This API key is not known here.", remedy="Check that it was copied whole.")
    return caller


def caller_of_url(keys: KeyRing, presented: str) -> Caller:
    """Return whose app key this is, out of a URL. Raises `Unauthorized`, for a server key too.

    URLs end up in logs and histories, where a server key must never be.
    """
    caller = caller_of_key(keys, presented)
    if caller.kind is not CallerKind.APP:
        raise Unauthorized(
            "A server key does not belong into a URL.",
            remedy="Take an app key there, or send the key as Authorization: Bearer <key>. Then replace it: URLs end up in logs.",
        )
    return caller


def caller_of(scope: HTTPScope, keys: KeyRing, *, in_query: bool = False) -> Caller:
    """Return who sends a request, by its `Authorization: Bearer` header. Raises `Unauthorized`.

    `in_query` also takes `?key=` (a browser's EventSource sends no headers), as `caller_of_url` does.
    """
    authorization = header(scope, b"authorization")
    if authorization is not None:
        scheme, _, presented = authorization.partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise Unauthorized("The Authorization header holds no API key.", remedy=_REMEDY)
        return caller_of_key(keys, presented.strip())
    presented = query(scope).get("key", "") if in_query else ""
    if not presented:
        raise Unauthorized("The request has no API key.", remedy=_REMEDY)
    return caller_of_url(keys, presented)


def plain_id(text: str) -> str:
    """Return an id from a URL. Raises `NotFound` for what can't be one: no store is asked about such."""
    if not (0 < len(text) <= _ID_CHARACTERS_MAX and text.isascii() and text.isprintable()):
        raise NotFound("That is no id.", remedy="Ids are up to 255 printable ASCII characters, such as ch_….")
    return text


def server_only(caller: Caller) -> None:
    """Raise `Forbidden` unless a server key was presented."""
    if caller.kind is not CallerKind.SERVER:
        raise Forbidden("This needs a server key.", remedy="Ask from your server, with a server key.")
