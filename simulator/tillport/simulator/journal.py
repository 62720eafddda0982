"""A log of every change, for a test to assert on: requests, object versions, events, deliveries, faults, in order.

Off unless asked for, since it keeps old versions alive: `Simulator(journal=10_000)` keeps the last ten thousand.
"""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from tillport.simulator.account import Account
    from tillport.simulator.deliveries import AttemptLog
    from tillport.simulator.faults import Fault

Kind = Literal["request", "created", "updated", "removed", "event", "attempt", "answer", "fault"]


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One change. What the fields hold, by kind:

    | kind | name | id | value | before |
    |---|---|---|---|---|
    | `request` | `POST /v1/refunds` | `req_…` | the line of the request log: status, key, replayed, fault | |
    | `created`, `updated`, `removed` | `charge` | `ch_…` | the new version | the old version |
    | `event` | `charge.succeeded` | `evt_…` | the event | |
    | `attempt` | the event's type | `evt_…` | the attempt's line: endpoint, number, faults | |
    | `answer` | the event's type | `evt_…` | the status, 0 for none | |
    | `fault` | `answer_lost` | what it struck | the fault | |
    """

    number: int
    at: float
    kind: Kind
    name: str
    id: str
    value: Any = None
    before: Any = None

    def line(self) -> str:
        """Return the entry as a line for people."""
        tail = ""
        if self.kind == "request":
            tail = f" -> {self.value.status or 'no answer'}{' (replayed)' if self.value.replayed else ''}"
        elif self.kind == "answer":
            tail = f" -> {self.value or 'no answer'}"
        elif self.kind == "attempt":
            tail = f" no. {self.value.number}" + (
                f" ({', '.join(self.value.faults)})" if self.value.faults else ""
            )
        elif (
            self.kind in ("created", "updated")
            and (status := getattr(self.value, "status", None)) is not None
        ):
            tail = f" {status}"
        return f"{self.number:>5}  {self.kind:<8} {self.name} {self.id}{tail}"


class Journal:
    """The entries, oldest first; at most `keep` of them, the newest.

    >>> from tillport.simulator import ManualClock, Simulator
    >>> sim = Simulator(clock=ManualClock(), seed=1, journal=1000)
    >>> customer = sim.customers.create(email="a@example.com")
    >>> [entry.kind for entry in sim.journal]
    ['created', 'event', 'request']
    >>> sim.journal.find("created", "customer")[0].value.email
    'a@example.com'
    """

    def __init__(self, keep: int) -> None:
        if keep < 1:
            raise ValueError("a journal keeps at least one entry")
        self._entries: deque[Entry] = deque(maxlen=keep)
        self._number = 0

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def mark(self) -> int:
        """Return the number of the last entry: what `find(after=…)` takes."""
        return self._number

    def find(
        self,
        kind: Kind | None = None,
        name: str | None = None,
        id: str | None = None,  # noqa: A002 - Stripe's own name for it
        *,
        after: int = 0,
    ) -> list[Entry]:
        """Return the entries that fit all that is given, oldest first; `after` is a `mark`.

        Raise LookupError when entries after the mark have been let go: an assertion on half a story proves nothing.
        """
        if after and self._entries and self._entries[0].number > after + 1:
            raise LookupError("the journal has let go of entries after this mark: keep more of them")
        return [
            entry
            for entry in self._entries
            if entry.number > after
            and kind in (None, entry.kind)
            and name in (None, entry.name)
            and id in (None, entry.id)
        ]

    def versions(self, object_id: str) -> list[Any]:
        """Return every version of an object since the journal began, oldest first."""
        return [e.value for e in self._entries if e.id == object_id and e.kind in ("created", "updated")]

    def story(self, *, after: int = 0) -> str:
        """Return the entries as lines for people: what to show when a test fails."""
        return "\n".join(entry.line() for entry in self.find(after=after))

    def clear(self) -> None:
        """Forget what there is; numbers go on."""
        self._entries.clear()

    # Writing -------------------------------------------------------------------------------------------------

    def write(
        self, at: float, kind: Kind, name: str, id_: str, value: Any = None, before: Any = None
    ) -> None:
        self._number += 1
        self._entries.append(Entry(self._number, at, kind, name, id_, value, before))

    def attach(self, account: "Account") -> None:
        """Begin to write what happens in an account."""
        from tillport.simulator.collection import Collection

        def changed(kind: str, new: Any, old: Any) -> None:
            if kind == "event":
                if new is not None:
                    self.write(account.now(), "event", new.type, new.id, new)
                return
            verb: Kind = (
                "updated" if new is not None and old is not None else "removed" if new is None else "created"
            )
            self.write(account.now(), verb, kind, (old if new is None else new).id, new, old)

        def struck(fault: "Fault", what: str) -> None:
            self.write(account.now(), "fault", fault.kind, what, fault)

        for value in vars(account).values():
            if isinstance(value, Collection):
                value.watch(changed)
        account.faults.on_strike = struck
        account.journal = self

    def attempted(self, log: "AttemptLog") -> None:
        self.write(log.at, "attempt", log.event_type, log.event_id, log)

    def answered(self, at: float, log: "AttemptLog") -> None:
        self.write(at, "answer", log.event_type, log.event_id, log.status)
