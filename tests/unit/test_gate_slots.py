"""Slots of readers: a bound for all, one for each caller, and a queue in which who holds least comes first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.gate.slots import NoSlotError, Slots


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 30))


def slots(total: int = 3, per_caller: int = 2, *, wait_s: float = 0.01, waiting_max: int = 8) -> Slots:
    return Slots(total, per_caller, wait_s=wait_s, waiting_max=waiting_max)


def test_a_caller_holds_no_more_than_its_part_and_leaves_the_rest() -> None:
    async def scenario() -> None:
        made = slots()
        async with AsyncExitStack() as held:
            for _ in range(2):
                await held.enter_async_context(made.of("greedy"))
            with pytest.raises(NoSlotError):
                await held.enter_async_context(made.of("greedy"))
            await held.enter_async_context(made.of("other"))
            with pytest.raises(NoSlotError):
                await held.enter_async_context(made.of("third"))
        async with made.of("third"):
            pass

    run(scenario())


def test_a_slot_that_becomes_free_goes_to_who_holds_least() -> None:
    async def scenario() -> None:
        made = slots(wait_s=10)
        order: list[str] = []

        async def take(caller: str) -> None:
            async with made.of(caller):
                order.append(caller)
                await asyncio.sleep(0)

        async with AsyncExitStack() as held:
            first = await held.enter_async_context(made.of("greedy"))
            assert first is None
            async with made.of("x"), made.of("y"):
                waiting = [asyncio.create_task(take(caller)) for caller in ("greedy", "late")]
                while made.waiting < 2:
                    await asyncio.sleep(0)
            await asyncio.gather(*waiting)
        assert order[0] == "late"

    run(scenario())


def test_who_gives_up_waiting_takes_nothing_with_it() -> None:
    async def scenario() -> None:
        made = slots(total=1, per_caller=1, wait_s=10)
        async with made.of("a"):
            waiting = asyncio.create_task(made.of("b").__aenter__())
            while not made.waiting:
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert (made.waiting, made.free) == (0, 1)

    run(scenario())


def test_the_queue_is_bounded() -> None:
    async def scenario() -> None:
        made = slots(total=1, per_caller=1, wait_s=10, waiting_max=2)
        async with made.of("a"):
            waiting = [asyncio.create_task(made.of(name).__aenter__()) for name in "bc"]
            while made.waiting < 2:
                await asyncio.sleep(0)
            with pytest.raises(NoSlotError):
                await made.of("d").__aenter__()
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    run(scenario())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4), st.booleans()), min_size=1, max_size=30),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_bounds_hold_and_nothing_is_lost_whoever_comes_goes_or_gives_up(
    visits: list[tuple[str, int, bool]], total: int, per_caller: int
) -> None:
    async def scenario() -> None:
        made = slots(total, per_caller, wait_s=5, waiting_max=100)
        held: Counter[str] = Counter()

        async def visit(caller: str, turns: int) -> None:
            async with made.of(caller):
                held[caller] += 1
                assert held[caller] <= per_caller
                assert held.total() <= total
                for _ in range(turns):
                    await asyncio.sleep(0)
                held[caller] -= 1

        tasks = []
        for caller, turns, gives_up in visits:
            task = asyncio.create_task(visit(caller, turns))
            tasks.append(task)
            await asyncio.sleep(0)
            if gives_up and not held[caller]:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [task.exception() for task in tasks if not task.cancelled() and task.exception()] == []
        assert (made.waiting, made.free) == (0, total)

    run(scenario())
