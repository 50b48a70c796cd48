"""Full fine-tuning by default against both policies for the BatchNorm statistics, on small data of several domains.

python -m benchmarks.normalisation [--quick] [--seeds=2] [--json=FILE] [--shared=../shared/data]
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import runner

# What each arm is told; the frozen one trains at the rate that a choice would give it.
ARMS = {"trained": {"bn": {"full": "train"}}, "frozen": {"bn": {"full": "frozen"}}, "by default": {}}
_MOBILENET = {"backbone": "mobilenet(alpha=0.25)", "input_size": 96}
_QUICKSTART = {
    "dataset": "digits", "source_dataset": "rendered_digits", "examples_per_class": 10, "validation_fraction": 0.2,
    "backbone": "small_resnet", "weights": "source", "epochs": {"source": 6.0},
}  # fmt: skip


def cases(shared: Path) -> dict[str, dict]:
    """Returns the options of each case by its name."""
    flowers, usps, mnist_m = (f"folder(path={shared / name})" for name in ("flowers", "usps", "mnist_m"))
    cifar = {"dataset": "cifar10", "data_dir": str(shared / "tfds")}
    return {
        "the quickstart's digits": _QUICKSTART,
        "flowers, 20 a class": {"dataset": flowers, "examples_per_class": 20, **_MOBILENET},
        "flowers, 40 a class": {"dataset": flowers, "examples_per_class": 40, **_MOBILENET},
        "USPS, 20 a class": {"dataset": usps, "examples_per_class": 20, **_MOBILENET},
        "MNIST-M, 40 a class": {"dataset": mnist_m, "examples_per_class": 40, **_MOBILENET},
        "CIFAR-10, 65 a class": {**cifar, "examples_per_class": 65, **_MOBILENET},
        "flowers, 100 a class": {"dataset": flowers, "examples_per_class": 100, **_MOBILENET},
        "flowers, 200 a class": {"dataset": flowers, "examples_per_class": 200, **_MOBILENET},
        "CIFAR-10, 190 a class": {**cifar, "examples_per_class": 190, **_MOBILENET},
    }


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: for each case and seed, what every arm ended with."""
    chosen = cases(args.shared)
    if args.quick:
        chosen = dict(list(chosen.items())[:1])
    found: dict[str, list] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seeds):
            for number, (name, options) in enumerate(chosen.items()):
                found[name].append(compared(Path(folder) / f"{number}-{seed}", options | {"seed": seed}))
    return {"cases": found}


def compared(folder: Path, options: Mapping) -> dict[str, dict]:
    """Trains one head, and full from it in every arm."""
    from tf_transfer import api

    options = {"quiet": True, "feature_store": str(folder.parent / "features"), **options}
    phases = ["source", "head"] if "source_dataset" in options else ["head"]
    api.fine_tune(run_dir=str(folder / "head"), phases=phases, **options)
    return {arm: trained(folder, arm, options) for arm in ARMS}


def trained(folder: Path, arm: str, options: Mapping) -> dict:
    """Trains full from the head in `folder` and scores both on the test split."""
    from tf_transfer import api
    from tf_transfer.session.plan import SLOWER

    run = shutil.copytree(folder / "head", folder / arm)
    given = dict(ARMS[arm])
    if arm == "frozen":
        rate = json.loads((folder / "trained/full/done.json").read_text())["plan"]["learning_rate"]
        given["learning_rate"] = {"full": SLOWER * rate}
    begun = time.process_time()
    api.fine_tune(run_dir=str(run), phases=["full"], **options, **given)
    seconds = time.process_time() - begun
    metrics = api.fine_tune(run_dir=str(run), phases=["evaluate"], **options).metrics
    return _told(run, metrics) | {"cpu_seconds": seconds}


def _told(run: Path, metrics: Mapping) -> dict:
    done = json.loads((run / "full/done.json").read_text())
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    return {
        "test": {model: metrics[model]["accuracy"]["value"] for model in ("head", "full")},
        "tested": metrics["full"]["n"],
        "examples": [r["splits"]["train"] for r in records if r["kind"] == "data"][-1],
        "validation_examples": done["validation_examples"],
        "epochs": done["epochs"],
        "bn": done["plan"]["bn"],
        "choice": (done.get("race") or {}).get("text"),
    }


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    rows = [_row(name, runs) for name, runs in record["cases"].items()]
    columns = ["set", "train / validate / test", "seeds", "head", *(f"{arm}, CPU s" for arm in ARMS), "chosen"]
    return [
        "## BatchNorm statistics in the full phase",
        "",
        "Test accuracy in %, mean of the seeds, and CPU seconds of the phase; MobileNet(0.25) at 96 px, but for the "
        "quickstart. Every arm begins from the same head. Trained is `--bn=full:train`, frozen `--bn=full:frozen` at "
        "a fifth of the rate. By default both begin, validation chooses after a fifth of the epochs, and what the "
        "loser trained is taken off the epochs.",
        "",
        *runner.table(columns, rows),
        "",
        *(_against(arm, list(record["cases"].values())) for arm in ("trained", "frozen")),
    ]


def _against(arm: str, cases: Sequence[Sequence[Mapping]]) -> str:
    """Compares the default with an arm: over the sets, means of the seeds."""

    def mean(runs: Sequence[Mapping], name: str, key: Callable[[Mapping], float]) -> float:
        return statistics.mean(key(run[name]) for run in runs)

    gains, costs = [], []
    for runs in cases:
        accuracy, seconds = (lambda r: 100 * r["test"]["full"]), (lambda r: r["cpu_seconds"])
        gains.append(mean(runs, "by default", accuracy) - mean(runs, arm, accuracy))
        costs.append(mean(runs, "by default", seconds) / mean(runs, arm, seconds))
    gain, gained = statistics.mean(gains), f"{min(gains):+.1f} to {max(gains):+.1f}"
    cost, taken = statistics.mean(costs), f"{min(costs):.2f} to {max(costs):.2f}"
    return (
        f"- By default against {arm}: {gain:+.1f} points in the mean of the sets ({gained}), in {cost:.2f} of the CPU "
        f"seconds ({taken})."
    )


def _row(name: str, runs: Sequence[Mapping]) -> tuple[str, ...]:
    first = runs[0]["trained"]
    sizes = " / ".join(f"{first[key]:,}" for key in ("examples", "validation_examples", "tested"))
    arms = []
    for arm in ARMS:
        accuracy = statistics.mean(run[arm]["test"]["full"] for run in runs)
        arms.append(f"{100 * accuracy:.1f}, {statistics.mean(run[arm]['cpu_seconds'] for run in runs):.0f}")
    head = statistics.mean(run["trained"]["test"]["head"] for run in runs)
    chosen = ", ".join({"train": "trained"}.get(bn := run["by default"]["bn"], bn) for run in runs)
    return name, sizes, f"{len(runs)}", f"{100 * head:.1f}", *arms, chosen


if __name__ == "__main__":
    runner.command(__doc__, measure, render, seeds=(2, "runs of each"))
