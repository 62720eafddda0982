"""The memory queue holds every law of its port."""

from contextlib import asynccontextmanager

import attrs
import pytest

from tillport.adapters.conformance.effects import EffectsCapabilities, effects_laws
from tillport.adapters.conformance.effects_histories import check_effects_histories
from tillport.adapters.memory.effects import MemoryEffectQueue

LAWS = effects_laws(EffectsCapabilities(outages=True, refused_commits=True))


class Refusing(MemoryEffectQueue):
    def commit(self, books):
        if books.pop("spoiled", False):
            raise ValueError("refused")
        super().commit(books)


@attrs.define
class Bench:
    queue: MemoryEffectQueue = attrs.field(factory=Refusing)

    @asynccontextmanager
    async def open(self):
        yield self.queue

    async def write(self, transaction, line):
        transaction.setdefault("lines", []).append(line)

    async def spoil(self, transaction):
        transaction["spoiled"] = True

    async def lines(self):
        return self.queue.books.get("lines", [])

    @asynccontextmanager
    async def outage(self):
        self.queue.available = False
        yield
        self.queue.available = True


@asynccontextmanager
async def new_bench():
    yield Bench()


@pytest.mark.parametrize("law", LAWS, ids=[law.__name__ for law in LAWS])
async def test_the_memory_queue_holds_the_law(law) -> None:
    await law(Bench())


def test_any_history_agrees_with_the_model() -> None:
    check_effects_histories(new_bench, examples=100)
