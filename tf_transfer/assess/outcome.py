"""Blocks C and D: accuracy and cost of each kind of training, beside its controls, and by the number of labels."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_transfer.assess.plan import WHOLE, Trial
from tf_transfer.assess.study import Study
from tf_transfer.evaluation import comparison, curve, metrics, selection
from tf_transfer.evaluation.statistics import bootstrap_interval
from tf_transfer.machine.timing import timed
from tf_transfer.phases.catalogue import FULL, HEAD, SCRATCH

KINDS = (HEAD, *WHOLE)
_METRICS = {"nll": metrics.nll, "macro_f1": metrics.macro_f1}
# Timed calls of a latency, calls before them, and the fewest timed ones where no time is left.
_CALLS, _WARM, _FEW_CALLS = 20, 3, 5
# Accuracies; the page shows how many labels each of them needs.
_GOALS = (0.7, 0.8, 0.9, 0.95)


def blind(study: Study, split: str | None = None) -> np.ndarray:
    """Returns bool `[N]`: whether the most frequent class of the training labels is the label."""
    most = np.bincount(study.data.train.labels).argmax()
    return study.measured[split or study.split].labels == most


def measure(study: Study) -> dict:
    """Measures block C: every kind of training on the most labels, and each pair compared."""
    names, labels = study.data.class_names, study.measured[study.split].labels
    found: dict[str, dict] = {"blind guess": {"accuracy": {study.split: comparison.accuracy_interval(blind(study))}}}
    for kind in KINDS:
        correct = study.correct(kind, study.top)
        if correct is None:
            continue
        first = study.logits[Trial(kind, study.top, study.seed)][study.split]
        worst = comparison.worst_class(correct[0], labels)
        found[kind] = {
            "accuracy": {split: _accuracy(study, kind, split, study.top) for split in study.measured},
            **{name: _measured(metric, first, labels) for name, metric in _METRICS.items()},
            "worst_class": worst | {"name": names[worst["class"]]},
            "per_class": _per_class(correct[0], labels, len(names)),
            "cost": study.ran[Trial(kind, study.top, study.seed)].cost,
        }
    firsts = {k: study.correct(k, study.top)[0] for k in found if k != "blind guess"} | {"blind guess": blind(study)}
    return {
        "split": study.split,
        "labels": study.labels_per_class(study.top),
        "scale": study.scale,
        "all": study.top is None,
        "kinds": found,
        "class_names": list(names),
        "differences": _differences(study),
        "pairs": comparison.pairwise(firsts),
    }


def _differences(study: Study) -> dict:
    """Gains in accuracy of full over the head and over scratch, over all seeds."""
    full, found = study.correct(FULL, study.top), {}
    for other in (HEAD, SCRATCH):
        if full is not None and (correct := study.correct(other, study.top)) is not None:
            found[f"full - {other}"] = comparison.accuracy_difference(full, correct)
    return found


def _accuracy(study: Study, kind: str, split: str, point: int | None) -> dict | None:
    correct = study.correct(kind, point, split)
    return None if correct is None else comparison.accuracy_interval(correct)


def _measured(metric: Callable, logits: np.ndarray, labels: np.ndarray) -> dict:
    low, high = bootstrap_interval(metric, logits, labels, weighted=True)
    return {"value": float(metric(logits, labels)), "low": low, "high": high, "n": len(labels)}


def _per_class(correct: np.ndarray, labels: np.ndarray, classes: int) -> list[dict | None]:
    parts = [correct[labels == c] for c in range(classes)]
    return [comparison.accuracy_interval(part) if len(part) else None for part in parts]


def preferred(study: Study) -> str | None:
    """Returns `head` or `full`, whichever `selection.chosen` takes on the most labels; None where one is missing.

    Of several seeds, each validation example counts with the share of them that are right on it.
    """
    found = {kind: study.correct(kind, study.top, "validation") for kind in (HEAD, FULL)}
    known = {kind: c.mean(0) for kind, c in found.items() if c is not None}
    return selection.chosen(known) if len(known) == 2 else None


def best(study: Study) -> str:
    """Returns the kind that is assessed further: what validation prefers, else full where it was trained, else head."""
    return preferred(study) or (FULL if study.correct(FULL, study.top) is not None else HEAD)


def gain(study: Study) -> dict:
    """Measures block D: accuracy by labels, the gain of transfer, and the gain of more labels."""
    kinds = (HEAD, FULL, SCRATCH)
    x = [study.labels_per_class(p) for p in study.points]
    curves = {kind: [_accuracy(study, kind, study.split, p) for p in study.points] for kind in kinds}
    found = {"split": study.split, "labels": x, "curves": curves, "gain": [_gained(study, p) for p in study.points]}
    found["kind"], found["forecast"] = best(study), _law(study, x)
    reached = {kind: [(k, e) for k, e in zip(x, curves[kind], strict=True) if e] for kind in kinds}
    goals: dict[str, float] = {f"{goal:.0%}": goal for goal in _GOALS}
    if curves[SCRATCH][-1]:
        goals["what scratch reaches with all of these labels"] = curves[SCRATCH][-1]["value"]
    found["needed"] = [
        {"goal": name, "accuracy": goal} | {kind: _needed(points, goal) for kind, points in reached.items()}
        for name, goal in goals.items()
    ]
    return found


def _law(study: Study, labels: Sequence[float]) -> dict | None:
    """Fits the curve of the best kind; `seeds` is the smallest number of one budget that draws its labels."""
    kind = best(study)
    there = [(k, p, study.correct(kind, p)) for k, p in zip(labels, study.points, strict=True)]
    there = [(k, p, c) for k, p, c in there if c is not None]
    found = curve.label_budget([k for k, _, _ in there], [c for _, _, c in there], study.seed)
    if found:
        # A head on all labels is solved: its seed decides nothing.
        drawn = [len(c) for k, p, c in there if k in found["fitted"] and not (kind == HEAD and p is None)]
        found["seeds"] = min(drawn)
    return found


def _needed(points: Sequence[tuple[float, Mapping]], goal: float) -> dict:
    """Labels at which a curve reaches a goal, with the labels at which the ends of its intervals do."""
    labels = [x for x, _ in points]
    if len(labels) < 2:
        # One point is no curve.
        return {"value": None, "low": None, "high": None}

    def reached(end: str) -> float | None:
        return curve.labels_to_reach(labels, [e[end] for _, e in points], goal)

    return {"value": reached("value"), "low": reached("high"), "high": reached("low")}


def _gained(study: Study, point: int | None) -> dict | None:
    """Gain in accuracy over scratch on a label budget, of the kind that validation prefers on the most labels."""
    kind, scratch = best(study), study.correct(SCRATCH, point)
    if (transferred := study.correct(kind, point)) is None:
        kind, transferred = HEAD, study.correct(HEAD, point)
    if scratch is None or transferred is None:
        return None
    difference = comparison.accuracy_difference(transferred, scratch)
    return difference | {"kind": kind, "negative": difference["high"] < 0}


def latency(study: Study, kind: str) -> dict:
    """Returns the median seconds that a model takes for 1 example and for 32, and its quartiles."""
    classifier = study.scorer().load(study.ran[Trial(kind, study.top, study.seed)])
    example = study.data.train.inputs[:1]
    run = tf.function(classifier.logits, autograph=False)
    found = {}
    for size in (1, 32):
        batch = tf.constant(np.repeat(example, size, axis=0))
        seconds = _seconds(study, lambda batch=batch: run(batch).numpy())
        low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75])
        found[str(size)] = {"value": float(middle), "low": float(low), "high": float(high), "n": len(seconds)}
    return found


def _seconds(study: Study, call: Callable[[], object]) -> list[float]:
    seconds = timed(call, _WARM, _FEW_CALLS)
    while len(seconds) < _CALLS and study.clock.left() > 0:
        seconds += timed(call)
    return seconds
