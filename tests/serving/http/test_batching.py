"""The batcher, on a model that is a function: who goes together, who waits, who fails."""

import asyncio
import threading

import numpy as np
import pytest

from tf_transfer.serving.http.batching import Batcher
from tf_transfer.serving.http.limits import Limits, RequestError
from tf_transfer.serving.signatures import Signature, Tensor

X = Tensor("x", "f", np.dtype(np.float32), (None, None))
ONE = Signature("one", (X,), ("y",), True)


class Model:
    """Doubles; may be held up, and refuses batches with a negative number."""

    def __init__(self):
        self.calls, self.open, self.begun = [], threading.Event(), threading.Event()
        self.open.set()

    def __call__(self, name, inputs):
        self.begun.set()
        assert self.open.wait(20)
        self.calls.append(inputs["x"].shape)
        if (inputs["x"] < 0).any():
            raise RequestError(400, "negative")
        return {"y": 2 * inputs["x"]}


def rows(*values, width=1):
    return {"x": np.repeat(np.array(values, np.float32)[:, None], width, 1)}


def run(test, **limits):
    model = Model()

    async def main():
        batcher = Batcher(model, Limits(**limits))
        try:
            return await test(batcher, model)
        finally:
            model.open.set()
            batcher.close()

    return asyncio.run(main()), model.calls


async def held(batcher, model):
    """Has the model busy with one row; whatever comes now queues."""
    model.open.clear()
    first = asyncio.create_task(batcher.submit(ONE, rows(0)))
    while not model.begun.is_set():
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    return first


def test_what_queues_while_the_model_is_busy_is_one_call():
    async def test(batcher, model):
        first = await held(batcher, model)
        others = [asyncio.create_task(batcher.submit(ONE, rows(i, i + 0.5))) for i in range(1, 6)]
        await asyncio.sleep(0.02)
        assert batcher.queued == 10
        model.open.set()
        assert (await first)["y"].tolist() == [[0]]
        return [answer["y"][:, 0].tolist() for answer in await asyncio.gather(*others)]

    found, calls = run(test)
    assert found == [[2 * i, 2 * i + 1] for i in range(1, 6)]
    assert calls == [(1, 1), (10, 1)]


def test_calls_are_no_larger_than_allowed_and_of_one_size():
    async def test(batcher, model):
        first = await held(batcher, model)
        others = [batcher.submit(ONE, rows(*range(n), width=w)) for n, w in ((3, 1), (2, 2), (1, 1), (9, 1), (1, 2))]
        others = [asyncio.create_task(o) for o in others]
        await asyncio.sleep(0.02)
        model.open.set()
        await first
        return [answer["y"].shape for answer in await asyncio.gather(*others)]

    found, calls = run(test, max_batch=4)
    assert found == [(3, 1), (2, 2), (1, 1), (9, 1), (1, 2)]
    # The nine rows go in three parts, in their turn.
    assert calls == [(1, 1), (4, 1), (3, 2), (4, 1), (4, 1), (1, 1)]


def test_large_pictures_go_in_smaller_batches():
    async def test(batcher, model):
        first = await held(batcher, model)
        others = [asyncio.create_task(batcher.submit(ONE, rows(1, width=100))) for _ in range(5)]
        await asyncio.sleep(0.02)
        model.open.set()
        await asyncio.gather(first, *others)

    _, calls = run(test, batch_bytes=900)
    assert calls == [(1, 1), (2, 100), (2, 100), (1, 100)]


def test_one_that_fails_harms_no_other():
    async def test(batcher, model):
        first = await held(batcher, model)
        others = [asyncio.create_task(batcher.submit(ONE, rows(v))) for v in (1, -1, 3)]
        await asyncio.sleep(0.02)
        model.open.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    (one, error, three), calls = run(test)
    assert (one["y"].tolist(), three["y"].tolist()) == ([[2]], [[6]])
    assert str(error) == "negative"
    assert calls == [(1, 1), (3, 1), (1, 1), (1, 1), (1, 1)]


def test_too_much_is_refused_and_what_was_given_up_is_not_computed():
    async def test(batcher, model):
        first = await held(batcher, model)
        waiting = asyncio.create_task(batcher.submit(ONE, rows(1, 2, 3)))
        await asyncio.sleep(0.02)
        with pytest.raises(RequestError, match="3 rows are waiting") as error:
            await batcher.submit(ONE, rows(4, 5))
        assert (error.value.status, error.value.retry_after) == (503, 1)
        waiting.cancel()
        last = asyncio.create_task(batcher.submit(ONE, rows(6)))
        await asyncio.sleep(0.02)
        model.open.set()
        await first
        answer = await last
        assert batcher.queued == 0
        return answer["y"].tolist()

    found, calls = run(test, queued=4)
    assert (found, calls) == ([[12]], [(1, 1), (1, 1)])


def test_what_cannot_be_joined_is_a_call_of_its_own():
    async def test(batcher, model):
        first = await held(batcher, model)
        single = Signature("one", (X,), ("y",), False)
        others = [asyncio.create_task(batcher.submit(single, rows(1))) for _ in range(2)]
        others.append(asyncio.create_task(batcher.submit(ONE, rows())))
        await asyncio.sleep(0.02)
        model.open.set()
        await asyncio.gather(first, *others)

    _, calls = run(test)
    assert sorted(calls) == [(0, 1), (1, 1), (1, 1), (1, 1)]
