"""Times the JSON of a request by four ways, and how long each keeps the event loop from anything else.

python -m benchmarks.json_worker [--quick] [--json=FILE]

The process beside the service (`serving.http.json_worker`) holds the loop only while bytes go back and forth; what
reads in the loop itself, by the standard library or by orjson, holds it throughout: after the parser come the checks
of `tensors.arrays`, which are Python either way. A thread shares the interpreter's lock with the loop.
"""

import argparse
import asyncio
import base64
import functools
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping

import numpy as np

from benchmarks import runner
from tf_transfer.serving.http import tensors
from tf_transfer.serving.http.json_worker import JsonWorker
from tf_transfer.serving.signatures import EXAMPLES, FILES, Signature, Tensor

SIGNATURES = {
    EXAMPLES: Signature(EXAMPLES, (Tensor("images", "u", np.dtype(np.uint8), (None,) * 4),), ("logits",), True),
    FILES: Signature(FILES, (Tensor("contents", "S", np.dtype(object), (None,)),), ("logits",), True),
}
SIZES = {"10 kB": 10_000, "1 MB": 1_000_000, "20 MB": 20_000_000}
_MOST = 1 << 20
# Seconds between two ticks of the task whose longest gap is measured.
_TICK = 0.001


def bodies() -> dict[str, bytes]:
    """Requests of each size: pixels as numbers, and files in base64."""
    random, found = np.random.default_rng(0), {}
    for told, size in SIZES.items():
        # A number and its comma take 4.6 bytes.
        pictures = random.integers(0, 256, (max(1, size // (32 * 32 * 3 * 4)), 32, 32, 3), np.uint8)
        found[f"{told} of numbers"] = json.dumps({"instances": pictures.tolist()}).encode()
        file = base64.b64encode(random.bytes(min(size, 100_000) * 3 // 4)).decode()
        files = [{"b64": file}] * max(1, size // 100_000)
        found[f"{told} of files"] = json.dumps({"signature_name": FILES, "instances": files}).encode()
    return found


def by_orjson(body: bytes) -> dict[str, np.ndarray]:
    """Reads a request as `tensors.read` does, with the parser of orjson."""
    import orjson

    document = orjson.loads(body)
    return tensors.arrays(document, SIGNATURES[tensors.signature_name(document)])[0]


def by_json(body: bytes) -> dict[str, np.ndarray]:
    """Reads a request as the service does."""
    return tensors.read(body, SIGNATURES, _MOST)[1]


async def held(call: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Seconds that a call takes, and the longest for which a task beside it did not get its turn."""
    gaps, ended = [0.0], False

    async def tick() -> None:
        before = time.perf_counter()
        while not ended:
            await asyncio.sleep(_TICK)
            now = time.perf_counter()
            gaps.append(now - before - _TICK)
            before = now

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(5 * _TICK)
    gaps[:] = [0.0]
    begun = time.perf_counter()
    await call()
    seconds = time.perf_counter() - begun
    # The tick that the call held up comes now.
    await asyncio.sleep(2 * _TICK)
    ended = True
    await ticking
    return seconds, max(gaps)


async def _measure(rounds: int) -> dict[str, dict]:
    worker = JsonWorker()

    async def at_once(read: Callable, body: bytes) -> None:
        read(body)

    def ways(body: bytes) -> dict[str, Callable[[], Awaitable[object]]]:
        return {
            "json": functools.partial(at_once, by_json, body),
            "orjson": functools.partial(at_once, by_orjson, body),
            "orjson in a thread": functools.partial(asyncio.to_thread, by_orjson, body),
            "json in the worker": functools.partial(worker.call, "read", body, SIGNATURES, _MOST),
        }

    found: dict[str, dict] = {}
    try:
        for told, body in bodies().items():
            taken: dict[str, list] = {name: [] for name in ways(body)}
            for at in range(rounds + 1):
                for name, call in ways(body).items():
                    measured = await held(call)
                    # The first round starts the worker and the threads.
                    if at:
                        taken[name].append(measured)
            found[told] = {
                name: {"seconds": statistics.median(s for s, _ in all_), "stall": statistics.median(g for _, g in all_)}
                for name, all_ in taken.items()
            }
    finally:
        await worker.close()
    return found


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: for each body and way the medians of its seconds and of the loop's longest gap."""
    for body in bodies().values():
        expected, found = by_json(body), by_orjson(body)
        assert all(np.array_equal(expected[name], found[name]) for name in expected), "the ways differ"
    return {"rows": asyncio.run(_measure(2 if args.quick else 9))}


def render(record: Mapping) -> list[str]:
    """Returns the record as Markdown."""
    names = list(next(iter(record["rows"].values())))
    lines = [f"| body | {' | '.join(f'{name}: ms (stall)' for name in names)} |", "|---" * (1 + len(names)) + "|"]
    for told, row in record["rows"].items():
        cells = [f"{1e3 * row[name]['seconds']:.1f} ({1e3 * row[name]['stall']:.1f})" for name in names]
        lines.append(f"| {told} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
