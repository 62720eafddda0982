"""Parameters as data: a route states what it takes, one function judges it.

A parser takes the raw value (strings from the wire, Python values from the object face) and the parameter's
full name, and returns the value or raises the ApiError Stripe would answer. `""` means "unset" on the wire.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tillport.simulator.errors import invalid, not_modelled, parameter_missing, parameter_unknown
from tillport.simulator.form import Numbered, listed

Parser = Callable[[Any, str], Any]

_INTEGER = re.compile(r"-?[0-9]{1,18}\Z", re.ASCII)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s]+\Z")
UNSET = ""
_TRUE, _FALSE = ("true", "True"), ("false", "False")


class Spec(msgspec.Struct, frozen=True):
    """What a route takes: parsers by name, the required ones, and the real ones that are not modelled."""

    fields: Mapping[str, Parser] = {}
    required: tuple[str, ...] = ()
    unmodelled: frozenset[str] = frozenset()

    def parse(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parsed parameters; raise ApiError for the first one that is wrong."""
        return _parse(self, raw, "")


def _parse(spec: Spec, raw: Mapping[str, Any], within: str) -> dict[str, Any]:
    fields = spec.fields
    out = {}
    unknown = None
    for name, value in raw.items():
        parser = fields.get(name)
        if parser is None:
            full = f"{within}[{name}]" if within else name
            if name in spec.unmodelled:
                raise not_modelled(f"the parameter {full}", full)
            unknown = [*(unknown or ()), full]
        elif value is not None:
            # The object face's None is "not given", as the Python SDK drops it.
            out[name] = parser(value, f"{within}[{name}]" if within else name)
    if unknown:
        raise parameter_unknown(unknown)
    for name in spec.required:
        if out.get(name, "") == "":
            raise parameter_missing(f"{within}[{name}]" if within else name)
    return out


def hash_of(spec: Spec) -> Parser:
    """Return a parser of an object of parameters."""

    def parse(value: Any, name: str) -> Any:
        if value == UNSET:
            return UNSET
        if not isinstance(value, Mapping):
            raise invalid(f"Invalid object: {name} must be a hash.", name, "parameter_invalid_object")
        return _parse(spec, value, name)

    return parse


def spelled(value: Any) -> str:
    """Return how a value that is no text is written on the wire."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def string(value: Any, name: str) -> str:
    """Take a text of bounded length."""
    read = _text(value, name)
    if len(read) > 5000:
        raise invalid(
            f"Invalid string: {name} must be at most 5000 characters.", name, "parameter_invalid_string"
        )
    return read


def _text(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return spelled(value)
    raise invalid(f"Invalid string: {_shown(value)}", name, "parameter_invalid_string")


def reference(value: Any, name: str) -> str:
    """Take the id of another object; an empty one unsets nothing, and is refused."""
    read = string(value, name)
    if not read:
        raise invalid(
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; "
            f"however '{name}' cannot be unset. You should remove '{name}' from your request or supply a non-empty value.",
            name,
            "parameter_invalid_empty",
        )
    return read


def text(limit: int) -> Parser:
    """Return a parser of texts up to that length."""

    def parse(value: Any, name: str) -> str:
        read = _text(value, name)
        if len(read) > limit:
            raise invalid(
                f"Invalid {name}: must be at most {limit} characters.", name, "parameter_invalid_string"
            )
        return read

    return parse


_email_text = text(512)


def email(value: Any, name: str) -> str:
    """Take what looks like an address: no blanks, and behind its last `@` a host with a dot, as Stripe wants it."""
    read: str = _email_text(value, name)
    local, _, host = read.rpartition("@")
    if read and not (local and "." in host and all(host.split(".")) and read.split() == [read]):
        raise invalid(f"Invalid email address: {_shown(read)}", name, "email_invalid")
    return read


_descriptor_text = text(22)


def descriptor(value: Any, name: str) -> str:
    """Take what a bank prints on a statement: with a letter in it, without the signs that cards refuse.

    docs.stripe.com/get-started/account/statement-descriptors
    """
    read: str = _descriptor_text(value, name)
    wrong = next((sign for sign in read if sign in "<>\\'\"*"), None)
    if wrong is not None:
        raise invalid(f"The statement descriptor cannot include {wrong}", name)
    if read and not any(sign.isascii() and sign.isalpha() for sign in read):
        raise invalid("The statement descriptor must contain at least one Latin character.", name)
    return read


def return_url(value: Any, name: str) -> str:
    """Take where a customer comes back to: a whole URL, an app's own scheme included."""
    read = string(value, name)
    if read and not _URL.match(read):
        raise invalid("Not a valid URL", name, "url_invalid")
    return read


def integer(value: Any, name: str) -> int:
    """Take an integer within bounds."""
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) < 10**18:
            return value
    elif isinstance(value, str) and _INTEGER.match(value):
        return int(value)
    raise invalid(f"Invalid integer: {_shown(value)}", name, "parameter_invalid_integer")


def boolean(value: Any, name: str) -> bool:
    """Take `true` or `false`; `True` and `False` too, which the Python and .NET SDKs sent until April 2025."""
    if value is True or value in _TRUE:
        return True
    if value is False or value in _FALSE:
        return False
    raise invalid(f"Invalid boolean: {_shown(value)}", name)


def one_of(*choices: str, empty: bool = False) -> Parser:
    """Return a parser of one of these words."""
    listed = ", ".join(choices[:-1]) + f", or {choices[-1]}" if len(choices) > 1 else choices[0]

    def parse(value: Any, name: str) -> str:
        if isinstance(value, str) and (value in choices or (empty and value == "")):
            return value
        raise invalid(f"Invalid {name}: must be one of {listed}", name)

    return parse


def only(*accepted: Any) -> Parser:
    """Take the values this simulator can honour; name the others as not modelled."""

    def parse(value: Any, name: str) -> Any:
        if value in accepted or (value in _TRUE + _FALSE and (value in _TRUE) in accepted):
            return value
        raise not_modelled(f"{name}={_shown(value)}", name)

    return parse


def array_of(parser: Parser, limit: int = 100) -> Parser:
    """Return a parser of a list of such values."""

    def parse(value: Any, name: str) -> Any:
        if value == UNSET:
            return []
        value = listed(value)
        if not isinstance(value, list | tuple) or len(value) > limit:
            raise invalid(f"Invalid array: {name} must be an array of at most {limit}.", name)
        return [parser(item, f"{name}[{i}]") for i, item in enumerate(value)]

    return parse


def metadata(value: Any, name: str) -> Any:
    """Read metadata: up to 50 keys of 40 characters, values of 500 (docs.stripe.com/api/metadata); `""` clears."""
    if value == UNSET:
        return UNSET
    if isinstance(value, Numbered):
        value = value.pairs
    if not isinstance(value, Mapping):
        raise invalid("Invalid metadata: must be a hash of strings.", name, "parameter_invalid_object")
    if len(value) > 50:
        raise invalid("Metadata can have at most 50 keys.", name)
    out = {}
    for key, item in value.items():
        if not isinstance(key, str) or not 0 < len(key) <= 40:
            raise invalid("Metadata keys can be at most 40 characters long.", name)
        if "[" in key or "]" in key:
            raise invalid("Metadata keys can't have square brackets.", name)
        if item is None:
            continue
        if not isinstance(item, str | int | float | bool):
            raise invalid("Metadata values must be strings.", f"{name}[{key}]")
        shown = item if isinstance(item, str) else spelled(item)
        if len(shown) > 500:
            raise invalid(
                "Metadata values can have up to 500 characters, but you passed in a value that is "
                f"{len(shown)} characters.",
                f"{name}[{key}]",
            )
        out[key] = shown
    return out


def merged(old: Mapping[str, str], change: Any) -> dict[str, str]:
    """Apply an update: `""` clears all, an empty value deletes its key."""
    if change == UNSET:
        return EMPTY
    out = dict(old)
    for key, value in change.items():
        if value == "":
            out.pop(key, None)
        else:
            out[key] = value
    if len(out) > 50:
        raise invalid("Metadata can have at most 50 keys.", "metadata")
    return out


# Shared by the objects without metadata: they are immutable, so one empty dict serves them all. Where objects are many it
# is named when they are made, since msgspec gives each a new dict where the default is an empty one.
EMPTY: dict[str, str] = {}


def created(value: Any, name: str) -> Any:
    """Read a list's `created` filter: a time, or a hash of gt, gte, lt, lte; returns (low, high), both inclusive."""
    low, high = 0, 1 << 62
    if isinstance(value, Mapping):
        for key, item in value.items():
            number = integer(item, f"{name}[{key}]")
            if key == "gt":
                low = max(low, number + 1)
            elif key == "gte":
                low = max(low, number)
            elif key == "lt":
                high = min(high, number - 1)
            elif key == "lte":
                high = min(high, number)
            else:
                raise parameter_unknown([f"{name}[{key}]"])
        return low, high
    number = integer(value, name)
    return number, number


def limit(value: Any, name: str) -> int:
    """Take the length of a page."""
    number = integer(value, name)
    if not 1 <= number <= 100:
        raise invalid(
            "This value must be greater than or equal to 1."
            if number < 1
            else "This value must be less than or equal to 100.",
            name,
            "parameter_invalid_integer",
        )
    return number


def list_spec(*unmodelled: str, **filters: Parser) -> Spec:
    """Return the parameters of a list: the page, `created`, the route's own filters, and those not modelled."""
    return page_spec(*unmodelled, created=created, **filters)


def page_spec(*unmodelled: str, **filters: Parser) -> Spec:
    """Return the parameters of a list that Stripe does not filter by time."""
    page: dict[str, Parser] = {"limit": limit, "starting_after": string, "ending_before": string}
    return Spec({**page, **filters}, unmodelled=frozenset(unmodelled))


def _shown(value: Any) -> str:
    return str(value)[:100]
