"""Read a request's body: never more than was agreed, and JSON without guessing."""

from typing import Any

import msgspec
from litestar.types import HTTPScope, Receive

from tillport.adapters.litestar.access import header
from tillport.adapters.litestar.refusals import BadRequest, BodyTooLarge, Disconnected


async def read_body(scope: HTTPScope, receive: Receive, *, bytes_max: int) -> bytes:
    """Return the body. Raises `BodyTooLarge` as soon as it is known to be, announced or chunked, and `Disconnected`.

    No more than `bytes_max` and one chunk are ever held.
    """
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdecimal() and int(announced) > bytes_max:
        raise _too_large(bytes_max)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body = message.get("body", b"")  # the common case: one message, nothing to join
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        return body
    collected = bytearray()  # of many small chunks each would cost more than it holds
    while True:
        if message["type"] != "http.request":
            raise Disconnected("The client went away before its body was here.", remedy="")
        collected += message.get("body", b"")
        if len(collected) > bytes_max:
            raise _too_large(bytes_max)
        if not message.get("more_body", False):
            return bytes(collected)
        message = await receive()


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body is larger than {bytes_max} bytes.", remedy="Send only what the reference asks for."
    )


def decode_json(body: bytes) -> Any:
    """Return what the JSON says. Raises `BadRequest` for anything that is not JSON in UTF-8."""
    if not body.strip():
        raise BadRequest("The body is empty.", remedy="Send a JSON object.")
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError as error:
        raise BadRequest("The body is not UTF-8.", remedy="Encode the JSON as UTF-8.") from error
    except msgspec.ValidationError as error:  # JSON, but beyond what a number can hold: 1e999
        raise BadRequest(
            "A number in the body is out of range.", remedy="Send amounts in minor units."
        ) from error
    except (msgspec.DecodeError, RecursionError) as error:
        try:
            str(body, "utf-8")
        except UnicodeDecodeError:
            raise BadRequest("The body is not UTF-8.", remedy="Encode the JSON as UTF-8.") from error
        raise BadRequest(
            "The body is not JSON.",
            remedy="Send a JSON object; text needs double quotes, and NaN and Infinity are no JSON.",
        ) from error
