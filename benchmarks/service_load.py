"""Times the service: clients at a time, batches or none, and what it costs beside the bare SavedModel.

python -m benchmarks.service_load [--quick] [--json=FILE]
"""

import argparse
import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks import runner
from benchmarks.service_process import Bare, ask, exported, flowers, started
from benchmarks.timing import in_turns

_QUANTILES = (0.5, 0.9, 0.99, 1.0)
# Seconds to wait for company, as servers that collect batches by a time do.
_WAIT = 0.005
VARIANTS = {"batches": ((), 0.0), "batches, 5 ms waited for": ((), _WAIT), "`--max_batch=1`": (("--max_batch=1",), 0.0)}
# Clients at a time: seconds of each turn.
_TURNS = {1: 5, 8: 10, 64: 30}
_ROUNDS = 2
_BATCH = 32
_CLOSE = 1e-5


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: throughput and latency by variant and clients, and those of the bare model."""
    files = flowers(args.shared, 64 if args.quick else 512)
    with exported(args.shared) as run, contextlib.ExitStack() as stack:
        bare = Bare(run)
        expected = np.concatenate(
            [bare.files(files[i : i + _BATCH])["probabilities"] for i in range(0, len(files), _BATCH)]
        )
        services = {
            name: stack.enter_context(started(run, *flags, wait=wait)) for name, (flags, wait) in VARIANTS.items()
        }
        for service in services.values():
            ask(service.url, [[f] for f in files[:64]], 8)
        turns = {clients: 1 if args.quick else seconds for clients, seconds in _TURNS.items()}
        load = {str(n): _load(services, files, expected, n, seconds) for n, seconds in turns.items()}
        cost = _cost(bare, services["batches"], files, 3 if args.quick else 30)
    return {"load": load, "cost": cost, "rounds": _ROUNDS, "turns": {str(n): seconds for n, seconds in turns.items()}}


def _load(services: Mapping, files, expected, clients: int, seconds: float) -> dict:
    seen = {name: {"latencies": [], "errors": 0, "wrong": 0, "elapsed": 0.0} for name in services}
    for _ in range(_ROUNDS):
        for name, service in services.items():
            found = ask(service.url, [[f] for f in files], clients, seconds)
            case = seen[name]
            case["latencies"] += found["latencies"]
            case["errors"] += len(found["errors"])
            case["elapsed"] += found["elapsed"]
            case["wrong"] += sum(
                not np.allclose(answer[0]["probabilities"], expected[at], rtol=0, atol=_CLOSE)
                for at, answer in found["answers"]
            )
    return {
        name: {
            "requests": len(case["latencies"]),
            "errors": case["errors"],
            "wrong": case["wrong"],
            "rate": len(case["latencies"]) / case["elapsed"],
            "quantiles": np.quantile(case["latencies"], _QUANTILES).tolist(),
        }
        for name, case in seen.items()
    }


def _cost(bare: Bare, service, files, rounds: int) -> dict:
    """Times one file, and thirty-two, by the service and by the model itself."""
    found = {}
    with ThreadPoolExecutor(4) as pool:
        for count in (1, _BATCH):
            rows = files[:count]

            def threads(rows=rows):
                return bare.pictures(np.stack(list(pool.map(bare.decode, rows))))

            functions = {"`serve_bytes`": lambda rows=rows: bare.files(rows), "`decode` in threads": threads}
            seconds = in_turns(functions, rounds)
            found[str(count)] = {name: float(np.median(taken)) for name, taken in seconds.items()}
            seen = ask(service.url, [rows] * (rounds + 2), 1)
            found[str(count)]["the service, over HTTP"] = float(np.median(seen["latencies"][2:]))
    return found


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    minutes = record["rounds"] * record["turns"]["64"]
    lines = [
        "## Load",
        "",
        "JPEG files of 128 x 128 pixels, one a request, to `mobilenet(alpha=0.25)` at 96 px. The clients ask again as "
        "soon as they are answered, from a process of their own on the same processor, over sockets of the loopback. "
        f"The services took turns. 64 clients asked each for {minutes} s. Latency in milliseconds.",
        "",
    ]
    rows = []
    for clients, cases in record["load"].items():
        for name, case in cases.items():
            told = [f"{1000 * q:.0f}" if q >= 0.01 else f"{1000 * q:.1f}" for q in case["quantiles"]]
            counts = (f"{case['requests']:,}", f"{case['errors']}", f"{case['wrong']}", f"{case['rate']:,.0f}")
            rows.append((clients, name, *counts, *told))
    lines += runner.table(("clients", "", "requests", "errors", "wrong", "per s", "50 %", "90 %", "99 %", "max"), rows)
    lines += [
        "",
        "Nothing waits for company: what has queued while the model was busy is its next call. A wait before "
        "each call, which the service does not have, makes calls larger under full load; a client alone pays for it.",
        "",
        "## Beside the bare SavedModel",
        "",
        "Milliseconds for files in one call, or one request of one client, medians. `serve_bytes` starts a pipeline "
        "inside the model; the service decodes with the model's `decode` in threads, as any program may.",
        "",
    ]
    names = list(record["cost"]["1"])
    rows = [(name, *(f"{1000 * case[name]:.1f}" for case in record["cost"].values())) for name in names]
    return lines + runner.table(("", *(f"{n} files" if n != "1" else "1 file" for n in record["cost"])), rows)


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
