"""Which model is exported, the head or the whole network: rules compared by the accuracy they lose on test pictures.

    python -m benchmarks.selection [--quick] [--seeds=2] [--json=FILE] [--shared=../shared/data]

Trains the head and the whole network on few labels of five data sets and measures both on test pictures, which no rule
sees; by the defaults, and on one budget also with ten times the default rate, as fine-tuning that goes wrong. A rule is
shown validation alone; its regret is the better model's test accuracy less that of its choice.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import runner
from tf_transfer.evaluation.selection import FEW

BUDGETS = (5, 10, 40, 100)
# The budget on which the network trains with this rate too, ten times the default.
_WRONG, _RATE = 40, 0.3
_COLUMNS = ("data", "labels a class", "rate", "runs", "validation examples", "validation, head", "full", "test, head",
            "full")  # fmt: skip
_MOBILENET = {"backbone": "mobilenet(alpha=0.25)", "input_size": 96}


def cases(shared: Path, work: Path) -> dict[str, dict]:
    """Returns the options of each data set's runs by its name."""
    folders = ("flowers", "usps", "mnist_m")
    found = {name: {"dataset": f"folder(path={shared / name})", **_MOBILENET} for name in folders}
    found["cifar10"] = {"dataset": "cifar10", "data_dir": str(shared / "tfds"), **_MOBILENET}
    found["digits"] = {"dataset": "digits", "backbone": "small_resnet", "weights": str(work / "source")}
    return found


def measure(args: argparse.Namespace) -> dict:
    """Returns the record: what each run's two models have on validation and on test."""
    with tempfile.TemporaryDirectory() as folder:
        return {"runs": list(runs(args.shared, Path(folder), args.seeds, args.quick))}


def runs(shared: Path, work: Path, seeds: int, quick: bool = False) -> Iterator[dict]:
    """Trains and measures every run, one after the other in this process."""
    from tf_transfer import api

    source = {"source_dataset": "rendered_digits", "epochs": {"source": 1 if quick else 6}, "backbone": "small_resnet"}
    api.fine_tune("digits", phases=["source"], run_dir=str(work / "source"), quiet=True, weights="source", **source)
    found = cases(shared, work)
    budgets = [(labels, None) for labels in BUDGETS] + [(_WRONG, _RATE)]
    for name, labels, rate in [("digits", 5, None)] if quick else [(name, *b) for b in budgets for name in found]:
        for seed in range(seeds):
            folder = work / f"{name}-{labels}-{seed}{'-fast' if rate else ''}"
            options = {"examples_per_class": labels, "seed": seed, "feature_store": str(work / "features")}
            options |= {"learning_rate": {"full": rate}} if rate else {}
            api.fine_tune(
                phases=["head", "full", "evaluate"], run_dir=str(folder), quiet=True, **found[name], **options
            )
            yield {"data": name, "labels": labels, "rate": rate, "seed": seed, **read(folder)}


def read(folder: Path) -> dict:
    """Returns validation and test accuracies of a run's two models, and how surely validation tells them apart."""
    import numpy as np

    from tf_transfer.evaluation import classification, right, selection

    each = {}
    for phase in ("head", "full"):
        with np.load(folder / phase / "validation.npz") as kept:
            each[phase] = dict(kept)
    with np.load(folder / "evaluate/predictions.npz") as kept:
        test = {phase: float(right(kept[phase], kept["labels"]).mean()) for phase in each}
    n = len(each["head"]["right"])
    gained = each["head"]["loss"].astype(float) - each["full"]["loss"]
    accuracy = {phase: float(found["right"].mean()) for phase, found in each.items()}
    return {
        "n": n,
        "test": test,
        "accuracy": accuracy,
        "loss": {phase: float(found["loss"].mean()) for phase, found in each.items()},
        "error": {
            "accuracy": selection.lead(each["full"]["right"], each["head"]["right"]).standard_error,
            "accuracy, its own": classification.standard_error(max(accuracy.values()), n),
            "loss": float(gained.std(ddof=1) / np.sqrt(n)),
        },
    }


def _lead(run: Mapping, measure: str) -> float:
    """Returns how much better full validates than the head."""
    sign = -1 if measure == "loss" else 1
    return sign * (run[measure]["full"] - run[measure]["head"])


def _last(run: Mapping) -> str:
    return "full"


def _best(measure: str) -> Callable[[Mapping], str]:
    return lambda run: "full" if _lead(run, measure) > 0 else "head"


def _simpler(measure: str, error: str) -> Callable[[Mapping], str]:
    return lambda run: "full" if _lead(run, measure) > run["error"][error] else "head"


def _unless(measure: str, error: str) -> Callable[[Mapping], str]:
    return lambda run: "head" if _lead(run, measure) < -run["error"][error] else "full"


def _above(few: int, many: Callable[[Mapping], str], otherwise: Callable[[Mapping], str]) -> Callable[[Mapping], str]:
    return lambda run: many(run) if run["n"] >= few else otherwise(run)


PAIRED = _simpler("accuracy", "accuracy")
IN_USE = _above(FEW, PAIRED, _unless("accuracy", "accuracy"))
RULES: dict[str, Callable[[Mapping], str]] = {
    "always the last phase": _last,
    "always the head": lambda run: "head",
    "the higher accuracy": _best("accuracy"),
    "the lower log loss": _best("loss"),
    "one standard error of the accuracy itself": _simpler("accuracy", "accuracy, its own"),
    "one standard error of the paired accuracies": PAIRED,
    "one standard error of the paired log losses": _simpler("loss", "loss"),
    "the last phase, unless worse by one standard error of the paired accuracies": _unless("accuracy", "accuracy"),
    f"paired accuracies from {FEW} examples on, else the last phase": _above(FEW, PAIRED, _last),
    f"the same, but below {FEW} the head where it is better by one standard error (in use)": IN_USE,
}


def regret(runs: Sequence[Mapping], rule: Callable[[Mapping], str]) -> float:
    """Returns the mean test accuracy that a rule's choices lose on the better model of each run, in [0, 1]."""
    return statistics.mean(max(run["test"].values()) - run["test"][rule(run)] for run in runs)


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    found = record["runs"]
    many = [r for r in found if r["n"] >= FEW]
    plain, wrong = ([r for r in found if bool(r["rate"]) is w] for w in (False, True))
    parts = {"all runs": found, f"{FEW} examples or more": many, "fewer": [r for r in found if r["n"] < FEW]}
    parts |= {"default rate": plain, "ten times the rate": wrong}
    parts = {name: part for name, part in parts.items() if part}
    rows = [
        (
            name,
            *(f"{100 * regret(part, rule):.2f}" for part in parts.values()),
            f"{_heads(found, rule)} of {len(found)}",
        )
        for name, rule in RULES.items()
    ]
    header = ("rule", *(f"{name} ({len(part)})" for name, part in parts.items()), "takes the head")
    sets, labels = (list(dict.fromkeys(str(r[key]) for r in found)) for key in ("data", "labels"))
    better = sum(r["test"]["head"] > r["test"]["full"] for r in found)
    return [
        "## Which model is exported, the head or the whole network",
        "",
        f"{len(found)} runs on {', '.join(sets)} with {', '.join(labels)} labels a class, of which a tenth validates. "
        f"On test pictures the head is the better one in {better} of them. Regret is the test accuracy of the better "
        "model less that of the model that a rule takes by validation alone, in points, mean; in columns by the number "
        "of validation examples, and by the rate.",
        "",
        *runner.table(header, rows),
        "",
        *_reading(parts.get(f"{FEW} examples or more", []), wrong),
        *runner.table(_COLUMNS, _rows(found)),
    ]


def _reading(many: Sequence[Mapping], wrong: Sequence[Mapping]) -> list[str]:
    """Returns what the rule in use costs and saves against always taking the last phase."""
    lines = []
    if many:
        cost = 100 * (regret(many, IN_USE) - regret(many, _last))
        lines.append(
            f"- The price of preferring the simpler model within a standard error, from {FEW} examples on: {cost:+.2f} "
            "points of regret against the last phase."
        )
    if wrong:
        saved = 100 * (regret(wrong, _last) - regret(wrong, IN_USE))
        lines.append(f"- What the rule in use saves where the rate is ten times the default: {saved:.2f} points.")
    return [*lines, ""] if lines else []


def _heads(found: Sequence[Mapping], rule: Callable[[Mapping], str]) -> int:
    return sum(rule(run) == "head" for run in found)


def _rows(found: Sequence[Mapping]) -> Iterator[Sequence[str]]:
    """Yields a row a data set, budget and rate, means over the seeds."""
    for key in dict.fromkeys((r["data"], r["labels"], r["rate"]) for r in found):
        part = [r for r in found if (r["data"], r["labels"], r["rate"]) == key]
        means = [statistics.mean(r[m][p] for r in part) for m in ("accuracy", "test") for p in ("head", "full")]
        rate = f"{key[2]}" if key[2] else "default"
        yield (key[0], str(key[1]), rate, str(len(part)), str(part[0]["n"]), *(f"{100 * value:.1f}" for value in means))


if __name__ == "__main__":
    runner.command(__doc__, measure, render, seeds=(2, "seeds of each budget"))
