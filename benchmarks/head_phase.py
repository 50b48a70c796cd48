"""Times the head phase, ten epochs' worth: ours against the recipe of the Keras guide, in fresh processes.

python -m benchmarks.head_phase [--quick] [--json=FILE] [--shared=../shared/data]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks import runner
from tf_transfer.machine.timing import timed

EPOCHS = 10
MOBILENET, RESNET = "CIFAR-10, all, MobileNet(0.25) at 96 px", "CIFAR-10, 5,000 pictures, ResNet-50 at 224 px"
_MOBILENET = ("--backbone=mobilenet(alpha=0.25)", "--image_size=96")
_RESNET = ("--backbone=resnet50", "--weights=random")


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: seconds and validation accuracy of each way, by case."""
    few, examples, epochs = ("--examples_per_class=100", 1_000, 2) if args.quick else ("", 50_000, EPOCHS)
    # Of the hour that ten epochs of ResNet-50 take in the guide's way, two epochs over a fifth are timed.
    part, wanted = (100, 200) if args.quick else (1_000, 5_000)
    labels = f"--examples_per_class={wanted // 10}"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        found = {
            MOBILENET: {
                "guide": _guide(args, work, epochs, examples, examples),
                "ours": _ours(args, work, "mobilenet", *_MOBILENET, few),
                "again": _ours(args, work, "mobilenet", *_MOBILENET, few, "--restart"),
            },
            RESNET: {
                "guide": _guide(args, work, 2, part, wanted, *_RESNET),
                "ours": _ours(args, work, "resnet50", *_RESNET, labels),
                "one_view": _ours(args, work, "resnet50-1", *_RESNET, labels, "--feature_views=1"),
            },
        }
    return {"cases": found}


def _guide(args: argparse.Namespace, work: Path, epochs: int, examples: int, wanted: int, *flags: str) -> dict:
    """Times epochs of the guide over so many pictures, and scales those after the first to ten over `wanted`."""
    output = work / "guide.json"
    command = [sys.executable, "-m", "benchmarks.keras_guide", f"--epochs={epochs},0", f"--examples={examples}",
               f"--data_dir={args.shared / 'tfds'}", f"--json={output}", *flags]  # fmt: skip
    subprocess.run(command, cwd=runner.ROOT, check=True, stdout=sys.stderr)
    phase = json.loads(output.read_text())["phases"][0]
    first, *others = phase["epoch_seconds"]
    # What the first has more is compiling and reading the data, once.
    each = sum(others) / len(others)
    seconds = max(0.0, first - each) + EPOCHS * each * wanted / examples
    return {"seconds": seconds, "timed_epochs": epochs, "timed_pictures": examples,
            "validation": phase["validation_accuracy"]}  # fmt: skip


def _ours(args: argparse.Namespace, work: Path, name: str, *flags: str) -> dict:
    command = [sys.executable, "run.py", "--phase=head", "--dataset=cifar10", f"--data_dir={args.shared / 'tfds'}",
               f"--run_dir={work / name}", *filter(None, flags)]  # fmt: skip
    environment = os.environ | {"XDG_CACHE_HOME": str(work / name)}
    (seconds,) = timed(lambda: subprocess.run(command, cwd=runner.ROOT, env=environment, check=True, stdout=sys.stderr))
    records = [json.loads(line) for line in (work / name / "records.jsonl").read_text().splitlines()]
    end, start = ([r for r in records if r["kind"] == kind][-1] for kind in ("phase_end", "start"))
    return {"seconds": seconds, "validation": end["validation_accuracy"], "precision": start["device"]["precision"]}


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    guide = record["cases"][RESNET]["guide"]
    parts = [
        "## The head phase",
        "",
        f"Fresh processes one after the other: {EPOCHS} epochs of the Keras guide, without the start of its process, "
        "and ours as it comes, to the optimum, with it. ResNet-50 has random weights here, so its accuracy says "
        f"nothing; of the guide's epochs with it {guide['timed_epochs']} over {guide['timed_pictures']:,} pictures "
        "were timed, and scaled.",
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
    verdict = runner.verdict(guide / ours >= 30)
    return [
        *parts,
        "",
        f"- ResNet-50: {guide / ours:.1f}; to reach, on a processor with AMX, 30: {verdict}. Ours is the forward "
        "pass of the first section, over each view once, and little else: its rate is the limit.",
    ]


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
