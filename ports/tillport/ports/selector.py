"""Selectors: which events somebody wants, as a tree of plain values.

The text form (`id = 'ch_…'`) is parsed by `tillport.domain.selector`; adapters only ever see this tree,
compile it to their own query language with bound values, or evaluate it with `matches`.

A selector speaks about these fields of an event:

| field | is |
|---|---|
| `id` | any of the event's aliases: the transaction id, its charge, its payment intent |
| `event_id`, `type`, `payment_key`, `account`, `request_key` | the event's own text of that name |
| `created`, `received_at` | Unix seconds |
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import attrs

from tillport.ports.errors import TillportError

TEXT_FIELDS = frozenset({"id", "event_id", "type", "payment_key", "account", "request_key"})
NUMBER_FIELDS = frozenset({"created", "received_at"})
FIELDS = TEXT_FIELDS | NUMBER_FIELDS

Operator: TypeAlias = Literal["=", ">=", "<"]


class InvalidSelector(TillportError):
    """The caller's selector can't be read, or speaks of a field that events do not have."""

    code = "invalid_selector"


@attrs.frozen
class Compare:
    """One field against one literal. Text fields know `=` alone; number fields all three operators.

    Raises `InvalidSelector`.
    """

    field: str
    operator: Operator
    value: str | float

    def __attrs_post_init__(self) -> None:
        if self.field not in FIELDS:
            raise InvalidSelector(
                f"Events have no field {self.field[:40]!r}.",
                remedy=f"Use one of {', '.join(sorted(FIELDS))}.",
            )
        is_text = self.field in TEXT_FIELDS
        if is_text != isinstance(self.value, str) or (is_text and self.operator != "="):
            raise InvalidSelector(
                f"{self.field!r} can't be compared this way.",
                remedy="Compare text with = 'text', times with =, >= or < and a number of seconds.",
            )


@attrs.frozen
class AllOf:
    """Every part holds. Without parts it holds for every event."""

    parts: tuple["Selector", ...]


Selector: TypeAlias = Compare | AllOf


def matches(
    selector: Selector | None, fields: Mapping[str, str | float | None], aliases: Sequence[str]
) -> bool:
    """Tell whether an event with these `fields` and `aliases` is selected. None selects everything.

    >>> matches(Compare("id", "=", "pi_1"), {"type": "charge.succeeded"}, ["ch_1", "pi_1"])
    True
    """
    match selector:
        case None:
            return True
        case AllOf(parts):
            return all(matches(part, fields, aliases) for part in parts)
        case Compare("id", _, value):
            return value in aliases
        case Compare(field, "=", value):
            return fields.get(field) == value
        case Compare(field, operator, value):
            actual = fields.get(field)
            if not isinstance(actual, int | float) or not isinstance(value, int | float):
                return False
            return actual >= value if operator == ">=" else actual < value
    raise no_selector(selector)


def no_selector(given: object) -> TypeError:
    """Return the error for what is no selector, and would otherwise select nothing, in silence."""
    way_out = ": parse it with tillport.domain.parse_selector" if isinstance(given, str) else ""
    return TypeError(f"a selector is a Compare, an AllOf or None, not {type(given).__name__}{way_out}")


def check_selector(given: object) -> None:
    """Raise `TypeError` for what is no selector: text, for one, that was not parsed."""
    if not (given is None or isinstance(given, Compare | AllOf)):
        raise no_selector(given)
