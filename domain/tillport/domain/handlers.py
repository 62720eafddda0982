"""Handlers: an embedder's own code for some types of events, and when it is tried again.

handlers = Handlers[AsyncConnection]()


@handlers.on("charge.succeeded", name="invoices")
async def write_invoice(connection: AsyncConnection, event: Event) -> None:
    await connection.execute(insert(invoices).values(charge=event.transaction_id))
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

import attrs

from tillport.ports.errors import TillportError
from tillport.ports.event_log import Event

Tx = TypeVar("Tx")

Function = Callable[[Tx, Event], Awaitable[None] | None]
"""What is registered: a coroutine function, or a plain one. A database that blocks takes only plain ones."""

MAX_NAME_CHARACTERS = 100


class HandlerRefused(TillportError):
    """A handler can't be registered like this."""

    code = "handler_refused"


@attrs.frozen(kw_only=True)
class Retries:
    """When a failed effect is tried again: after `first_seconds`, then each time `factor` times as long.

    After `most_tries` failures it rests as a dead letter. The same number of workers that took it and never came
    back (it may be what killed them) makes it one too.
    """

    most_tries: int = attrs.field(default=8, validator=attrs.validators.ge(1))
    first_seconds: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    factor: float = attrs.field(default=4.0, validator=attrs.validators.ge(1))
    longest_seconds: float = attrs.field(default=3600.0, validator=attrs.validators.gt(0))

    def due_at(self, tries: int, now: float) -> float | None:
        """Return when to try again after that many failures, or None for never.

        >>> [Retries().due_at(tries, 0.0) for tries in (1, 2, 3, 7, 8)]
        [1.0, 4.0, 16.0, 3600.0, None]
        """
        if tries >= self.most_tries:
            return None
        try:
            pause = self.first_seconds * self.factor ** (tries - 1)
        except OverflowError:
            pause = self.longest_seconds
        return now + min(pause, self.longest_seconds)


class HandlerReturned(TillportError):
    """A handler returned something that can't be awaited. It may not have run: a generator has not begun."""

    code = "handler_returned"


def awaitable(returned: Any) -> Awaitable[None]:
    """Return what a handler returned. Raises `HandlerReturned` if it can't be awaited."""
    if not isinstance(returned, Awaitable):
        raise HandlerReturned(
            f"The handler returned {type(returned).__name__}.",
            remedy="A handler returns None, or is a coroutine function.",
        )
    return returned


def _check_name(_handler: object, _attribute: object, name: str) -> None:
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise HandlerRefused(
            f"A handler can't be named {name[:40]!r}.",
            remedy=f"A name has 1 to {MAX_NAME_CHARACTERS} printable characters.",
        )


def _check_types(_handler: object, _attribute: object, types: Any) -> None:
    wrong = [types] if isinstance(types, str) else [one for one in types if not _is_type(one)]
    if wrong:
        raise HandlerRefused(
            f"A handler can't be for {str(wrong[0])[:40]!r}: no event is of such a type, and it would never run.",
            remedy='Name each type as Stripe does, on("charge.succeeded", …), and none for every event.',
        )


def _is_type(name: object) -> bool:
    return isinstance(name, str) and name.split() == [name] and "*" not in name


@attrs.frozen(kw_only=True)
class Handler(Generic[Tx]):
    """An embedder's code for some types of events.

    `name` is stored: another name is another handler, which begins anew. Without `types` it gets every event.
    `function` writes through the transaction it is given and neither commits nor rolls back; what it does outside
    of that transaction can't be undone or kept to once. `in_order` gives it the events of one payment one by one, in
    the order of the log. `from_start` asks for everything the log holds, not only what comes from now on.
    """

    name: str = attrs.field(validator=_check_name)
    function: Function[Tx]
    types: frozenset[str] = attrs.field(default=frozenset(), validator=_check_types)
    in_order: bool = False
    from_start: bool = False
    retries: Retries = attrs.field(factory=Retries)

    def wants(self, event: Event) -> bool:
        """Tell whether the handler is for such an event."""
        return not self.types or event.type in self.types

    async def run(self, transaction: Tx, event: Event) -> None:
        """Run the function on an event. Raises `HandlerReturned`."""
        doing = self.function(transaction, event)
        if doing is not None:
            await awaitable(doing)


@attrs.frozen
class Handlers(Generic[Tx]):
    """The handlers that work in one database. Iterates over them in the order in which they were registered.

    >>> handlers = Handlers[list[str]]()
    >>> @handlers.on("charge.succeeded", name="receipts")
    ... def write_receipt(lines: list[str], event: Event) -> None:
    ...     lines.append(event.transaction_id)
    >>> [handler.name for handler in handlers]
    ['receipts']
    """

    _handlers: dict[str, Handler[Tx]] = attrs.field(init=False, factory=dict)

    def on(
        self,
        *types: str,
        name: str,
        in_order: bool = False,
        from_start: bool = False,
        retries: Retries | None = None,
    ) -> Callable[[Function[Tx]], Function[Tx]]:
        """Register the decorated function for these types of events, every event if there are none.

        See `Handler` for what the rest means. Raises `HandlerRefused` for a name that is taken or no name, and for what
        can be no type.
        """

        def register(function: Function[Tx]) -> Function[Tx]:
            self.add(
                Handler(
                    name=name,
                    function=function,
                    types=frozenset(types),
                    in_order=in_order,
                    from_start=from_start,
                    retries=retries or Retries(),
                )
            )
            return function

        return register

    def add(self, handler: Handler[Tx]) -> None:
        """Register a handler. Raises `HandlerRefused` for a name that is taken."""
        if handler.name in self._handlers:
            raise HandlerRefused(
                f"There is a handler {handler.name!r} already.", remedy="Give each a name of its own."
            )
        self._handlers[handler.name] = handler

    def __iter__(self) -> Iterator[Handler[Tx]]:
        return iter(tuple(self._handlers.values()))

    def __len__(self) -> int:
        return len(self._handlers)
