"""Block E: the models under the corruptions of the modality, and on the user's own shifted sets."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tf_transfer.assess.plan import Trial
from tf_transfer.assess.study import Study
from tf_transfer.data.splits import Split
from tf_transfer.errors import UserError, one_line
from tf_transfer.evaluation import comparison, right, shift
from tf_transfer.machine.timing import timed
from tf_transfer.modalities.base import Modality
from tf_transfer.phases.catalogue import HEAD, SCRATCH, SOURCE
from tf_transfer.registry import split_list
from tf_transfer.session.session import Session

# Largest and smallest number of examples that are corrupted, and the share of the remaining time for it.
_MOST, _LEAST, _SHARE = 1000, 30, 0.5
# Key of the logits on uncorrupted examples, and names with a meaning of their own on the page.
CLEAN = "clean"
_TAKEN = ("test", "validation", SOURCE, "corrupted", "within the target")
# Errors are told relative to the first of these kinds that was trained.
_REFERENCES = (SCRATCH, HEAD)


def parse(text: str | None) -> dict[str, str]:
    """Parses `--shifted`, a list of `name:spec`, to specs of data sets by name.

    Raises:
        UserError: a part without a name, or a name given twice.
    """
    found: dict[str, str] = {}
    for part in split_list(text or ""):
        name, colon, spec = (p.strip() for p in part.partition(":"))
        if not (name and colon and spec) or name in found or name in _TAKEN:
            raise UserError(
                f"--shifted={one_line(text)!r}: expected name:spec,... with each name once, such as "
                f"phone:folder(path=/data/phone), got {one_line(part)!r}."
            )
        found[name] = spec
    return found


def load(session: Session, specs: Mapping[str, str], class_names: tuple[str, ...]) -> dict[str, Split]:
    """Reads the user's shifted sets: the test split of each, or all of it where it brings none.

    Raises:
        UserError: a set whose classes are not the target's.
    """
    found = {}
    for name, spec in specs.items():
        try:
            source = session.datasets.open(spec)
        except UserError as e:
            raise UserError(f"--shifted={one_line(name)}: {e}") from e
        if tuple(source.class_names) != class_names:
            differ = sorted(set(source.class_names) ^ set(class_names)) or ["their order"]
            raise UserError(
                f"--shifted={one_line(name)}:{one_line(spec)}: its classes are not those of the target; what differs: "
                f"{one_line(', '.join(differ))}."
            )
        # A test split that was carved out of the set is as much of it as the rest.
        whole = "test" not in source.splits or "splits" in source.notes
        parts = [source.load(s, None, session.input_size) for s in (source.splits if whole else ("test",))]
        found[name] = _joined(parts, session.modality, session.input_size)
    return found


def _joined(parts: Sequence[Split], modality: Modality, size: int) -> Split:
    """Joins splits; examples of several sizes are resized to that of the network."""
    inputs = [p.inputs for p in parts]
    if len({x.shape[1:] for x in inputs}) > 1:
        inputs = [modality.resized(x, size) for x in inputs]
    names = [name for p in parts for name in p.names]
    return Split(np.concatenate(inputs), np.concatenate([p.labels for p in parts]), names)


def measure(study: Study, kinds: list[str], shifted: Mapping[str, Split]) -> tuple[dict, dict, dict]:
    """Measures block E.

    Returns:
        The block; the logits behind it by kind and by set; and the labels by set. A set is (corruption, severity),
        ("sets", name) or (CLEAN, 0).
    """
    logits: dict[str, dict] = {kind: {} for kind in kinds}
    labels: dict[tuple, np.ndarray] = {("sets", name): split.labels for name, split in shifted.items()}
    found: dict = {"kinds": kinds, "sets": {}, "corruptions": None}
    trials = {kind: study.ran[Trial(kind, study.top, study.seed)] for kind in kinds}
    for name, split in shifted.items():
        for kind in kinds:
            logits[kind]["sets", name] = study.scorer().logits(trials[kind], split, keep=True)
        told = {k: comparison.accuracy_interval(right(logits[k]["sets", name], split.labels)) for k in kinds}
        found["sets"][name] = {"accuracy": told, "n": len(split)}
    modality = study.session.modality
    clean = _clean_split(study, kinds) if modality.corruptions else None
    if clean is None:
        return found, logits, labels
    names, severities = modality.corruptions, modality.severities
    accuracy = {kind: np.zeros((len(names), len(severities))) for kind in kinds}
    for i, name in enumerate(names):
        changed = np.concatenate([modality.corrupt(clean.inputs, name, s, study.seed) for s in severities])
        split = Split(changed, np.tile(clean.labels, len(severities)), list(clean.names) * len(severities))
        for kind in kinds:
            found_logits = np.split(study.scorer().logits(trials[kind], split), len(severities))
            for j, (severity, values) in enumerate(zip(severities, found_logits, strict=True)):
                logits[kind][name, severity] = values
                accuracy[kind][i, j] = right(values, clean.labels).mean()
    for kind in kinds:
        logits[kind][CLEAN, 0] = study.scorer().logits(trials[kind], clean)
    labels |= dict.fromkeys(((CLEAN, 0), *itertools.product(names, severities)), clean.labels)
    found["corruptions"] = {"names": list(names), "severities": list(severities)}
    found["corruptions"] |= _corruptions(accuracy, logits, clean)
    return found, logits, labels


def _clean_split(study: Study, kinds: list[str]) -> Split | None:
    """Draws the examples to corrupt, as many as the time allows; None where that is too few."""
    modality, many = study.session.modality, study.session.modality.many
    split = corruptible(study.measured[study.split], modality, study.session.input_size)
    each = seconds(modality, split.inputs, len(kinds) * study.pools[None].seconds, study.clock.now)
    count = affordable(each, study.clock.left(), len(split))
    if count < min(_LEAST, len(split)):
        needed = each * _LEAST
        study.clock.leave_out("corruptions", f"they would take about {needed:.0f} s on {_LEAST} {many}")
        return None
    if count < len(split):
        study.clock.say(f"corruptions of {count} of the {len(split):,} {study.split} {many}")
    else:
        study.clock.say(f"corruptions of the {len(split):,} {study.split} {many}")
    rows = np.sort(np.random.default_rng(study.seed).permutation(len(split))[:count])
    return split.take(rows)


def seconds(
    modality: Modality, inputs: np.ndarray, predicting: float, now: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of an example under all corruptions at all severities, timed on a few; 0 where there are none.

    Args:
        modality: of the examples.
        inputs: stored examples `[N, ...]` that `corrupt` takes.
        predicting: seconds of an example in all models.
        now: reads the clock.
    """
    names, severities = modality.corruptions, modality.severities
    if not names:
        return 0.0
    some, middle = inputs[:32], severities[len(severities) // 2]
    (taken,) = timed(lambda: [modality.corrupt(some, name, middle) for name in names], now=now)
    each = taken / len(some) / len(names)
    return (each + predicting) * len(names) * len(severities)


def most(
    modality: Modality, inputs: np.ndarray, predicting: float, now: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds that must be left for the largest number of examples to be corrupted; arguments as for `seconds`."""
    return seconds(modality, inputs, predicting, now) * _MOST / _SHARE


def affordable(each: float, left: float, there: int) -> int:
    """Number of the `there` examples that can be corrupted in half of the remaining time."""
    return int(max(0, min(_MOST, there, _SHARE * left / each))) if each else 0


def corruptible(split: Split, modality: Modality, size: int) -> Split:
    """Returns a split whose examples `Modality.corrupt` takes."""
    inputs = modality.corruptible(split.inputs, size)
    return split if inputs is split.inputs else Split(inputs, split.labels, split.names)


def _corruptions(accuracy: Mapping[str, np.ndarray], logits: Mapping, split: Split) -> dict:
    reference = next((k for k in _REFERENCES if k in accuracy), None)
    clean = {k: float(right(v[CLEAN, 0], split.labels).mean()) for k, v in logits.items()}
    correct = {kind: _right(logits[kind], split, table.shape) for kind, table in accuracy.items()}
    found = {"n": len(split), "reference": reference, "kinds": {}}
    for kind, table in accuracy.items():
        # Examples are a sample; the corruptions are all that are known.
        told = _interval(lambda rows: rows.mean(), correct[kind].mean((0, 1)))
        found["kinds"][kind] = {
            "accuracy": table.tolist(),
            "clean": clean[kind],
            "clean_accuracy": comparison.accuracy_interval(_clean(logits[kind], split) > 0),
            "mean": told,
            "cells": _cells(correct[kind]),
            "relative_robustness": _interval(_kept, np.moveaxis(correct[kind], -1, 0), _clean(logits[kind], split)),
        }
        if reference and kind != reference:
            base = accuracy[reference]
            found["kinds"][kind] |= {
                "corruption_error": shift.corruption_error(table, base).tolist(),
                "mce": _interval(_mce, np.moveaxis(correct[kind], -1, 0), np.moveaxis(correct[reference], -1, 0)),
                "relative_mce": _interval(
                    _relative_mce,
                    np.moveaxis(correct[kind], -1, 0),
                    _clean(logits[kind], split),
                    np.moveaxis(correct[reference], -1, 0),
                    _clean(logits[reference], split),
                ),
            }
    return found


def corrupted(logits: Mapping) -> list[np.ndarray]:
    """Returns the logits of a model under each corruption and severity, in their order."""
    return [values for (name, _), values in logits.items() if name not in ("sets", CLEAN)]


def _right(logits: Mapping, split: Split, shape: tuple[int, int]) -> np.ndarray:
    """Returns `[K, S, N]`: whether each example is right under each of K corruptions and S severities."""
    found = [right(v, split.labels) for v in corrupted(logits)]
    return np.reshape(found, (*shape, -1)).astype(float)


def _clean(logits: Mapping, split: Split) -> np.ndarray:
    return right(logits[CLEAN, 0], split.labels).astype(float)


def _cells(correct: np.ndarray) -> list[list[dict]]:
    """Returns the accuracy of each corruption and severity with its interval."""
    return [[comparison.accuracy_interval(cell.astype(bool)) for cell in row] for row in correct]


def _kept(correct: np.ndarray, clean: np.ndarray) -> float:
    return shift.relative_robustness(correct.mean(0), clean.mean())


def _mce(ours: np.ndarray, theirs: np.ndarray) -> float:
    return _mean(shift.corruption_error(ours.mean(0), theirs.mean(0)))


def _relative_mce(ours: np.ndarray, clean: np.ndarray, theirs: np.ndarray, theirs_clean: np.ndarray) -> float:
    return _mean(shift.relative_corruption_error(ours.mean(0), clean.mean(), theirs.mean(0), theirs_clean.mean()))


def _mean(values: np.ndarray) -> float:
    """Mean of the finite values."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _interval(statistic: Callable, *values: np.ndarray) -> dict | None:
    """Returns a statistic of examples with its bootstrap interval; None where it is not finite."""
    value = float(statistic(*values))
    if not np.isfinite(value):
        return None
    resampled = np.random.default_rng(0).integers(0, len(values[0]), (500, len(values[0])))
    found = [statistic(*(v[rows] for v in values)) for rows in resampled]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return {"value": value, "low": float(min(low, value)), "high": float(max(high, value)), "n": len(values[0])}
