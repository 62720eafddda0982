"""Consumer cursors in memory."""

import attrs

from tillport.ports.cursors import LEASE_AHEAD_SECONDS, LeaseLost
from tillport.ports.event_log import LogUnavailable


@attrs.define
class _Cursor:
    position: int = 0
    owner: str | None = None
    lease_until: float = 0.0


@attrs.define
class MemoryCursors:
    """Remember how far each consumer has come, for as long as the process lives.

    Set `available` to False and every method raises `LogUnavailable`.
    """

    available: bool = True
    _cursors: dict[str, _Cursor] = attrs.field(init=False, factory=dict)

    async def claim(self, name: str, *, owner: str, now: float, until: float) -> int | None:
        """See `Cursors.claim`."""
        self._check_available()
        cursor = self._cursors.setdefault(name, _Cursor())
        if cursor.owner not in (None, owner) and now < cursor.lease_until <= until + LEASE_AHEAD_SECONDS:
            return None
        cursor.owner, cursor.lease_until = owner, until
        return cursor.position

    async def advance(self, name: str, *, owner: str, position: int) -> None:
        """See `Cursors.advance`."""
        self._check_available()
        cursor = self._cursors.get(name)
        if cursor is None or cursor.owner != owner:
            raise LeaseLost(f"Another reader has taken over {name!r}.", remedy="Stop, and claim again later.")
        cursor.position = max(cursor.position, position)

    async def release(self, name: str, *, owner: str) -> None:
        """See `Cursors.release`."""
        self._check_available()
        cursor = self._cursors.get(name)
        if cursor is not None and cursor.owner == owner:
            cursor.owner, cursor.lease_until = None, 0.0

    async def positions(self) -> dict[str, int]:
        """See `Cursors.positions`."""
        self._check_available()
        return {name: cursor.position for name, cursor in self._cursors.items()}

    async def drop(self, name: str, *, now: float) -> bool:
        """See `Cursors.drop`."""
        self._check_available()
        cursor = self._cursors.get(name)
        if cursor is None or (cursor.owner is not None and cursor.lease_until > now):
            return False
        del self._cursors[name]
        return True

    def _check_available(self) -> None:
        if not self.available:
            raise LogUnavailable("The cursors are out of reach.", remedy="Try again once the store is back.")
