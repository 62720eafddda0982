"""`tillport events forget`, `erase` and `consumers`: what is taken out of the record again, and what holds it back."""

import re
from pathlib import Path
from typing import Any, cast

from tillport.adapters.cli.events import with_stores
from tillport.adapters.cli.looking import with_effects
from tillport.adapters.cli.moments import moment, stamp
from tillport.adapters.cli.terminal import complain, say
from tillport.adapters.compose import SettingsRefused, Stores
from tillport.domain.erase import ErasableLog, erase
from tillport.domain.forget import RETENTION, Forgettable, forget, forgettable
from tillport.domain.status import RELAY
from tillport.ports.clock import Clock
from tillport.ports.effects import EffectQueue
from tillport.ports.housekeeping import Housekeeping, LedgerHousekeeping

_PERSON = re.compile(r"(g?cus|ch|py|pi)_\w{1,200}", re.ASCII)


def forget_events(
    *, older_than: str, dry_run: bool, database: str | None, effects_database: str | None, config: Path | None
) -> int:
    """Forget old events, or say what would go."""

    async def work(stores: Stores, effects: EffectQueue[Any] | None, clock: Clock) -> int:
        now = clock.now()
        keep_seconds = now - moment(older_than, now=now)
        if keep_seconds <= 0:
            raise SettingsRefused("That moment is still to come.", remedy="Write --older-than 90d, say.")

        async def look() -> Forgettable:
            return await forgettable(
                stores.log, stores.cursors, now=now, keep_seconds=keep_seconds, effects=effects
            )

        found = await look()
        if found.reach.held_by is not None and found.reach.up_to < await stores.log.head():
            say(
                f"Nothing after position {found.reach.up_to} is forgotten: {found.reach.held_by} is not further."
            )
        if dry_run:
            say(f"{_count(found.events_at_most, 'event')} at most would be forgotten.")
            if found.oldest_received_at is not None:
                say(f"The oldest was received {stamp(found.oldest_received_at)}.")
            return 0
        keeper = cast("Housekeeping", stores.log)
        gone = await forget(keeper, stores.cursors, now=now, keep_seconds=keep_seconds, effects=effects)
        say(f"{_count(gone, 'event')} forgotten. Their ids stay, so that none is ever recorded again.")
        if (left := (await look()).events_at_most) > 0:
            say(f"{left} more wait for a transaction that is open in the database. Run it again later.")
        return 0

    return with_effects(work, database=database, effects_database=effects_database, config=config)


def erase_person(person_id: str, *, database: str | None, config: Path | None) -> int:
    """Erase one person's data from log and ledger."""
    if _PERSON.fullmatch(person_id) is None:
        raise SettingsRefused(
            f"{person_id[:40]!r} names no customer and no payment.",
            remedy="Name a customer (cus_…), or a guest's payment (ch_…, pi_…).",
        )

    async def work(stores: Stores, clock: Clock) -> int:
        def tell(position: int, head: int) -> None:
            say(f"  read up to position {position} of {head}")

        erased = await erase(
            person_id,
            cast("ErasableLog", stores.log),
            cast("LedgerHousekeeping", stores.ledger),
            now=clock.now(),
            tell=tell,
        )
        if not erased.payments and not erased.attempts:
            complain(f"Neither the log nor the ledger speaks of {person_id}.")
            return 1
        say(
            f"Removed from {_count(erased.events, 'event')} and {_count(erased.attempts, 'charge attempt')}: names, "
            "addresses, e-mails, cards, metadata, descriptions and the customer's id."
        )
        say("Kept, for the books: which event about which payment, when, how much, and how it ended.")
        if not erased.events and not erased.attempts:
            say("There was nothing left to remove: it was erased before.")
        say(
            "Not reached: Stripe itself, what was published already, what your handlers wrote, and backups. "
            "A charge that is still open is left for now: run this again when it is over."
        )
        return 0

    return with_stores(work, database, config)


def list_consumers(*, database: str | None, config: Path | None) -> int:
    """Print every consumer, and how far it is."""

    async def work(stores: Stores, _clock: Clock) -> int:
        head = await stores.log.head()
        positions = await stores.cursors.positions()
        positions.pop(RETENTION, None)
        say(f"The log ends at position {head}.")
        for name, position in sorted(positions.items(), key=lambda pair: (pair[1], pair[0])):
            say(f"{position:>12}  {max(0, head - position):>10} behind  {name}")
        return 0

    return with_stores(work, database, config)


def drop_consumer(name: str, *, database: str | None, config: Path | None) -> int:
    """Drop a consumer that nobody runs."""
    if name == RELAY:
        raise SettingsRefused(
            "The relay is not dropped: it would publish the whole log again.",
            remedy="Start a service: it goes on where the relay stands.",
        )

    async def work(stores: Stores, clock: Clock) -> int:
        if await stores.cursors.drop(name, now=clock.now()):
            say(f"{name} is dropped, and holds nothing back any more. Who takes the name again starts anew.")
            return 0
        if name in await stores.cursors.positions():
            complain(f"Somebody reads for {name} at this moment. Stop it first.")
        else:
            complain(f"There is no consumer {name!r}. See: tillport consumers list")
        return 1

    return with_stores(work, database, config)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
