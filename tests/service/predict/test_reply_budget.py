"""The memory of replies: counted before they are computed, and returned however their requests end."""

import asyncio
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MemoryExhausted, ReplyTooLarge
from service.memory import BYTES_PER_BODY_BYTE, BYTES_PER_REPLY_BYTE, MemoryBudget
from service.predict import Generator, OpenInference, Predictor
from service.predict.reply_budget import SMALL_REPLY, ReplyBudget
from tests.service.predict.parts import LETTERS, LetterSums, Parts, run

STEPS = 2000  # of which a reply with every output could have more than `SMALL_REPLY` bytes


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4 * SMALL_REPLY)), max_size=12),
    st.integers(0, 4 * SMALL_REPLY),
)
def test_a_block_takes_what_is_reserved_and_returns_all(sizes: list[tuple[int, int]], used: int) -> None:
    memory = MemoryBudget(10 * SMALL_REPLY * BYTES_PER_REPLY_BYTE)
    memory.take(used)
    reserved: dict[int, int] = {}
    with ReplyBudget(8 * SMALL_REPLY, memory, 0) as budget:
        for index, size in sizes:
            total = sum(reserved.values()) - reserved.get(index, 0) + size
            try:
                budget.reserve(index, size)
            except ReplyTooLarge:
                assert total > 8 * SMALL_REPLY
            except MemoryExhausted:
                assert used + total * BYTES_PER_REPLY_BYTE > memory.max_bytes
            else:
                reserved[index] = size
                if total > SMALL_REPLY:
                    assert memory.used == used + total * BYTES_PER_REPLY_BYTE
            assert memory.used <= memory.max_bytes
    assert memory.used == used


def test_what_an_idle_server_has_no_room_for_is_not_to_be_sent_again() -> None:
    """503 asks the client to try again; then it would try for ever."""
    body_bytes = 1000
    memory = MemoryBudget(body_bytes * BYTES_PER_BODY_BYTE + 2 * SMALL_REPLY * BYTES_PER_REPLY_BYTE)
    budget = ReplyBudget(1 << 40, memory, body_bytes)
    budget.reserve(0, 2 * SMALL_REPLY)
    with pytest.raises(ReplyTooLarge, match=f"the maximum is {2 * SMALL_REPLY}:"):
        budget.reserve(0, 2 * SMALL_REPLY + 1)
    with pytest.raises(ReplyTooLarge):
        ReplyBudget(1 << 40, MemoryBudget(7), body_bytes).reserve(0, SMALL_REPLY + 1)


async def predict(parts: Parts, **fields: Any) -> object:
    steps = {"steps": [[1]] * STEPS} | fields
    return await parts.predictor.predict(orjson.dumps({"sequences": [steps], "return": "all"}))


async def infer(parts: Parts, **parameters: Any) -> object:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1, STEPS, 1], "data": [1] * STEPS}]
    raw = orjson.dumps({"inputs": inputs, "parameters": {"return": "all"} | parameters})
    return await OpenInference(parts.predictor).infer("m", None, {}, raw)


async def infer_in_sequence(parts: Parts) -> object:
    return await infer(parts, sequence_id=7, sequence_start=True)


async def predict_in_session(parts: Parts) -> object:
    return await predict(parts, session="s")


async def generate(parts: Parts) -> object:
    raw = orjson.dumps({"prompt": [1], "max_steps": STEPS})
    return await Generator(parts.predictor).generate(raw)


def parts_for(ask: Any, memory: MemoryBudget) -> Parts:
    parts = Parts() if ask is not generate else Parts(engine=LetterSums, manifest=LETTERS)
    parts.predictor.max_steps = 2 * STEPS
    parts.predictor.memory = memory
    return parts


class Watched(MemoryBudget):
    """It knows the most that was used."""

    most = 0

    def take(self, num_bytes: int) -> None:
        super().take(num_bytes)
        self.most = max(self.most, self.used)


@pytest.mark.parametrize("ask", [predict, predict_in_session, infer, infer_in_sequence, generate])
def test_replies_of_every_route_are_counted_while_they_are_computed(ask: Any) -> None:
    async def body() -> None:
        memory = Watched(1 << 40)
        await ask(parts_for(ask, memory))
        assert memory.most > SMALL_REPLY * BYTES_PER_REPLY_BYTE and memory.used == 0
        full = MemoryBudget(2 * memory.most)
        full.take(memory.most + 1)
        with pytest.raises(MemoryExhausted):
            await ask(parts_for(ask, full))
        assert full.used == memory.most + 1

    run(body)


def test_a_request_that_is_cancelled_returns_its_memory() -> None:
    async def body() -> None:
        parts = Parts()
        parts.predictor.max_steps = STEPS
        memory = parts.predictor.memory = MemoryBudget(1 << 40)
        for ask in (predict, infer):
            task = asyncio.create_task(ask(parts))
            while not memory.used:
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() and memory.used == 0

    run(body)


def test_short_replies_are_not_counted() -> None:
    async def body() -> None:
        parts = Parts()
        parts.predictor.memory = MemoryBudget(0)
        assert len(await parts.predict([[1]], [[1], [2]], **{"return": "all"})) == 2

    run(body)


def test_without_a_budget_every_reply_has_room() -> None:
    async def body() -> None:
        predictor = Parts().predictor
        assert isinstance(predictor, Predictor) and predictor.memory.max_bytes > math.factorial(19)

    run(body)
