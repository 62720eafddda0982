"""Many private accounts in one simulator: each with its own clock, seed, keys, endpoints, faults and lock.

An account is reached by its key, or by the path `/acct/<name>` before Stripe's own (`/acct/<name>/v1/charges`, and
`/acct/<name>/_sim/…` for its control routes). Each is a `Simulator` of its own; the simulator that holds them delivers
for all and moves all their clocks.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tillport.simulator.clock import Clock, fork_clock
from tillport.simulator.faults import Faults
from tillport.simulator.forking import forked
from tillport.simulator.journal import Journal

if TYPE_CHECKING:
    from tillport.simulator.simulator import Simulator

PREFIX = "/acct/"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)


class Snapshot:
    """An account as it was at one moment: nothing changes it. `fork()` makes a simulator that begins there.

    >>> from tillport.simulator import ManualClock, Simulator
    >>> sim = Simulator(clock=ManualClock(), seed=1)
    >>> customer = sim.customers.create(email="a@example.com")
    >>> prepared = sim.freeze()
    >>> one, other = prepared.fork(), prepared.fork()
    >>> one.customers.delete(customer.id).deleted
    True
    >>> other.customers.retrieve(customer.id).email
    'a@example.com'
    """

    def __init__(self, simulator: "Simulator") -> None:
        with simulator.lock:
            self.clock = fork_clock(simulator.clock)
            self.account = forked(simulator.account, clock=self.clock)
        self.journal_keep = simulator.journal_keep
        self.retain = simulator.retain

    def fork(self, *, clock: Clock | None = None) -> "Simulator":
        """Return a simulator of its own that begins at this moment; the same keys, ids and chance.

        `clock` must not be behind the snapshot's; by default the fork gets a clock of its own that begins there.
        """
        from tillport.simulator.simulator import Simulator

        return Simulator.begun_from(self, clock=clock)


class PrivateAccounts:
    """The private accounts of a simulator, by name.

    >>> from tillport.simulator import ManualClock, Simulator
    >>> sim = Simulator(clock=ManualClock(), seed=1)
    >>> shop = sim.private_accounts.create("shop", seed=2)
    >>> shop.secret_key
    'sk_test_tillportsimulator_shop'
    >>> shop.payment_intents.create(amount=500, currency="usd").amount
    500
    >>> len(sim.payment_intents.list().data)
    0
    >>> sim.private_accounts.remove("shop")
    """

    def __init__(self, host: "Simulator") -> None:
        self._host = host
        self._by_name: dict[str, Simulator] = {}
        self._by_key: dict[str, Simulator] = {}
        self._count = 0

    def create(
        self,
        name: str | None = None,
        *,
        like: Snapshot | None = None,
        clock: Clock | None = None,
        seed: int | str | None = None,
        faults: Faults | None = None,
        secret_key: str | None = None,
        publishable_key: str | None = None,
    ) -> "Simulator":
        """Make an account and return it; `like` begins it as a fork of a snapshot instead of empty.

        Without a name it gets one. Its clock is its own and begins at the host's time (or the snapshot's); its keys are
        made of its name unless given; its seed is its name, or a snapshot's. Raise ValueError for a name or key that is
        taken or no name, and for a seed beside a snapshot.
        """
        host = self._host
        with host.lock:
            if name is None:
                self._count += 1
                name = f"a{self._count}"
            if _NAME.fullmatch(name) is None:
                raise ValueError("an account's name has letters, digits, _ and -, at most 64")
            secret = secret_key or f"sk_test_tillportsimulator_{name}"
            publishable = publishable_key or f"pk_test_tillportsimulator_{name}"
            for key in (secret, publishable):
                if (
                    key in self._by_key
                    or key in (host.secret_key, host.publishable_key)
                    or secret == publishable
                ):
                    raise ValueError("this key opens another account already: give each its own")
            if name in self._by_name:
                raise ValueError(f"there is an account {name!r} already: remove it, or take another name")
            made = self._made(name, like, clock, seed, faults, secret, publishable)
            made.base_url = f"{host.base_url}{PREFIX}{name}"
            made.on_change = self._changed
            self._by_name[name] = made
            self._by_key[secret] = self._by_key[publishable] = made
            return made

    def _made(
        self,
        name: str,
        like: Snapshot | None,
        clock: Clock | None,
        seed: int | str | None,
        faults: Faults | None,
        secret_key: str,
        publishable_key: str,
    ) -> "Simulator":
        from tillport.simulator.simulator import Simulator

        host = self._host
        if like is not None:
            if seed is not None:
                raise ValueError("a fork goes on with its snapshot's seed: give a seed or a snapshot")
            made = Simulator.begun_from(
                like, clock=clock, name=name, secret_key=secret_key, publishable_key=publishable_key
            )
            if faults is not None:
                made.set_faults(faults)
            return made
        return Simulator(
            clock=fork_clock(host.clock) if clock is None else clock,
            seed=name if seed is None else seed,
            faults=faults,
            secret_key=secret_key,
            publishable_key=publishable_key,
            retry_seconds=host.account.deliveries.retry_seconds,
            settle_seconds=host.account.settle_seconds,
            journal=host.journal_keep,
            retain=host.retain,
            name=name,
        )

    def remove(self, name: str) -> None:
        """Throw an account away with all that waits in it; does nothing for an unknown name."""
        with self._host.lock:
            gone = self._by_name.pop(name, None)
            if gone is not None:
                gone.on_change = None
                self._by_key = {key: one for key, one in self._by_key.items() if one is not gone}

    def _changed(self) -> None:
        if self._host.on_change is not None:
            self._host.on_change()

    def find(self, name: str) -> "Simulator | None":
        """Return the account of that name, None if there is none."""
        return self._by_name.get(name)

    def by_key(self, key: str | None) -> "Simulator | None":
        """Return the account that a key belongs to, None if there is none."""
        return None if key is None else self._by_key.get(key)

    def __getitem__(self, name: str) -> "Simulator":
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> "Iterator[Simulator]":
        return iter(list(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    def names(self) -> list[str]:
        """Return the names of the accounts that there are."""
        return list(self._by_name)


def journal_of(keep: int | None) -> Journal | None:
    return None if keep is None else Journal(keep)


def described(simulator: "Simulator") -> dict[str, Any]:
    """Return what the control routes tell about one private account."""
    account = simulator.account
    return {
        "name": account.name,
        "path": f"{PREFIX}{account.name}",
        "account": account.id,
        "secret_key": account.secret_key,
        "publishable_key": account.publishable_key,
        "now": account.now(),
        "backlog": account.deliveries.backlog,
    }
