r"""Columns of short texts on their way to PostgreSQL: each as one text, which the server cuts with `string_to_array`.

A driver looks at every element of an array by itself. Most of what is written of an event is eight short texts, and asyncpg
took longer to look at those than to write all the rest, bodies included.

A text is cut where its separator stands, so the separator must stand in none of the values, and neither must the mark for
a value that is null. Two control characters do for whatever Stripe sends; should one of them be in a value after all,
others are taken for that batch. A separator ends each text too: otherwise a single empty value would be no value.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

SEPARATOR: Final = "\x1f"
NOTHING: Final = "\x1e"

Column = Sequence[str | None]


class Packed(NamedTuple):
    """The texts of some columns, and what cuts them. There is one element more in each than there are rows."""

    separator: str
    nothing: str
    texts: list[str]


def pack(columns: Sequence[Column]) -> Packed:
    r"""Make one text of each column.

    >>> pack([["evt_1", "evt_2"], ["a", None]])
    Packed(separator='\x1f', nothing='\x1e', texts=['evt_1\x1fevt_2\x1f', 'a\x1f\x1e\x1f'])
    """
    packed = _join(columns, SEPARATOR, NOTHING)
    if all(
        text.count(SEPARATOR) == len(column) and text.count(NOTHING) == column.count(None)
        for text, column in zip(packed.texts, columns, strict=True)
    ):
        return packed
    used = set().union(*(value for column in columns for value in column if value is not None))
    unused = (mark for mark in map(chr, range(1, 0x11_0000)) if mark not in used and mark.isprintable())
    return _join(columns, next(unused), next(unused))


def _join(columns: Sequence[Column], separator: str, nothing: str) -> Packed:
    texts = [
        separator.join([nothing if value is None else value for value in column]) + separator
        for column in columns
    ]
    return Packed(separator, nothing, texts)
