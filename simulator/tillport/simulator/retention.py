"""Forget old payments, so that a simulator can run for months in bounded memory.

`Simulator(retain=10_000)` keeps at least the newest ten thousand payments and at most half as many more, each whole:
when a payment goes, its charges, refunds, disputes, balance transactions and events go, with the waiting work about
them. Customers, what is attached to them, endpoints and the balance stay. A forgotten id answers "No such …", as an
id that never was. Idempotency keys are remembered for the newest ones only, four for each payment kept.
"""

from collections.abc import Iterable
from heapq import heapify
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tillport.simulator.account import Account

_KEYS_PER_PAYMENT = 4


def is_due(account: "Account", keep: int) -> bool:
    """Tell whether enough has gathered to make forgetting worth its while."""
    most = keep + max(16, keep // 2)
    return (
        account.payment_intents.count > most
        or account.charges.count > 2 * most
        or account.tokens.count > 2 * most
        or account.setup_intents.count > most
    )


def forget(account: "Account", keep: int) -> int:
    """Forget all but the newest `keep` payments; return how many objects went."""
    account.sums.look(account)  # what is forgotten has been counted
    newest = _newest(account.payment_intents, keep)
    gone = account.payment_intents.keep(lambda intent: intent.id in newest)
    # Charges without an intent are payments of their own.
    direct = _newest((charge for charge in account.charges if charge.payment_intent is None), keep)
    gone |= account.charges.keep(
        lambda charge: (
            charge.id in direct if charge.payment_intent is None else charge.payment_intent not in gone
        )
    )
    gone |= account.disputes.keep(lambda dispute: dispute.charge not in gone)
    gone |= account.early_fraud_warnings.keep(lambda warning: warning.charge not in gone)
    gone |= account.refunds.keep(
        lambda refund: refund.charge not in gone and refund.payment_intent not in gone
    )
    gone |= account.balance_transactions.keep(lambda txn: txn.source not in gone)
    setups = _newest(account.setup_intents, keep)
    gone |= account.setup_intents.keep(lambda intent: intent.id in setups)
    gone |= account.setup_attempts.keep(lambda attempt: attempt.setup_intent in setups)
    gone |= _means(account, keep)
    events = _newest(account.events, 16 * keep)
    gone |= account.events.keep(lambda event: event.id in events and _id_of(event.object) not in gone)
    moves = _newest(account.cash_balance_transactions, 2 * keep)
    gone |= account.cash_balance_transactions.keep(lambda txn: txn.id in moves)
    _records(account, gone, keep)
    return len(gone)


def _means(account: "Account", keep: int) -> set[str]:
    """Forget the means of payment that no kept payment, customer or set-up needs."""
    needed = _newest(account.payment_methods, keep)
    needed |= {
        intent.payment_method for intent in account.payment_intents if intent.payment_method is not None
    }
    needed |= {charge.payment_method for charge in account.charges if charge.payment_method is not None}
    needed |= {intent.payment_method for intent in account.setup_intents if intent.payment_method is not None}
    gone = account.payment_methods.keep(lambda method: method.customer is not None or method.id in needed)
    tokens = _newest(account.tokens, 2 * keep)
    gone |= account.tokens.keep(lambda token: token.id in tokens)
    confirming = _newest(account.confirmation_tokens, 2 * keep)
    gone |= account.confirmation_tokens.keep(lambda token: token.id in confirming)
    cards = _newest(account.cards, 2 * keep) | {charge.source for charge in account.charges if charge.source}
    gone |= account.cards.keep(lambda card: card.customer is not None or card.id in cards)
    account.spent_methods -= gone
    account.saveable_methods -= gone
    account.set_up_methods -= gone
    return gone


def _records(account: "Account", gone: set[str], keep: int) -> None:
    """Forget what is remembered beside the objects: waiting work, keys, lists of ids."""
    jobs = account._jobs  # noqa: SLF001 - forgetting is a part of the account in a file of its own
    jobs[:] = [job for job in jobs if gone.isdisjoint(job[2].args)]
    heapify(jobs)
    for known in (account.earlier_charges, account.authenticated, account.confirmation_methods):
        for object_id in gone & known.keys():
            del known[object_id]
    account.deliveries.failed -= gone
    account.idempotency.forget_all_but(_KEYS_PER_PAYMENT * keep)


def _newest(objects: Iterable[Any], count: int) -> set[str]:
    """Return the ids of the first `count`; collections walk from the newest."""
    return {found.id for found, _ in zip(objects, range(count), strict=False)}


def _id_of(about: Any) -> Any:
    return about.get("id") if isinstance(about, dict) else getattr(about, "id", None)
