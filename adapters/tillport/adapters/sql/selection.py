"""Reading the log: a selector becomes SQL with bound values, never text with the caller's words in it.

Statements depend on the *shape* of a selector alone (which fields, which operators), so each shape is compiled once
and its values are bound anew for every read.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    FromClause,
    Text,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    union_all,
)

from tillport.adapters.sql.rows import event_selection
from tillport.adapters.sql.schema import aliases, events
from tillport.adapters.sql.statements import Compiled, compiled
from tillport.ports.selector import AllOf, Compare, Selector, no_selector

Shape = tuple[tuple[str, str], ...]

_SHAPES_MAX: Final = 512
"""Compiled statements that are kept; an application has a handful of shapes."""


def leaves(selector: Selector | None) -> Iterator[Compare]:
    """Yield the comparisons that must all hold."""
    match selector:
        case None:
            return
        case AllOf(parts):
            for part in parts:
                yield from leaves(part)
        case Compare() as one:
            yield one
        case _:
            raise no_selector(selector)


def shape_of(selector: Selector | None) -> Shape:
    """Return which fields are compared how.

    >>> shape_of(AllOf((Compare("id", "=", "ch_1"), Compare("created", ">=", 5))))
    (('id', '='), ('created', '>='))
    """
    return tuple((one.field, one.operator) for one in leaves(selector))


def by_time_alone(shape: Shape) -> bool:
    """Tell whether times are all that is compared: such events lie together, and may lie far away.

    >>> (
    ...     by_time_alone((("created", ">="), ("created", "<"))),
    ...     by_time_alone((("type", "="), ("created", ">="))),
    ... )
    (True, False)
    """
    return bool(shape) and all(field in ("created", "received_at") for field, _ in shape)


def names_few(shape: Shape) -> bool:
    """Tell whether an index finds what is selected, and it is little: what belongs to one payment or one event.

    >>> names_few((("id", "="), ("created", ">="))), names_few((("type", "="),))
    (True, False)
    """
    return any(field in ("id", "payment_key", "event_id") and operator == "=" for field, operator in shape)


def has_type(shape: Shape) -> bool:
    """Tell whether there is an index of what is selected, be it little or much.

    >>> has_type((("type", "="), ("created", ">=")))
    True
    """
    return ("type", "=") in shape


def values_of(selector: Selector | None) -> dict[str, Any]:
    """Return the values to bind, named as the statement of this selector's shape names them.

    >>> values_of(Compare("created", ">=", 4.5))
    {'s0': 5}
    """
    return {f"s{index}": _bound(one) for index, one in enumerate(leaves(selector))}


def _bound(one: Compare) -> str | float | None:
    """Return what the database compares with; None, which nothing equals, where nothing can be selected."""
    value = one.value
    if isinstance(value, str):
        return None if "\0" in value or not _is_text(value) else value
    if math.isnan(value):
        return None
    if one.field != "created":
        return float(value)
    # The column holds whole seconds; comparing it with a float would forgo its index.
    if one.operator == "=" and value != math.floor(max(min(value, 2.0**62), -(2.0**62))):
        return None
    return math.ceil(max(min(value, 2**62), -(2**62)))


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeError:
        return False
    return True


def condition(shape: Shape) -> ColumnElement[bool]:
    """Return the condition on `StripeEvents` for a shape, its values named `s0`, `s1`, …"""
    return and_(True, *(_one(field, operator, f"s{index}") for index, (field, operator) in enumerate(shape)))


def _one(field: str, operator: str, name: str) -> ColumnElement[bool]:
    if field == "id":
        return events.c.seq.in_(_having_alias(name))
    column: ColumnElement[Any] = events.c[field]
    value: ColumnElement[Any] = bindparam(name, type_=column.type)
    condition = {"=": column == value, ">=": column >= value, "<": column < value}
    return condition[operator]


def _having_alias(name: str) -> Any:
    """Three look-ups by index, whatever the table's size."""
    value = bindparam(name, type_=Text)
    other = events.alias("named")
    return union_all(
        select(other.c.seq).where(other.c.id == value),
        select(other.c.seq).where(other.c.payment_key == value, other.c.key_is_alias),
        select(aliases.c.seq).where(aliases.c.alias == value),
    )


@lru_cache(maxsize=_SHAPES_MAX)
def read_statement(
    shape: Shape, dialect: Dialect, position: ColumnElement[int], source: FromClause
) -> Compiled:
    """Return the statement that reads a stretch of the log: `b_after` < position <= `b_head`, `b_limit` rows.

    `position` and `source` say where positions stand: on SQLite they are `StripeEvents.seq` itself.
    """
    statement = (
        select(*event_selection(position))
        .select_from(source)
        .where(
            position > bindparam("b_after", type_=BigInteger),
            position <= bindparam("b_head", type_=BigInteger),
            condition(shape),
        )
        .order_by(position)
        .limit(bindparam("b_limit", type_=BigInteger))
    )
    return compiled(statement, dialect)


@lru_cache(maxsize=_SHAPES_MAX)
def span_statement(
    shape: Shape, dialect: Dialect, position: ColumnElement[int], source: FromClause
) -> Compiled:
    """Return the statement that finds the first and the last selected position after `b_after`, by the index of times.

    It costs as much as there are such events in that index, and nothing for those that are not selected. Adding 0
    keeps the planner from walking the log instead.
    """
    place = position + literal_column("0")
    statement = (
        select(func.min(place), func.max(place))
        .select_from(source)
        .where(place > bindparam("b_after", type_=BigInteger), condition(shape))
    )
    return compiled(statement, dialect)


@lru_cache(maxsize=8)
def find_statement(dialect: Dialect, position: ColumnElement[int], source: FromClause) -> Compiled:
    """Return the statement that reads one event by its own id, `b_event_id`."""
    statement = (
        select(*event_selection(position))
        .select_from(source)
        .where(events.c.event_id == bindparam("b_event_id", type_=Text))
    )
    return compiled(statement, dialect)
