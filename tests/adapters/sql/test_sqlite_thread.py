"""The thread that writes: what it is called for is done, in order, until the very end, and it outlives nobody."""

import asyncio
import gc
import subprocess
import sys
import threading
from contextlib import aclosing
from textwrap import dedent

import pytest

from tillport.adapters.sql.sqlite_store import SqliteStore
from tillport.adapters.sql.sqlite_thread import Hand
from tillport.domain import run

PATIENCE_SECONDS = 20


def thread_named(name: str) -> threading.Thread:
    (found,) = (thread for thread in threading.enumerate() if thread.name == name)
    return found


def test_calls_are_done_in_order_and_closing_waits_for_them() -> None:
    hand, done, gate = Hand("in order"), [], threading.Event()
    hand.call(lambda: gate.wait(PATIENCE_SECONDS))
    for number in range(100):
        hand.call(lambda number=number: done.append(number))
    gate.set()
    hand.close()
    hand.close()
    assert done == list(range(100))


def test_a_closed_hand_takes_nothing_more() -> None:
    hand = Hand("closed")
    hand.close()
    with pytest.raises(RuntimeError, match="closed"):
        hand.call(lambda: None)


def test_a_hand_that_nobody_holds_lets_its_thread_go() -> None:
    hand = Hand("dropped")
    hand.call(lambda: None)
    thread = thread_named("dropped")
    del hand
    gc.collect()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def test_a_hand_may_be_dropped_by_its_own_thread() -> None:
    hand, gate = Hand("dropped by itself"), threading.Event()
    held = [hand]
    hand.call(lambda: (gate.wait(PATIENCE_SECONDS), held.clear()))
    thread = thread_named("dropped by itself")
    del hand
    gate.set()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def test_what_was_called_for_is_done_before_the_interpreter_ends() -> None:
    program = """
        import time
        from tillport.adapters.sql.sqlite_thread import Hand

        hand = Hand("until the end")
        hand.call(lambda: time.sleep(0.2))
        hand.call(lambda: print("done", flush=True))
    """
    ended = subprocess.run(
        [sys.executable, "-c", dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


async def test_a_store_that_nobody_closed_lets_its_writer_go(tmp_path) -> None:
    before = set(threading.enumerate())
    store = SqliteStore(tmp_path / "till.sqlite3")
    await store.write(lambda _: None)
    (writer,) = set(threading.enumerate()) - before
    store._writer.close()  # an open connection would warn
    del store
    gc.collect()
    await asyncio.to_thread(writer.join, PATIENCE_SECONDS)
    assert not writer.is_alive()


async def test_each_event_loop_hears_of_its_own_writes(tmp_path) -> None:
    async with aclosing(SqliteStore(tmp_path / "till.sqlite3")) as store:
        gate = threading.Event()
        first = asyncio.ensure_future(store.write(lambda _: gate.wait(PATIENCE_SECONDS)))
        other = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(store.write(lambda _: "there"))))
        here = asyncio.ensure_future(store.write(lambda _: "here"))
        await asyncio.sleep(0.01)  # so that they probably share a commit
        gate.set()
        assert await asyncio.gather(first, other, here) == [True, "there", "here"]


def test_a_loop_that_ended_while_it_waited_harms_nobody(tmp_path) -> None:
    store = SqliteStore(tmp_path / "till.sqlite3")
    gate = threading.Event()

    async def leaves() -> None:
        asyncio.ensure_future(store.write(lambda _: gate.wait(PATIENCE_SECONDS)))  # noqa: RUF006 - it is to be left
        await asyncio.sleep(0)

    async def stays() -> str:
        async with aclosing(store):
            return await store.write(lambda _: "written")

    asyncio.run(leaves())
    gate.set()
    assert asyncio.run(stays()) == "written"


def test_who_blocks_and_comes_too_late_is_told(tmp_path) -> None:
    """The store was closed by another thread after this one had seen it open."""
    store = SqliteStore(tmp_path / "till.sqlite3", blocking=True)
    store._writing.close()
    with pytest.raises(Exception, match="closed"):
        run(store.write(lambda _: None))
    run(store.aclose())
