"""What data as users bring it does to a run, here and in an earlier checkout: five sets made of the shared flowers.

    [TF_TRANSFER_BEFORE=CHECKOUT] python -m benchmarks.field_sets [--quick] [--json=FILE] [--shared=../shared/data]

Every run is a process of its own, `python run.py`, of this checkout or of the earlier one, by the defaults with
MobileNet(0.25) at 96 px.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import runner

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
_MODEL = ("--backbone=mobilenet(alpha=0.25)", "--weights=imagenet", "--image_size=96")
# Pictures of a class that no set has: what an accuracy is to be held against.
_APART = 60


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: by set, what each checkout says and does."""
    checkouts = {"now": runner.ROOT}
    if before := os.environ.get("TF_TRANSFER_BEFORE"):
        checkouts = {"before": Path(before), **checkouts}
    with tempfile.TemporaryDirectory() as folder:
        sets = {}
        for name, made in list(SETS.items())[: 1 if args.quick else None]:
            sets[name] = {
                when: made(_Runs(checkout, args.shared, Path(folder) / name.replace(" ", "-") / when))
                for when, checkout in checkouts.items()
            }
        return {"sets": sets}


class _Runs:
    """Runs of one checkout in a folder of their own."""

    def __init__(self, checkout: Path, shared: Path, folder: Path):
        self.checkout, self.shared, self.folder = checkout, shared, folder
        self.data, self.run_dir = folder / "data", folder / "run"
        self.data.mkdir(parents=True)

    def pictures(self, of_class: str) -> list[Path]:
        """Returns the pictures of a class, those kept apart first."""
        return sorted((self.shared / "flowers" / of_class).iterdir())

    def copy(self, of_class: str, pictures: Sequence[Path], to: str = "") -> None:
        """Copies pictures into the class's folder below `to`."""
        folder = self.data / to / of_class
        folder.mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            shutil.copy(picture, folder / picture.name)

    def __call__(self, phases: str, *flags: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(self.checkout / "run.py"), f"--phase={phases}", f"--run_dir={self.run_dir}"]
        command += [f"--dataset={self.data}", *_MODEL, "--feature_store=off", *flags]
        environment = os.environ | {"PYTHONPATH": str(self.checkout), "TF_CPP_MIN_LOG_LEVEL": "2"}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=900, check=False
        )

    def records(self, kind: str) -> list[dict]:
        """Returns the run's records of a kind."""
        file = self.run_dir / "records.jsonl"
        found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [r for r in found if r["kind"] == kind]

    def accuracy(self, metric: str = "accuracy") -> dict[str, float]:
        """Returns a measure of the newest evaluation of each model."""
        return {r["model"]: r["metrics"][metric]["value"] for r in self.records("evaluation") if metric in r["metrics"]}

    def told(self, done: subprocess.CompletedProcess) -> str:
        """Returns the refusal of a command, without the place of its files."""
        return done.stderr.strip().splitlines()[-1].replace(f"{self.folder}/", "")[:200]

    def exported(self, done: subprocess.CompletedProcess) -> str:
        """Returns the name of the exported model, as the line of `export` has it."""
        lines = [line for line in done.stdout.splitlines() if line.startswith("export ") and "saved_model" in line]
        line = lines[0] if lines else ""
        return next((name for name in ("full", "head") if f"the {name} model" in line), "none")


def _few(runs: _Runs) -> str:
    """Forty pictures a class: which model leaves the house, and how good it is."""
    for name in CLASSES:
        runs.copy(name, runs.pictures(name)[_APART : _APART + 200 : 5])
    done = runs("head,full,evaluate,export")
    seconds = sum(r["seconds"] for r in runs.records("phase_end"))
    told = ", ".join(f"{model} {100 * value:.1f} %" for model, value in runs.accuracy().items())
    truth = f"{100 * _on_others(runs):.1f} % on other flowers"
    return f"{told}; exported: {runs.exported(done)}, {truth}; {seconds:.0f} s of training"


def _uneven(runs: _Runs) -> str:
    """Daisy and rose, 300 to 12."""
    runs.copy("daisy", runs.pictures("daisy")[:300])
    runs.copy("rose", runs.pictures("rose")[:12])
    done = runs("head,evaluate,report")
    accuracy, balanced = (runs.accuracy(m).get("head") for m in ("accuracy", "balanced_accuracy"))
    guess = "beside the blind guess" if "blind guess" in done.stdout else "no blind guess beside it"
    last = done.stdout.strip().splitlines()[-1]
    headline = "balanced accuracy" if "balanced accuracy" in last else "accuracy"
    more = f", balanced accuracy {100 * balanced:.1f} %" if balanced is not None else ""
    return f"headline: {headline}; accuracy {100 * accuracy:.1f} %{more}; {guess}"


def _bursts(runs: _Runs) -> str:
    """Twelve flowers a class, six nearly equal pictures of each; the truth is measured on other flowers."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0)
    for name in CLASSES:
        (runs.data / name).mkdir(parents=True)
        for number, picture in enumerate(runs.pictures(name)[_APART : _APART + 12]):
            pixels = np.asarray(Image.open(picture).convert("RGB"), np.float32)
            for shot in range(6):
                drawn = np.clip(pixels + noise.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
                Image.fromarray(drawn).save(runs.data / name / f"burst{number:02d}-{shot}.png")
    grouped = "group_by" in (runs.checkout / "tf_transfer/config.py").read_text()
    flags = (r"--group_by=(burst\d+)-",) if grouped else ()
    runs("head,evaluate,export", *flags)
    measured = runs.accuracy().get("head")
    truth = _on_others(runs)
    return f"head {100 * measured:.1f} % on its test split, {100 * truth:.1f} % on other flowers"


def _on_others(runs: _Runs) -> float:
    """Returns the accuracy of the exported model on pictures that no set has."""
    from tf_transfer import serving

    pictures = [(str(p), name) for name in CLASSES for p in runs.pictures(name)[:_APART]]
    with serving.Predictor(runs.run_dir / "saved_model/1") as predictor:
        found = predictor.predict([path for path, _ in pictures])
    return sum(f.label == name for f, (_, name) in zip(found, pictures, strict=True)) / len(pictures)


def _grown(runs: _Runs) -> str:
    """Thirty pictures a class, and thirty more between `head` and `evaluate`."""
    for name in CLASSES:
        runs.copy(name, runs.pictures(name)[:300:10])
    runs("head")
    for name in CLASSES:
        runs.copy(name, runs.pictures(name)[5:300:10])
    done = runs("evaluate")
    if done.returncode:
        return f"evaluate refuses: {runs.told(done)}"
    n = runs.records("test_read")[-1]["n"]
    leaked = re.search(r"(\d+) test pictures also stand among the training", done.stdout)
    count = leaked[1] if leaked else "none"
    return (
        f"head {100 * runs.accuracy()['head']:.1f} % on {n} test pictures, {count} of them trained on or validated with"
    )


def _wrapped(runs: _Runs) -> str:
    """A downloaded archive: `archive/seg_train/seg_train/CLASS`, `archive/seg_test/seg_test/CLASS`, `__MACOSX`."""
    for name in CLASSES:
        runs.copy(name, runs.pictures(name)[_APART : _APART + 20], "archive/seg_train/seg_train")
        runs.copy(name, runs.pictures(name)[:10], "archive/seg_test/seg_test")
    (runs.data / "__MACOSX/archive").mkdir(parents=True)
    (runs.data / "__MACOSX/archive/._x.jpg").write_bytes(b"\x00\x05\x16\x07")
    done = runs("head,evaluate")
    if done.returncode:
        return f"refused: {runs.told(done)}"
    line = next(line for line in done.stdout.splitlines() if line.startswith("data "))
    return f"{line.partition(': ')[2].rpartition(', ')[0]}; head {100 * runs.accuracy()['head']:.1f} %"


SETS = {
    "forty flowers a class": _few,
    "daisy and rose, 300 to 12": _uneven,
    "bursts of nearly equal pictures": _bursts,
    "a folder that grows": _grown,
    "an archive as downloaded": _wrapped,
}


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    columns = list(next(iter(record["sets"].values())))
    rows = [(name, *(found[c] for c in columns)) for name, found in record["sets"].items()]
    return [
        "## Data as users bring it",
        "",
        "Five sets made of the flowers, one run each by the defaults with MobileNet(0.25) at 96 px; `before` is the "
        "package before it looked at any of this.",
        "",
        *runner.table(("set", *columns), rows),
    ]


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
