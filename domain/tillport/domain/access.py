"""Who may hear what (promise 8).

A server key hears everything. An app key is no secret, so its holder proves the right to hear about a payment by
naming it: what it selects must imply `id = '<literal>'`, judged on the parsed tree.
"""

from tillport.ports.access import Caller, CallerKind
from tillport.ports.errors import TillportError
from tillport.ports.selector import AllOf, Compare, Selector, check_selector


class Forbidden(TillportError):
    """The caller is known but may not have this."""

    code = "forbidden"


def names_one_transaction(selector: Selector | None) -> bool:
    """Tell whether every event that `selector` takes is about one transaction that the caller named.

    >>> names_one_transaction(Compare("id", "=", "ch_1"))
    True
    >>> names_one_transaction(Compare("type", "=", "charge.succeeded"))
    False
    """
    match selector:
        case Compare("id", "=", str(value)):
            return bool(value)
        case AllOf(parts):
            return any(names_one_transaction(part) for part in parts)
        case _:
            return False


def may_hear(caller: Caller, selector: Selector | None, *, open_channel: bool = False) -> None:
    """Let the caller listen to what it selects, or raise `Forbidden`.

    `open_channel` is the setting, off by default, that lets app keys hear every payment's projection. Raises `TypeError` for
    what is no selector.
    """
    check_selector(selector)
    if caller.kind is CallerKind.SERVER or open_channel or names_one_transaction(selector):
        return
    raise Forbidden(
        "An app key hears about one transaction at a time.",
        remedy="Select it with id = 'ch_…' (or 'pi_…'), or listen from your server with a server key.",
    )


def sees_raw(caller: Caller) -> bool:
    """Tell whether the caller may see events as Stripe sent them, rather than their projection."""
    return caller.kind is CallerKind.SERVER
