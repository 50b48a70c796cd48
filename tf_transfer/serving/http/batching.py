"""Dynamic batches: requests that arrive while the model is busy are joined in its next call.

No request waits for others: a single request is answered at once, and calls grow with the load. Other servers wait
some milliseconds before each call; that makes calls larger under full load but answers no more requests, and a single
request takes twice as long. docs/serving.md has the measurements.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from tf_transfer.serving.http.limits import Limits, RequestError
from tf_transfer.serving.signatures import Signature

Arrays = dict[str, np.ndarray]


@dataclass
class _Item:
    """Waiting rows of one request."""

    inputs: Arrays
    rows: int
    key: tuple
    answer: asyncio.Future

    @property
    def bytes(self) -> int:
        return sum(v.nbytes for v in self.inputs.values())


@dataclass
class _Lane:
    """The queue of one signature, and the thread that calls it."""

    signature: Signature
    thread: ThreadPoolExecutor
    items: deque = field(default_factory=deque)
    rows: int = 0
    task: asyncio.Task | None = None


class Batcher:
    """Joins rows of requests into calls of the model. Runs in an event loop, which it never blocks.

    Args:
        call: (name of the signature, inputs) to outputs; called in a thread, one for each signature.
        limits: `max_batch`, `batch_bytes` and `queued` count.
        observe: called with (name of the signature, rows) for every call.
        wait: seconds to wait before each call, for measurements.
    """

    def __init__(
        self,
        call: Callable[[str, Arrays], Arrays],
        limits: Limits,
        observe: Callable[[str, int], None] = lambda name, rows: None,
        wait: float = 0.0,
    ):
        self._call, self._limits, self._observe, self._wait = call, limits, observe, wait
        self._lanes: dict[str, _Lane] = {}

    @property
    def queued(self) -> int:
        """Number of waiting rows."""
        return sum(lane.rows for lane in self._lanes.values())

    async def submit(self, signature: Signature, inputs: Arrays) -> Arrays:
        """Returns the outputs for the rows of `inputs`, in their order.

        Raises:
            RequestError: too many rows wait, or the model refuses the inputs.
        """
        lane = self._lane(signature)
        rows = [len(v) if v.ndim else -1 for v in inputs.values()]
        # Inputs that cannot be joined, or have no rows, get a call of their own.
        if not signature.batched or len(set(rows)) != 1 or rows[0] < 1:
            return await self._alone(lane, inputs)
        count = rows[0]
        self.check(count)
        step = self._limits.max_batch
        parts = [self._put(lane, {k: v[i : i + step] for k, v in inputs.items()}) for i in range(0, count, step)]
        try:
            answers = await asyncio.gather(*parts)
        finally:
            # Rows of a request that was given up leave the queue, unless their call has begun.
            for part in parts:
                part.cancel()
        return {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}

    def check(self, rows: int) -> None:
        """Refuses rows that the queue has no room for.

        Raises:
            RequestError: too many rows wait.
        """
        if self.queued + rows > self._limits.queued:
            raise RequestError(503, f"{self.queued} rows are waiting already; try again", 1)

    def close(self) -> None:
        """Ends the threads; no request may be open."""
        for lane in self._lanes.values():
            lane.thread.shutdown(wait=False, cancel_futures=True)

    def _lane(self, signature: Signature) -> _Lane:
        if signature.name not in self._lanes:
            self._lanes[signature.name] = _Lane(signature, ThreadPoolExecutor(1, f"model-{signature.name}"))
        return self._lanes[signature.name]

    def _put(self, lane: _Lane, inputs: Arrays) -> asyncio.Future:
        answer = asyncio.get_running_loop().create_future()
        rows = len(next(iter(inputs.values())))
        key = tuple(v.shape[1:] for v in inputs.values())
        lane.items.append(_Item(inputs, rows, key, answer))
        lane.rows += rows
        if lane.task is None or lane.task.done():
            lane.task = asyncio.create_task(self._work(lane))
        return answer

    async def _work(self, lane: _Lane) -> None:
        while lane.items:
            if self._wait:
                await asyncio.sleep(self._wait)
            batch = self._take(lane)
            if batch:
                await self._answer(lane, batch)

    def _take(self, lane: _Lane) -> list[_Item]:
        """Takes the oldest request from the queue, with others that can be joined with it."""
        batch, others, rows, size = [], deque(), 0, 0
        while lane.items:
            item = lane.items.popleft()
            if item.answer.done():
                lane.rows -= item.rows
                continue
            fits = rows + item.rows <= self._limits.max_batch and size + item.bytes <= self._limits.batch_bytes
            if not batch or (item.key == batch[0].key and fits):
                batch.append(item)
                rows, size, lane.rows = rows + item.rows, size + item.bytes, lane.rows - item.rows
                if rows == self._limits.max_batch:
                    break
            else:
                others.append(item)
        lane.items.extendleft(reversed(others))
        return batch

    async def _answer(self, lane: _Lane, batch: list[_Item]) -> None:
        try:
            outputs = await self._alone(lane, _joined([item.inputs for item in batch]))
        except Exception as e:
            if len(batch) > 1:
                # One request may be at fault: call each alone.
                for item in batch:
                    await self._answer(lane, [item])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(e)
            return
        start = 0
        for item in batch:
            if not item.answer.done():
                item.answer.set_result({k: v[start : start + item.rows] for k, v in outputs.items()})
            start += item.rows

    async def _alone(self, lane: _Lane, inputs: Arrays) -> Arrays:
        first = next(iter(inputs.values()))
        self._observe(lane.signature.name, len(first) if first.ndim else 1)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(lane.thread, self._call, lane.signature.name, inputs)


def _joined(inputs: list[Mapping[str, np.ndarray]]) -> Arrays:
    if len(inputs) == 1:
        return dict(inputs[0])
    return {name: np.concatenate([each[name] for each in inputs]) for name in inputs[0]}
