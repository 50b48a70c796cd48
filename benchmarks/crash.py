"""Kills runs again and again, lets them go on, and compares what they end with to runs that nobody disturbed.

    python -m benchmarks.crash [--kills=50] [--seed=0] [--json=FILE]

Real runs in processes of their own, killed (SIGKILL) at random moments, a third of them while a checkpoint is being
written: a head in steps and the whole network with dropout, mixup and a moving average, saved every few steps; the
whole story by its defaults, from the features to the report; two trainings between which validation chooses; and a
finished run that is begun over with other options.
"""

import argparse
import collections
import contextlib
import csv
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import runner
from benchmarks.runner import ROOT
from tf_transfer.machine.timing import timed

_SMALL = ("--dataset=digits", "--backbone=small_resnet", "--weights=random", "--examples_per_class=20",
          "--batch_size=32", "--checkpoint_every=3", "--precision=float32", "--strategy=one")  # fmt: skip
FLAGS = (*_SMALL, "--phase=head,full,evaluate", "--dropout=0.2", "--augment=flip,crop,mixup(0.2)", "--optimizer=sgd",
         "--feature_views=0", "--ema=0.9", "--epochs=head:6,full:10")  # fmt: skip
STORY = (*_SMALL, "--phase=head,full,evaluate,export,report", "--epochs=full:10")
# Validation chooses between two trainings of full; flags that come later replace earlier ones.
RACE = (*STORY, "--source_dataset=rendered_digits(n=200)", "--weights=source", "--phase=source,head,full,evaluate")
# The run, and the flags that one that has ended was made with before.
KINDS = {
    "training in steps": (FLAGS, None),
    "the whole story": (STORY, None),
    "a choice by validation": (RACE, None),
    "begun over": ((*STORY, "--restart", "--seed=1"), (*STORY, "--epochs=full:1")),
}
# What differs between two runs that do the same.
# `bytes` of a SavedModel differ by a few from one process to the next.
_CLOCKS = {"time", "seconds", "examples_per_second", "command", "bytes", "restart", "id", "peak_bytes", "latency"}


def start(folder: Path, *more: str, flags: tuple = FLAGS, stdout: int = subprocess.DEVNULL) -> subprocess.Popen:
    """Starts a run in a process of its own, its features beside it."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *flags, *more, f"--run_dir={folder}"],
        cwd=ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(folder.parent / f"{folder.name}-cache")},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever started this in the background has it ignore Ctrl-C, and what it starts as well.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(folder: Path, pattern: str, *processes: subprocess.Popen, seconds: float = 120) -> None:
    """Waits until a file of the pattern is in the folder, while the processes run.

    Raises:
        RuntimeError: one of them has ended before, or it took too long.
    """
    deadline = time.monotonic() + seconds
    while not any(folder.glob(pattern)):
        ended = [p for p in processes if p.poll() is not None]
        if ended or time.monotonic() > deadline:
            raise RuntimeError(f"{pattern} did not come: {[p.communicate()[1] for p in ended]}")
        time.sleep(0.005)


def run(folder: Path, *more: str, flags: tuple = FLAGS) -> tuple[int, str]:
    """Runs to the end; returns the exit code and what came on standard error."""
    process = start(folder, *more, flags=flags)
    error = process.communicate()[1]
    return process.returncode, error


def stopped(folder: Path, number: int) -> tuple[int, str]:
    """Runs, and sends a signal when the first checkpoint of full is there; returns as `run` does."""
    process = start(folder)
    wait_for(folder, "checkpoints/full/step-*", process)
    process.send_signal(number)
    error = process.communicate()[1]
    return process.returncode, error


def disturbed(folder: Path, kills: int, seconds: float, seed: int, flags: tuple = FLAGS) -> collections.Counter:
    """Runs to the end, killed so many times on the way at most; returns how often where.

    Args:
        folder: the run directory.
        kills: how often to kill.
        seconds: what the run takes undisturbed, start of the process included.
        seed: of the moments.
        flags: of the run.
    """
    chance, places, begun = random.Random(seed), collections.Counter(), time.time()
    while True:
        process = start(folder, flags=flags)
        if sum(places.values()) < kills and _kill(process, folder, chance, seconds):
            places[_place(folder)] += 1
            if "--restart" in flags and _ended_since(folder, begun):
                # It was over, and the same command would rightly begin anew.
                return places
            continue
        _, error = process.communicate()
        if process.returncode:
            raise RuntimeError(f"The run ended with {process.returncode}: {error}")
        return places


def _kill(process: subprocess.Popen, folder: Path, chance: random.Random, seconds: float) -> bool:
    """Kills the process at a moment drawn at random; False where it had ended before."""
    writing = chance.random() < 1 / 3
    deadline = time.monotonic() + chance.uniform(0.3, 1.0) * seconds
    begun, wait = time.monotonic(), chance.randrange(1, 4)
    while time.monotonic() < deadline and process.poll() is None:
        if writing and time.monotonic() - begun > 2 and _being_written(folder):
            wait -= 1
            if not wait:
                break
        time.sleep(0.0005 if writing else 0.01)
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return True


def _ended_since(folder: Path, begun: float) -> bool:
    report = folder / "report.html"
    return report.exists() and report.stat().st_mtime > begun and not (folder / "restart.json").exists()


def _being_written(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        # A folder may go while it is looked through.
        return any(folder.glob("checkpoints/*/.new-*"))
    return False


def _place(folder: Path) -> str:
    if _being_written(folder):
        return "writing a checkpoint"
    ended = [phase for phase in ("head", "full") if (folder / phase / "done.json").exists()]
    # Several trainings of a phase have a folder each, `full.frozen`.
    begun = [p.name.partition(".")[0] for p in folder.glob("checkpoints/*") if any(p.iterdir())]
    if (folder / "replaced/moving.json").exists():
        return "setting the old run aside"
    going = [phase for phase in ("head", "full") if phase in begun and phase not in ended]
    return f"in {going[0]}" if going else f"after {ended[-1]}" if ended else "before head's first checkpoint"


def differences(one: Path, other: Path) -> list[str]:
    """Returns what differs between two run directories.

    Weights and predictions are compared by the bit, records and epochs without their clocks.
    """
    import numpy as np

    found = []
    for path in sorted([*one.glob("*/*.h5"), *one.glob("*/*.npz")]):
        arrays = [arrays_of(folder / path.relative_to(one)) for folder in (one, other)]
        names = sorted(set(arrays[0]) | set(arrays[1]))
        same = [n for n in names if n in arrays[0] and n in arrays[1] and np.array_equal(arrays[0][n], arrays[1][n])]
        found += [f"{path.relative_to(one)}: {name}" for name in names if name not in same]
    records = [_records(folder) for folder in (one, other)]
    if len(records[0]) != len(records[1]):
        found.append(f"{len(records[0])} records, and {len(records[1])}")
    found += [f"record {a}, and {b}" for a, b in zip(*records, strict=False) if a != b]
    histories = [_histories(folder) for folder in (one, other)]
    return found + (["history.csv"] if histories[0] != histories[1] else [])


def arrays_of(path: Path) -> dict:
    """Returns the arrays of a weights file or of predictions, by name."""
    import h5py
    import numpy as np

    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    found: dict = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if hasattr(item, "dtype") else None)
    return found


def _records(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    return [_timeless(r) for r in lines if r["kind"] != "resume"]


def _timeless(value):
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in _CLOCKS}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def _histories(folder: Path) -> list:
    tables = []
    for path in sorted(folder.glob("*/history.csv")):
        with path.open() as file:
            tables.append([_timeless(row) for row in csv.DictReader(file)])
    return tables


def measure(args: argparse.Namespace) -> dict:
    """Returns how often runs were killed where, and how much of what they ended with differs."""
    found: dict = {"kinds": {}, "places": collections.Counter(), "differences": []}
    for number, (kind, (flags, before)) in enumerate(KINDS.items()):
        with tempfile.TemporaryDirectory() as place:
            wanted = args.kills * (number + 1) // len(KINDS) - args.kills * number // len(KINDS)
            found["kinds"][kind] = _kind(Path(place), flags, before, wanted, args.seed, found)
    return found | {"kills": sum(found["places"].values()), "places": dict(found["places"])}


def _kind(folder: Path, flags: tuple, before: tuple | None, wanted: int, seed: int, found: dict) -> dict:
    """Disturbs runs of one kind until there were so many kills; adds to what was found."""
    if before:
        _ended(run(folder / "before", flags=before))
    first = _copy(folder, "undisturbed", before)
    (seconds,), killed = timed(lambda: _ended(run(first, flags=flags))), 0
    for number in itertools.count():
        if killed >= wanted:
            return {"seconds": seconds, "runs": number, "kills": killed}
        other = _copy(folder, f"disturbed-{number}", before)
        places = disturbed(other, wanted - killed, seconds, seed + number, flags)
        found["places"].update(places)
        found["differences"] += differences(first, other)
        killed += sum(places.values())


def _copy(folder: Path, name: str, before: tuple | None) -> Path:
    if before:
        shutil.copytree(folder / "before", folder / name)
    return folder / name


def _ended(result: tuple[int, str]) -> None:
    code, error = result
    if code:
        raise RuntimeError(f"The run ended with {code}: {error}")


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    kinds = "; ".join(
        f"{kind}: {told['kills']} kills in {told['runs']} runs of {told['seconds']:.0f} s"
        for kind, told in record["kinds"].items()
    )
    return [
        "## Killed again and again",
        "",
        f"{record['kills']} kills, and **{len(record['differences'])} differences** of a weight, a prediction, a "
        f"record or an epoch to the runs that nobody disturbed. {kinds}.",
        "",
        *runner.table(("killed", "times"), [(place, str(n)) for place, n in sorted(record["places"].items())]),
        *(f"- {difference}" for difference in record["differences"][:20]),
    ]


if __name__ == "__main__":
    sys.exit(
        bool(
            runner.command(__doc__, measure, render, kills=(50, "how often to kill"), seed=(0, "of the moments"))[
                "differences"
            ]
        )
    )
