"""Bodies that are no event, or hardly one. Who gets one answers with words (4xx) or takes it (2xx), and lives on."""

from collections.abc import Callable
from typing import Any

import msgspec

_EVENT_LIKE: dict[str, Any] = {
    "no data": {"id": "evt_1", "object": "event", "type": "charge.succeeded"},
    "data is null": {"id": "evt_1", "object": "event", "type": "charge.succeeded", "data": None},
    "data.object is a list": {"id": "evt_1", "object": "event", "type": "charge.succeeded", "data": {"object": []}},
    "numbers for words": {"id": 17, "object": "event", "type": 4, "created": "soon", "data": {"object": {"id": 5}}},
    "no id": {"object": "event", "type": "charge.succeeded", "data": {"object": {"id": "ch_1", "object": "charge"}}},
    "an id of forty thousand letters": {
        "id": "evt_" + "x" * 40_000, "object": "event", "type": "charge.succeeded", "created": 1, "livemode": False,
        "data": {"object": {"id": "ch_1", "object": "charge"}},
    },
    "a thin event": {
        "id": "evt_test_65R", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered",
        "livemode": False, "created": "2026-11-01T10:00:00.000Z",
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
    },
}  # fmt: skip

_PLAIN: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "an empty object": b"{}",
    "a word": b'"charge.succeeded"',
    "not JSON": b"<?xml version='1.0'?><event/>",
    "not UTF-8": b'{"id": "evt_\xff\xfe\x00"}',
    "zero bytes": b"\0" * 64,
    "a lone surrogate": b'{"id": "evt_\\ud800", "type": "\\udfff", "object": "event"}',
    "not a number": b'{"id": "evt_1", "created": NaN, "type": "x", "object": "event"}',
    "a number of a thousand digits": b'{"id": "evt_1", "type": "x", "created": ' + b"9" * 1000 + b"}",
    "twenty thousand brackets": b"[" * 20_000,
    "nested objects, deep": b'{"data":' * 3_000 + b"1" + b"}" * 3_000,
    "a form": b"id=evt_1&type=charge.succeeded",
}

_SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "an event cut in half": lambda body: body[: len(body) // 2],
    "an event with a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "an event with something behind it": lambda body: body + b"{}",
}

NAMES: tuple[str, ...] = (*_PLAIN, *_EVENT_LIKE, *_SPOILED)


def rubbish(name: str, event: bytes) -> bytes:
    """Return the rubbish of this name; some of it is made of an event."""
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _EVENT_LIKE:
        return msgspec.json.encode(_EVENT_LIKE[name])
    return _SPOILED[name](event)


# Events that nobody has seen yet, but that Stripe may send tomorrow: new types, fields, versions and kinds of object.
def _with(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda event: {**event, **fields}


def _more_fields(event: dict[str, Any]) -> dict[str, Any]:
    data = event["data"]
    return {**event, "tomorrow": {"a": [1, None]}, "data": {"object": {**data["object"], "tomorrow": 1.5}}}


UNKNOWN: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "an unknown type": _with(type="charge.tillport_chaos"),
    "an unknown family": _with(type="flux_capacitor.charged", data={"object": {"id": "flux_1", "object": "flux_capacitor"}}),
    "a type with a long name": _with(type="a." + "very_" * 30 + "long.name"),
    "an object without an id": _with(type="balance.available", data={"object": {"object": "balance", "livemode": False}}),
    "unknown fields": _more_fields,
    "a version of the future": _with(api_version="2031-01-31.zinnia"),
    "no request": _with(request=None),
}  # fmt: skip
