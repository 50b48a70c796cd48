"""Compares runs on several replicas and several processes with the same run on one device, weight by weight.

    python -m benchmarks.distributed [--json=FILE]

Replicas are logical CPU devices of one process, workers are processes on loopback; all see the same global batch.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks import crash
from benchmarks.runner import ROOT, command, table, verdict

SOURCE = ("--phase=source", "--source_dataset=rendered_digits", "--weights=random", "--epochs=2", "--batch_size=64")
BASE = ("--phase=head,full,evaluate", "--dataset=digits", "--backbone=small_resnet",
        "--examples_per_class=12", "--precision=float32", "--feature_store=off", "--batch_size=24")  # fmt: skip
# Of a weight, after one step, in float32.
TARGET = 1e-6
# Of the 97 pictures that train: one step, and eight.
LENGTHS = {"one step": "--epochs=full:0.2", "eight": "--epochs=full:2"}
FEATURES = {
    "head solved, SGD, BatchNorm trained": ("--clip_norm=0.5",),
    "head in steps, mixup, moving average": ("--optimizer=sgd", "--feature_views=0", "--ema=0.9", "--dropout=0.2",
                                             "--augment=flip,crop,mixup(0.2)"),
    "AdamW, BatchNorm frozen, two parts a batch": ("--optimizer=full:adamw", "--bn=full:frozen", "--accumulate=full:2"),
}  # fmt: skip
# Logical devices before TensorFlow looks for them.
_DEVICES = """
import sys, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv.pop(1)))
from tf_transfer import cli
cli.run()
"""


def ports(count: int) -> list[int]:
    """Returns free ports of loopback."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    found = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return found


def workers(count: int, *flags: str, slurm: bool = False) -> list[subprocess.Popen]:
    """Starts so many workers on loopback, told of each other as by hand or as SLURM does it."""
    hosts = [f"127.0.0.1:{port}" for port in ports(count)]
    started = []
    for index in range(count):
        config = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        told = {"TF_CONFIG": json.dumps(config)}
        if slurm:
            told = {"SLURM_PROCID": f"{index}", "SLURM_STEP_NUM_TASKS": f"{count}", "SLURM_STEP_NODELIST": "localhost",
                    "SLURM_STEP_TASKS_PER_NODE": f"{count}"}  # fmt: skip
        started.append(
            subprocess.Popen(
                [sys.executable, "run.py", *flags, "--strategy=multiworker"],
                cwd=ROOT,
                env=os.environ | told,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def replicas(count: int, *flags: str) -> list[subprocess.Popen]:
    """Starts one process of so many replicas."""
    strategy = "--strategy=mirrored" if count > 1 else "--strategy=one"
    line = [sys.executable, "-c", _DEVICES, str(count), *flags, strategy]
    return [subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)]


def finish(processes: list[subprocess.Popen]) -> None:
    """Waits for processes; raises where one failed, and ends the others then."""
    for process in processes:
        _, error = process.communicate()
        if process.returncode:
            for other in (p for p in processes if p is not process and p.poll() is None):
                other.kill()
                other.communicate()
            raise RuntimeError(error[-2000:])


def difference(one: Path, other: Path) -> dict[str, float]:
    """Returns the largest difference of a weight by phase, of a moving statistic, and of a test probability.

    Weights and statistics are taken as a share of their array's largest, or of 1.
    """
    import numpy as np

    found = {"head": 0.0, "full": 0.0, "statistic": 0.0}
    for phase in ("head", "full"):
        for path in sorted((one / phase).glob("*.h5")):
            values = [crash.arrays_of(folder / path.relative_to(one)) for folder in (one, other)]
            for name, a in values[0].items():
                kind = "statistic" if "batch_normalization" in name and name[-1] in "23" else phase
                difference = float(np.abs(a - values[1][name]).max() / max(1.0, np.abs(a).max()))
                found[kind] = max(found[kind], difference)
    logits = [np.load(folder / "evaluate/predictions.npz")["full"] for folder in (one, other)]
    p = [np.exp(a) / np.exp(a).sum(1, keepdims=True) for a in logits]
    return found | {"probability": float(np.abs(p[0] - p[1]).max())}


def measure(args: argparse.Namespace) -> dict:
    """Returns the differences, by what is used and by how it is spread."""
    ways = {
        "2 replicas": lambda *flags: replicas(2, *flags),
        "3 replicas": lambda *flags: replicas(3, *flags),
        "2 workers": lambda *flags: workers(2, *flags),
        "3 workers": lambda *flags: workers(3, *flags),
    }
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as place:
        # From a network that knows something: training from random weights makes much of any rounding.
        source = f"{place}/source"
        finish(replicas(1, *BASE, *SOURCE, f"--run_dir={source}"))
        for number, (name, flags) in enumerate(FEATURES.items()):
            for length, epochs in LENGTHS.items():
                folder = Path(place) / f"{number}-{length}"
                finish(replicas(1, *BASE, f"--weights={source}", epochs, *flags, f"--run_dir={folder}/one"))
                for way, begin in ways.items():
                    other = folder / way.replace(" ", "-")
                    finish(begin(*BASE, f"--weights={source}", epochs, *flags, f"--run_dir={other}"))
                    found.setdefault(name, {}).setdefault(way, {})[length] = difference(folder / "one", other)
    return {"differences": found}


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    rows = []
    for name, ways in record["differences"].items():
        for way, lengths in ways.items():
            one, eight = (lengths[length] for length in LENGTHS)
            told = (one["head"], one["full"], one["statistic"], eight["full"], eight["statistic"], eight["probability"])
            rows.append((name, way, *(f"{value:.1e}" for value in told)))
    header = ("head", "1 step: weights", "statistics", "8 steps: weights", "statistics", "test probability")
    return [
        "## One device, replicas, and workers",
        "",
        "The largest difference to the run on one device, at the same global batch in float32, of a weight (as a share "
        "of its array's largest, or of 1) and of a test probability. Replicas are logical CPU devices, workers are "
        "processes on loopback. To reach: 1e-6 for a step; from step to step training makes more of it, as of any "
        "rounding.",
        "",
        *table(("", "on", *header), rows),
        "",
        *(_verdict(name, ways) for name, ways in record["differences"].items()),
    ]


def _verdict(name: str, ways: dict) -> str:
    worst = max(max(lengths["one step"][kind] for kind in ("head", "full", "statistic")) for lengths in ways.values())
    return f"- {name}: {worst:.1e} after one step at most; to reach, {TARGET:.0e}: {verdict(worst <= TARGET)}."


if __name__ == "__main__":
    command(__doc__, measure, render)
