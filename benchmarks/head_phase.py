"""Times the head phase, ten epochs' worth: ours against the recipe of the Keras guide, in fresh processes.

python -m benchmarks.head_phase [--quick] [--json=FILE] [--shared=../shared/data]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import runner

EPOCHS = 10
MOBILENET, RESNET = "CIFAR-10, all, MobileNet(0.25) at 96 px", "CIFAR-10, 5,000 pictures, ResNet-50 at 224 px"
_MOBILENET = ("--backbone=mobilenet(alpha=0.25)", "--image_size=96")
_RESNET = ("--backbone=resnet50", "--weights=random")


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: seconds and validation accuracy of each way, by case."""
    # Of ResNet-50's ten epochs in the guide's way, an hour on a small machine, one is timed.
    small, timed = ("--examples=1000", 1) if args.quick else ("", EPOCHS)
    few = "--examples_per_class=90" if args.quick else ""
    half = "--examples_per_class=20" if args.quick else "--examples_per_class=500"
    part = "--examples=200" if args.quick else "--examples=5000"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        found = {
            MOBILENET: {
                "guide": _guide(args, work, timed, small),
                "ours": _ours(args, work, "mobilenet", *_MOBILENET, few),
                "again": _ours(args, work, "mobilenet", *_MOBILENET, few, "--restart"),
            },
            RESNET: {
                "guide": _guide(args, work, 1, part, *_RESNET),
                "ours": _ours(args, work, "resnet50", *_RESNET, half),
                "one_view": _ours(args, work, "resnet50-1", *_RESNET, half, "--feature_views=1", "--feature_store=off"),
            },
        }
    return {"cases": found}


def _guide(args: argparse.Namespace, work: Path, epochs: int, *flags: str) -> dict:
    output = work / "guide.json"
    command = [sys.executable, "-m", "benchmarks.keras_guide", f"--epochs={epochs},0",
               f"--data_dir={args.shared / 'tfds'}", f"--json={output}", *filter(None, flags)]  # fmt: skip
    subprocess.run(command, cwd=runner.ROOT, check=True, stdout=sys.stderr)
    phase = json.loads(output.read_text())["phases"][0]
    return {"seconds": phase["seconds"] / epochs * EPOCHS, "timed": epochs, "validation": phase["validation_accuracy"]}


def _ours(args: argparse.Namespace, work: Path, name: str, *flags: str) -> dict:
    command = [sys.executable, "run.py", "--phase=head", "--dataset=cifar10", f"--data_dir={args.shared / 'tfds'}",
               f"--run_dir={work / name}", *filter(None, flags)]  # fmt: skip
    begun = time.perf_counter()
    environment = os.environ | {"XDG_CACHE_HOME": str(work / "cache")}
    subprocess.run(command, cwd=runner.ROOT, env=environment, check=True, stdout=sys.stderr)
    whole = time.perf_counter() - begun
    records = [json.loads(line) for line in (work / name / "records.jsonl").read_text().splitlines()]
    end, start = ([r for r in records if r["kind"] == kind][-1] for kind in ("phase_end", "start"))
    return {"seconds": end["seconds"], "process_seconds": whole, "validation": end["validation_accuracy"],
            "precision": start["device"]["precision"]}  # fmt: skip


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    parts = [
        "## The head phase",
        "",
        f"Seconds of the phase itself, fresh processes one after the other: {EPOCHS} epochs of the Keras guide, and "
        "ours as it comes, to the optimum. ResNet-50 has random weights here, so its accuracy says nothing; of the "
        "guide's epochs with it one was timed and counted ten times.",
    ]
    names = {
        "guide": f"Keras guide, {EPOCHS} epochs",
        "ours": "ours, two views of each picture",
        "one_view": "ours, one view",
        "again": "ours again, features from the store",
    }
    for case, found in record["cases"].items():
        guide = found["guide"]["seconds"]
        rows = [
            (names[key], f"{r['seconds']:.0f}", f"{guide / r['seconds']:.1f}",
             f"{r['validation']:.4f}" if case == MOBILENET else "–", r.get("precision", "float32"))
            for key, r in found.items()
        ]  # fmt: skip
        parts += ["", f"**{case}**", ""]
        parts += runner.table(("", "seconds", "ratio", "validation accuracy", "precision"), rows)
    guide, ours = (record["cases"][RESNET][key]["seconds"] for key in ("guide", "ours"))
    verdict = "reached" if guide / ours >= 30 else "not reached"
    return [*parts, "", f"- ResNet-50: {guide / ours:.1f}; to reach, on a processor with AMX, 30: {verdict}."]


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
