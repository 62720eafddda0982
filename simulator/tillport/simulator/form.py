"""Stripe's form encoding: `a[b][c]=v`, `expand[]=x`, `expand[0]=x`, `items[0][price]=…`, `items[][price]=…`.

Arrays come back as lists, hashes as dicts, leaves as strings. Depth, count and size are bounded, so that no
body costs more than it weighs.
"""

from typing import Any
from urllib.parse import unquote_plus

from tillport.simulator.errors import ApiError, invalid

MAX_DEPTH = 8
MAX_PAIRS = 2_000


def decode(text: str) -> dict[str, Any]:
    """Decode a query string or form body; raise ApiError 400 for what cannot be read.

    >>> decode("amount=5&card[exp]=1&expand[]=a&expand[]=b&items[0][x]=1")
    {'amount': '5', 'card': {'exp': '1'}, 'expand': ['a', 'b'], 'items': [{'x': '1'}]}
    """
    root: dict[str, Any] = {}
    if not text:
        return root
    pairs = text.split("&")
    if len(pairs) > MAX_PAIRS:
        raise invalid(f"Too many parameters: send at most {MAX_PAIRS}.", None)
    nested = False
    for pair in pairs:
        if not pair:
            continue
        raw, _, value = pair.partition("=")
        if "%" in value or "+" in value:
            value = _unquote(value)
        if "%" in raw or "+" in raw:
            raw = _unquote(raw)
        if "[" in raw:
            nested = True
            _put(root, raw, value)
        else:
            root[raw] = value
    return {k: _lists(v) for k, v in root.items()} if nested else root


def _unquote(text: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise _unreadable() from None


def _unreadable() -> ApiError:
    return invalid("Invalid encoding: parameters must be percent-encoded UTF-8.", None)


def _put(root: dict[str, Any], raw: str, value: str) -> None:
    name, _, rest = raw.partition("[")
    parts = [name, *(part.removesuffix("]") for part in rest.split("["))]
    if len(parts) > MAX_DEPTH or not raw.endswith("]") or not name:
        raise invalid(f"Invalid parameter name: {raw[:80]}", raw[:80])
    at: Any = root
    last = len(parts) - 1
    for depth, part in enumerate(parts):
        if part == "" and depth:
            # `items[][a]=1&items[][b]=2&items[][a]=3` starts a new element when a key repeats, as Rack does.
            at = at.setdefault("", _Items())
            if depth == last:
                at.append(value)
                return
            if not at or not isinstance(at[-1], dict) or (depth + 1 == last and parts[last] in at[-1]):
                at.append({})
            at = at[-1]
            continue
        if depth == last:
            at[part] = value
            return
        below = at.setdefault(part, {})
        if not isinstance(below, dict):
            raise invalid(f"Invalid hash: {raw[:80]} is given both as a value and as a hash.", raw[:80])
        at = below


class _Items(list[Any]):
    """What was written with empty brackets."""


class Numbered(list[Any]):
    """What was written with 0, 1, 2 … in its brackets: a list, or a hash with such keys, as metadata may be."""

    def __init__(self, pairs: dict[str, Any]) -> None:
        super().__init__(pairs[str(i)] for i in range(len(pairs)))
        self.pairs = pairs


def listed(value: Any) -> Any:
    """Return the list that is meant by a hash whose keys are numbers, and anything else as it is."""
    if isinstance(value, dict) and value and all(k.isascii() and k.isdigit() and len(k) < 6 for k in value):
        return [value[k] for k in sorted(value, key=int)]
    return value


def _lists(value: Any) -> Any:
    if isinstance(value, _Items):
        return [_lists(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "" in value:
        items = [_lists(v) for v in value[""]]
        indexed = [_lists(v) for k, v in value.items() if k != ""]
        return indexed + items
    pairs = {k: _lists(v) for k, v in value.items()}
    # Other numbers are a list or a hash as their reader takes them: `listed`.
    return Numbered(pairs) if pairs and all(str(i) in pairs for i in range(len(pairs))) else pairs
