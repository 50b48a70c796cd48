"""What `--class_weights` changes on five uneven sets: balanced accuracy of a head on even test pictures.

    python -m benchmarks.class_weights [--quick] [--seeds=3] [--json=FILE] [--shared=../shared/data]

The sets are drawn from the shared data: class k of C keeps n * r^(-k / (C - 1)) training pictures, r being how many
times as frequent the first class is as the last one. MobileNet(0.25) at 96 px, ImageNet weights, the head phase.
"""

import argparse
import csv
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks import runner

MODES = ("none", "balanced", "adjusted")
# By set: the folder of the shared data, its classes (none: all), n, r and how many test pictures of a class.
SETS = {
    "daisy and rose": ("flowers", ("daisy", "rose"), 300, 25, 400),
    "flowers": ("flowers", (), 500, 20, 100),
    "USPS": ("usps", (), 500, 50, 100),
    "MNIST-M": ("mnist_m", (), 800, 50, 200),
    "CIFAR-10": ("cifar10", (), 1000, 50, 80),
}
_MODEL = {"backbone": "mobilenet(alpha=0.25)", "input_size": 96, "weights": "imagenet"}


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: by set and mode, for each seed, balanced accuracy and the recall of the rarest class."""
    names, seeds = (list(SETS)[:1], 1) if args.quick else (list(SETS), args.seeds)
    with tempfile.TemporaryDirectory() as folder:
        return {"sets": {name: _measured(name, args.shared, Path(folder), seeds) for name in names}}


def _measured(name: str, shared: Path, work: Path, seeds: int) -> dict:
    from tf_transfer import api

    listed, root, counts = _listed(name, shared, work / name.replace(" ", "-"))
    found: dict[str, dict] = {mode: {"balanced": [], "rarest": []} for mode in MODES}
    for seed in range(seeds):
        for mode in MODES:
            options = {"seed": seed, "class_weights": mode, "feature_store": str(work / "features"), **_MODEL}
            result = api.fine_tune(
                f"csv(path={listed}, root={root})",
                phases=["head", "evaluate"],
                run_dir=f"{listed.parent}-{mode}-{seed}",
                quiet=True,
                **options,
            )
            metrics = result.metrics["head"]
            found[mode]["balanced"].append(metrics["balanced_accuracy"]["value"])
            found[mode]["rarest"].append(metrics["per_class"][-1]["recall"])
    return {"counts": counts, "modes": found}


def _listed(name: str, shared: Path, folder: Path) -> tuple[Path, Path, list[int]]:
    """Writes the CSV list of a set; returns it, the root of its paths and the training pictures of each class."""
    where, chosen, n, ratio, test = SETS[name]
    folder.mkdir()
    root = folder if where == "cifar10" else shared / where
    pictures = _cifar10(shared, folder, n, test) if where == "cifar10" else _found(shared / where, n, test)
    pictures = {label: parts for label, parts in pictures.items() if not chosen or label in chosen}
    last = len(pictures) - 1
    rows, counts = [], []
    for k, (label, (train, held)) in enumerate(sorted(pictures.items())):
        counts.append(min(len(train), round(n * ratio ** (-k / last))))
        rows += [(path, label, "train") for path in train[: counts[-1]]]
        rows += [(path, label, "test") for path in held]
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return folder / "list.csv", root, counts


def _found(folder: Path, n: int, test: int) -> dict[str, tuple[list, list]]:
    """Returns paths of training and test pictures by class, of a folder with or without a test split."""
    import numpy as np

    found = {}
    split = (folder / "test").is_dir()
    for of_class in sorted((folder / "train" if split else folder).iterdir()):
        paths = [str(p) for p in sorted(of_class.iterdir())]
        order = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))]
        held = [str(p) for p in sorted((folder / "test" / of_class.name).iterdir())] if split else order[:test]
        found[of_class.name] = ((order if split else order[test:])[:n], held[:test])
    return found


def _cifar10(shared: Path, folder: Path, n: int, test: int) -> dict[str, tuple[list, list]]:
    """Writes pictures of CIFAR-10 as files; returns their paths as `_found` does."""
    import numpy as np
    from PIL import Image

    from tf_transfer.data.sources import open_source
    from tf_transfer.modalities import base

    source = open_source("cifar10", base.find("image"), str(shared / "tfds"), 0)
    found: dict[str, tuple[list, list]] = {name: ([], []) for name in source.class_names}
    for part, (split, most) in enumerate((("train", n), ("test", test))):
        labels = source.labels(split)
        rows = np.concatenate([np.flatnonzero(labels == c)[:most] for c in range(len(source.class_names))])
        for row, pixels in zip(rows, source.load(split, rows, 32).inputs, strict=True):
            path = folder / f"{split}-{row}.png"
            Image.fromarray(pixels).save(path)
            found[source.class_names[labels[row]]][part].append(str(path))
    return found


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    rows = []
    for name, found in record["sets"].items():
        for mode, each in found["modes"].items():
            counts = f"{max(found['counts']):,} to {min(found['counts'])}"
            means = [f"{100 * statistics.mean(each[key]):.1f}" for key in ("balanced", "rarest")]
            spread = f" ({100 * min(each['balanced']):.1f} to {100 * max(each['balanced']):.1f})"
            rows.append((name, counts, f"`{mode}`", means[0] + spread, *means[1:]))
    header = ("set", "pictures a class", "`--class_weights`", "balanced accuracy", "recall of the rarest class")
    seeds = max(len(each["balanced"]) for found in record["sets"].values() for each in found["modes"].values())
    return [
        "## Uneven classes: `--class_weights`",
        "",
        "Five sets whose classes were made uneven, tested on as many pictures of each class. MobileNet(0.25) at 96 px, "
        f"the head phase; per cent, mean of {seeds} seeds, with the range.",
        "",
        *runner.table(header, rows),
        "",
        *_verdicts(record["sets"]),
    ]


def _verdicts(sets: Mapping) -> list[str]:
    """Returns a line on each mode: on how many sets it raises the balanced accuracy."""
    lines = []
    for mode in MODES[1:]:
        gains = [
            statistics.mean(found["modes"][mode]["balanced"]) - statistics.mean(found["modes"]["none"]["balanced"])
            for found in sets.values()
        ]
        lines.append(
            f"- `{mode}` against `none`: {100 * statistics.mean(gains):+.1f} points of balanced accuracy in the mean, "
            f"better on {sum(g > 0 for g in gains)} of {len(gains)} sets."
        )
    return lines


if __name__ == "__main__":
    runner.command(__doc__, measure, render, seeds=(3, "seeds of each set"))
