"""One resource's objects: by id, in order of creation, and by the fields that lists filter on.

Objects are immutable; an update puts a new version in the old one's place. Reading a page never scans what came
before it: ids know their position, `created` is searched by bisection (one by one where the clock was set back), and a
filter walks its own index.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from typing import Any, Generic, TypeVar

from tillport.simulator.errors import ApiError, invalid, missing_object

T = TypeVar("T")
# Called with the kind, the new version and the old one.
Watch = Callable[[str, Any, Any], None]


class Page(Generic[T]):
    """A slice of a list, newest first, and whether there is more beyond it."""

    __slots__ = ("data", "has_more")

    def __init__(self, data: list[T], has_more: bool) -> None:
        self.data = data
        self.has_more = has_more


class Collection(Generic[T]):
    """Hold the current version of every object of one kind."""

    __slots__ = (
        "_created",
        "_forgotten",
        "_indexes",
        "_ordered",
        "_positions",
        "_rows",
        "_shared",
        "_special",
        "_watch",
        "count",
        "kind",
    )

    def __init__(self, kind: str, *, indexed: Sequence[str] = ()) -> None:
        self.kind = kind
        self.count = 0
        self._rows: list[T | None] = []
        self._created = array("q")
        # Whether the times rise with the positions: not where the machine's clock, or freezegun, was set back.
        self._ordered = True
        self._positions: dict[str, int] = {}
        self._indexes: dict[str, dict[Any, array[int]]] = {name: {} for name in indexed}
        # How many rows `keep` let go: positions that others remember count them.
        self._forgotten = 0
        # The rare cases, behind one flag: tables shared with a fork, somebody who watches every change.
        self._special = False
        self._shared = False
        self._watch: Watch | None = None

    def add(self, item: T, created: int | None = None) -> T:
        """Append an object; `created` is for kinds whose wire form does not carry it."""
        if self._special:
            self._before(item, None)
        row: Any = item
        position = len(self._rows)
        self._positions[row.id] = position
        self._rows.append(item)
        at = row.created if created is None else created
        if self._created and at < self._created[-1]:
            self._ordered = False
        self._created.append(at)
        self.count += 1
        for name, index in self._indexes.items():
            value = getattr(row, name)
            if value is None:
                continue
            # The newest position is the highest: no look at where it belongs.
            positions = index.get(value)
            if positions is None:
                index[value] = array("q", (position,))
            else:
                positions.append(position)
        return item

    def put(self, item: T) -> T:
        """Replace the object of the same id by a new version."""
        row: Any = item
        position = self._positions[row.id]
        if self._special:
            self._before(item, self._rows[position])
        if self._indexes:
            old: Any = self._rows[position]
            for name, index in self._indexes.items():
                value = getattr(row, name)
                if value != getattr(old, name):
                    self._index(index, value, position)
        self._rows[position] = item
        return item

    @staticmethod
    def _index(index: "dict[Any, array[int]]", value: Any, position: int) -> None:
        if value is None:
            return
        positions = index.get(value)
        if positions is None:
            positions = index[value] = array("q")
        at = bisect_left(positions, position)
        if at == len(positions) or positions[at] != position:
            positions.insert(at, position)

    def find(self, object_id: str) -> T | None:
        position = self._positions.get(object_id)
        return None if position is None else self._rows[position]

    def get(self, object_id: str, param: str = "id", *, status: int = 404) -> T:
        """Return an object; raise Stripe's "No such …" for an unknown id."""
        found = self.find(object_id)
        if found is None:
            raise missing_object(self.kind, object_id[:255], param, status=status)
        return found

    def created_of(self, object_id: str) -> int:
        return self._created[self._positions[object_id]]

    def since(self, position: int) -> list[T]:
        """Return what was added from a position on, oldest first; for kinds whose objects are never removed."""
        return [row for row in self._rows[max(0, position - self._forgotten) :] if row is not None]

    def remove(self, object_id: str) -> None:
        if self._special:
            self._before(None, self._rows[self._positions[object_id]])
        self._rows[self._positions.pop(object_id)] = None
        self.count -= 1

    # Rare: forks, watchers, retention ------------------------------------------------------------------------

    def fork(self) -> "Collection[T]":
        """Return a copy that shares the tables until one of the two writes; nobody watches the copy."""
        made: Collection[T] = Collection.__new__(Collection)
        for name in ("kind", "count", "_rows", "_created", "_positions", "_indexes", "_forgotten"):
            setattr(made, name, getattr(self, name))
        made._ordered = self._ordered
        made._watch = None
        self._shared = self._special = True
        made._shared = made._special = True
        return made

    def watch(self, watch: "Watch | None") -> None:
        """Let somebody see every change before it is made: `watch(kind, new, old)`, one of the two may be None."""
        self._watch = watch
        self._special = self._shared or watch is not None

    def _before(self, new: T | None, old: T | None) -> None:
        if self._shared:
            self._rows, self._positions = self._rows.copy(), self._positions.copy()
            self._created = self._created[:]
            self._indexes = {
                name: {value: positions[:] for value, positions in index.items()}
                for name, index in self._indexes.items()
            }
            self._shared = False
            self._special = self._watch is not None
        if self._watch is not None:
            self._watch(self.kind, new, old)

    def keep(self, wanted: Callable[[T], bool]) -> set[str]:
        """Forget all objects that are not wanted, and the room they took; return their ids."""
        rows = [(row, at) for row, at in zip(self._rows, self._created, strict=True) if row is not None]
        kept = [(row, at) for row, at in rows if wanted(row)]
        gone = {row.id for row, _ in rows if not wanted(row)} if len(kept) < len(rows) else set()  # type: ignore[attr-defined] # every row has an id
        forgotten = self._forgotten + len(self._rows) - len(kept)
        watch, names = self._watch, tuple(self._indexes)
        Collection.__init__(self, self.kind, indexed=names)
        for row, at in kept:
            self.add(row, at)
        self._forgotten = forgotten
        self.watch(watch)
        return gone

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[T]:
        """Walk all objects, newest first."""
        return (row for row in reversed(self._rows) if row is not None)

    def page(
        self,
        params: dict[str, Any],
        *,
        where: dict[str, Any] | None = None,
        among: tuple[str, Sequence[Any]] | None = None,
        ids: Iterable[str] | None = None,
        accept: Callable[[T], bool] | None = None,
    ) -> Page[T]:
        """Return one page, newest first.

        `where` names indexed fields and their values; `among` one indexed field and the values it may have; `ids` the
        only objects that can be meant. `accept` judges the rest, one object at a time.
        """
        limit = params.get("limit", 10)
        after, before = params.get("starting_after"), params.get("ending_before")
        if after and before:
            raise invalid("You cannot parameterize both starting_after and ending_before.", "starting_after")
        low, high = 0, len(self._rows)
        span = params.get("created")
        if span is not None and self._ordered:
            first, last = span
            low, high = bisect_left(self._created, first), bisect_right(self._created, last)
            span = None
        if after:
            high = min(high, self._cursor(after, "starting_after"))
        if before:
            low = max(low, self._cursor(before, "ending_before") + 1)
        wanted = {k: v for k, v in (where or {}).items() if v is not None}
        forwards = bool(before)
        walk: Iterable[int]
        if ids is not None:
            known = sorted(at for i in ids if (at := self._positions.get(i)) is not None)
            walk = _within(known, low, high, forwards)
        elif among is not None:
            name, values = among
            parts = [self._indexes[name].get(value, array("q")) for value in dict.fromkeys(values)]
            walk = merge(*(_within(part, low, high, forwards) for part in parts), reverse=not forwards)
        elif wanted:
            indexes = [self._indexes[name].get(value, array("q")) for name, value in wanted.items()]
            walk = _within(min(indexes, key=len), low, high, forwards)
        else:
            walk = range(low, high) if forwards else range(high - 1, low - 1, -1)
        found: list[T] = []
        for position in walk:
            row: Any = self._rows[position]
            # A value may have moved on since it was indexed: the row decides.
            if row is None or any(getattr(row, k) != v for k, v in wanted.items()):
                continue
            if span is not None and not span[0] <= self._created[position] <= span[1]:
                continue
            if accept is not None and not accept(row):
                continue
            found.append(row)
            if len(found) > limit:
                break
        more = len(found) > limit
        del found[limit:]
        if forwards:
            found.reverse()
        return Page(found, more)

    def _cursor(self, object_id: str, name: str) -> int:
        position = self._positions.get(object_id)
        if position is None:
            error: ApiError = missing_object(self.kind, object_id[:255], name)
            raise error
        return position


def _within(positions: Sequence[int], low: int, high: int, forwards: bool) -> Iterator[int]:
    """Walk the sorted positions from `low` to below `high`, one way or the other, without a copy of them."""
    places = range(bisect_left(positions, low), bisect_left(positions, high))
    return map(positions.__getitem__, places if forwards else reversed(places))
