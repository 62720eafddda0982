"""Is it our account that Stripe is asked about? What another one lacks proves nothing, and what it holds is not ours.

A secret key does not tell, and nothing that is stored names the account. But the log knows payments and events that only
our account holds: these are the witnesses.
"""

from tillport.domain.listed import id_of
from tillport.domain.verify import WrongMode
from tillport.domain.window import EDGE_SECONDS
from tillport.ports.errors import TillportError
from tillport.ports.event_log import Event, EventLog, LogUnavailable
from tillport.ports.history import EVENT_RETENTION_SECONDS, PaymentHistory
from tillport.ports.payments import GatewayError, PaymentGateway
from tillport.ports.selector import AllOf, Compare

WITNESSES = 3
"""Stripe must know one of so many: one alone may be of an account that was left meanwhile, or forged."""
_LOOKED_BACK_SECONDS = (60.0, 3600.0, 86_400.0, 7 * 86_400.0, 30 * 86_400.0)
"""How far back payments are looked for: the nearest tell best which account it was at the time.

Only if there are none does the log say what was paid since, perhaps at another account: a new shop, or one whose log forgets soon.
"""
_PAID_READ = 100
_LATEST_READ = 500


class WrongAccount(TillportError):
    """The key opens an account whose events this log does not hold. Nothing was recorded."""

    code = "wrong_account"


async def doubt_about_the_account(gateway: PaymentGateway, log: EventLog, *, before: float) -> str | None:
    """Say why this may not be the account that was charged for at that time; None if nothing speaks against it.

    A log without payments has no witness, and nothing speaks against it either.
    """
    try:
        if not gateway.livemode and any(event.livemode for event in await _latest(log)):
            return "The secret key is of test mode, and this database holds live payments."
        known = await _paid_about(log, before, livemode=gateway.livemode)
        for payment_intent_id in known:
            if await gateway.holds(payment_intent_id):
                return None
    except LogUnavailable:
        return "The event log could not be read."
    except GatewayError as error:
        return error.message
    if not known:
        return None
    return (
        f"Stripe does not know {known[0]} either, which was paid here: "
        "the secret key seems to be that of another account, or of the other mode."
    )


async def _paid_about(log: EventLog, moment: float, *, livemode: bool) -> list[str]:
    """Return the ids of payments of our own account that the log has: the last before that moment, or else the first since."""
    for seconds in _LOOKED_BACK_SECONDS:
        when = (Compare("received_at", ">=", moment - seconds), Compare("received_at", "<", moment))
        before = await _paid(log, *when, livemode=livemode, last=True)
        if before:
            return before[::-1]
    return await _paid(log, Compare("received_at", ">=", moment), livemode=livemode, last=False)


async def _paid(log: EventLog, *when: Compare, livemode: bool, last: bool) -> list[str]:
    """Return the first or the last of those ids that the log has of a time.

    That live mode does not know a test payment proves nothing: a till went live in the database that it was tried out on.
    """
    kept = slice(-WITNESSES, None) if last else slice(WITNESSES)
    found: list[str] = []
    position = 0
    while True:
        where = AllOf((Compare("type", "=", "charge.succeeded"), *when))
        page = await log.read(after=position, where=where, limit=_PAID_READ)
        found += [
            recorded.event.payment_key
            for recorded in page.events
            if recorded.event.account is None
            and recorded.event.livemode >= livemode
            and recorded.event.payment_key.startswith("pi_")
        ]
        found = list(dict.fromkeys(found))[kept]
        position = page.position
        if len(page.events) < _PAID_READ or (not last and len(found) == WITNESSES):
            return found


async def check_key(history: PaymentHistory, log: EventLog, *, livemode: bool, now: float) -> None:
    """Refuse to take Stripe's list for ours if it is another's: whoever reads the log would take that for our payments (promise 2).

    Test events are kept out of a log of live payments. The other way round a till went live in the database that it was
    tried out on. Raises `WrongMode`, and `WrongAccount` if Stripe lists none of the events that the log got last.
    """
    events = await _latest(log)
    if not livemode and any(event.livemode for event in events):
        raise WrongMode(
            "The Stripe key is of test mode, and this database holds live payments: nothing was recorded.",
            remedy="Take the live key, or name the database of the test till.",
        )
    oldest = now - EVENT_RETENTION_SECONDS + EDGE_SECONDS
    witnesses = [
        event
        for event in events
        if event.account is None and event.livemode is livemode and event.created > oldest
    ][:WITNESSES]
    for event in witnesses:
        if await _lists(history, event):
            return
    if witnesses:
        raise WrongAccount(
            f"Stripe does not list {witnesses[0].id}, which this log got last, nor those before it: the key seems to be that "
            "of another account. Nothing was recorded.",
            remedy="Take the key of the account that this database belongs to, or name another database.",
        )


async def _latest(log: EventLog) -> list[Event]:
    page = await log.read(after=max(0, await log.head() - _LATEST_READ), limit=_LATEST_READ)
    return [recorded.event for recorded in reversed(page.events)]


async def _lists(history: PaymentHistory, event: Event) -> bool:
    cursor = None
    while True:
        page = await history.events(since=event.created, until=event.created + 1, cursor=cursor)
        if event.id in map(id_of, page.events):
            return True
        cursor = page.cursor
        if cursor is None:
            return False
