"""The queue that keeps submissions in order, without any service."""

from __future__ import annotations

import asyncio

from wiro_nb.execution.submit import SubmitQueue


async def enter(queue: SubmitQueue, key: str, places: dict[str, int]) -> bool:
    """Enters a queue and notes each place that it tells."""
    return await queue.enter(key, on_place=lambda place: places.update({key: place}))


def test_while_there_is_room_more_and_more_go_at_once_in_order() -> None:
    async def go() -> list[str]:
        queue, entered, gone = SubmitQueue((60.0,), in_flight=3), list[str](), 0

        async def enter(key: str) -> None:
            await queue.enter(key)
            entered.append(key)

        tasks = [asyncio.create_task(enter(key)) for key in "abcdefgh"]
        for at_once in ("a", "abc", "abcdef", "abcdefgh"):
            await turns()
            assert "".join(entered) == at_once
            for _ in at_once[gone:]:
                queue.leave(sent=True)
            gone = len(at_once)
        await asyncio.gather(*tasks)
        return entered

    assert asyncio.run(go()) == list("abcdefgh")


def test_an_upload_holds_nobody_up() -> None:
    async def go() -> None:
        queue = SubmitQueue((60.0,))
        await queue.enter("a")
        other = asyncio.create_task(queue.enter("b"))
        await turns()
        assert not other.done()
        queue.skip_ahead()
        await asyncio.wait_for(other, 5)

    asyncio.run(go())


async def turns() -> None:
    """Lets everything that can happen on the loop happen."""
    for _ in range(6):
        await asyncio.sleep(0)


def test_when_full_only_the_first_tries_again_and_a_freed_slot_lets_it() -> None:
    async def go() -> None:
        places: dict[str, int] = {}
        queue = SubmitQueue((60.0,))
        await queue.enter("a")
        queue.leave(sent=False, full=True)
        waiting = {key: asyncio.create_task(enter(queue, key, places)) for key in ("b", "a", "c")}
        await turns()
        assert places == {"a": 0, "b": 1, "c": 2}
        assert not any(task.done() for task in waiting.values())
        queue.slot_freed()
        await waiting["a"]
        assert not waiting["b"].done()
        queue.leave(sent=True)
        await waiting["b"]
        queue.leave(sent=True)
        await waiting["c"]
        queue.leave(sent=True)
        await queue.enter("d")
        queue.leave(sent=True)
        assert [await asyncio.wait_for(queue.enter(key), 5) for key in "ef"] == [True, True], "two at once again"

    asyncio.run(go())


def test_a_pause_ends_the_waiting_when_no_run_of_ours_frees_a_slot() -> None:
    async def go() -> None:
        queue = SubmitQueue((0.01,))
        await queue.enter("a")
        queue.leave(sent=False, full=True)
        await asyncio.wait_for(queue.enter("a"), 5)

    asyncio.run(go())


def test_giving_up_a_place_leaves_the_order_of_the_others() -> None:
    async def go() -> None:
        places: dict[str, int] = {}
        queue = SubmitQueue((60.0,))
        await queue.enter("a")
        queue.leave(sent=False, full=True)
        waiting = {key: asyncio.create_task(enter(queue, key, places)) for key in "abc"}
        await turns()
        waiting["a"].cancel()
        await asyncio.gather(waiting["a"], return_exceptions=True)
        assert (places["b"], places["c"]) == (0, 1)
        queue.slot_freed()
        await waiting["b"]
        waiting["c"].cancel()
        await asyncio.gather(waiting["c"], return_exceptions=True)
        queue.leave(sent=True)

    asyncio.run(go())


def test_a_wish_to_stop_gives_the_place_up_before_during_and_at_the_turn() -> None:
    async def go() -> None:
        queue = SubmitQueue((60.0,))
        stop = asyncio.get_running_loop().create_future()
        assert await queue.enter("a", unless=stop)
        waiting = asyncio.create_task(queue.enter("b", unless=stop))
        await turns()
        assert not waiting.done()
        stop.set_result(None)
        assert await waiting is False
        assert await queue.enter("c", unless=stop) is False
        late = asyncio.get_running_loop().create_future()
        at_its_turn = asyncio.create_task(queue.enter("d", unless=late))
        await turns()
        queue.leave(sent=False)
        late.set_result(None)
        assert await at_its_turn is False
        assert await asyncio.wait_for(queue.enter("e"), 5), "nobody holds the only place"

    asyncio.run(go())
