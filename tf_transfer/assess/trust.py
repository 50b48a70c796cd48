"""Block F: whether the chosen model knows what it does not know, on clean and on shifted pictures."""

from collections.abc import Mapping

import numpy as np

from tf_transfer.assess.plan import Trial
from tf_transfer.assess.shift import CLEAN, corrupted
from tf_transfer.assess.study import Study
from tf_transfer.data.splits import Split
from tf_transfer.evaluation import calibration, metrics, right
from tf_transfer.evaluation.statistics import bootstrap_interval, wilson_interval

# Validation pictures of which a temperature is fitted.
_FEWEST = 20
_PROPER = {"nll": metrics.nll, "brier": metrics.brier}
_CALIBRATION = {"ece": metrics.ece, "adaptive_ece": calibration.adaptive_ece}


def measure(study: Study, kind: str, shifted: Mapping[str, Split], logits: Mapping) -> dict:
    """Returns block F for the model of a kind.

    Args:
        study: what was trained and predicted.
        kind: of the model.
        shifted: the user's sets.
        logits: of the model on shifted sets and corruptions, as `shift.measure` gives them.
    """
    trial = Trial(kind, study.top, study.seed)
    known, split = study.logits[trial], study.split
    found: dict = {"kind": kind, "split": split, "temperature": None, "sets": {}}
    labelled = {split: (known[split], study.measured[split].labels)}
    labelled |= {name: (logits["sets", name], s.labels) for name, s in shifted.items()}
    if (pooled := _pooled(study, logits)) is not None:
        labelled["corrupted"] = pooled
    if split != "validation" and len(study.measured.get("validation", ())) >= _FEWEST:
        held = study.measured["validation"].labels
        found["validation"] = len(held)
        found["temperature"] = calibration.temperature(known["validation"], held)
        found["temperature_interval"] = bootstrap_interval(
            calibration.temperature, known["validation"], held, n_resamples=200
        )
    else:
        study.clock.leave_out(
            "temperature", f"fewer than {_FEWEST} validation pictures beside those that tell the outcome"
        )
    for name, (values, labels) in labelled.items():
        scaled = values / found["temperature"] if found["temperature"] else None
        found["sets"][name] = {"n": len(labels), "before": _scores(values, labels)} | (
            {"after": _scores(scaled, labels)} if scaled is not None else {}
        )
    found["estimates"] = _estimates(study, trial, shifted, logits) if found["temperature"] else []
    if found["estimates"]:
        off = np.array([abs(e["estimate"] - e["accuracy"]) for e in found["estimates"]])
        low, high = bootstrap_interval(np.mean, off)
        found["estimate_error"] = {"value": float(off.mean()), "low": low, "high": high, "n": len(off)}
    return found


def _scores(logits: np.ndarray, labels: np.ndarray) -> dict:
    found: dict = {}
    for name, metric in _PROPER.items():
        low, high = bootstrap_interval(metric, logits, labels, weighted=True)
        found[name] = {"value": float(metric(logits, labels)), "low": low, "high": high}
    found |= {name: calibration.calibration_interval(m, logits, labels) for name, m in _CALIBRATION.items()}
    bins = metrics.reliability_bins(logits, labels)
    told: dict[str, list] = {k: [None if x != x else x for x in v.tolist()] for k, v in bins.items()}
    told["interval"] = [
        wilson_interval(round(share * n), int(n)) if n else None
        for share, n in zip(bins["accuracy"], bins["count"], strict=True)
    ]
    return found | {"reliability": told}


def _pooled(study: Study, logits: Mapping) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the logits of each picture under one corruption and severity, drawn for it, with the labels.

    All of them at once would hold each picture many times, and no interval would be right.
    """
    parts = corrupted(logits)
    if not parts:
        return None
    n = len(parts[0])
    drawn = np.random.default_rng(study.seed).integers(0, len(parts), n)
    return np.stack(parts)[drawn, np.arange(n)], _labels(study, n)


def _labels(study: Study, count: int) -> np.ndarray:
    labels = study.measured[study.split].labels
    # The same pictures as `shift.measure` draws.
    return labels[np.sort(np.random.default_rng(study.seed).permutation(len(labels))[:count])]


def _estimates(study: Study, trial: Trial, shifted: Mapping[str, Split], logits: Mapping) -> list[dict]:
    """Returns for every shifted set the accuracy estimated without its labels, beside the true one."""
    validation = study.logits[trial]["validation"], study.measured["validation"].labels
    found = []
    for (name, part), values in logits.items():
        if name == CLEAN:
            continue
        labels = shifted[part].labels if name == "sets" else _labels(study, len(values))
        told, correct = part if name == "sets" else f"{name} {part}", right(values, labels)
        found.append(
            {
                "set": told,
                "estimate": calibration.atc(*validation, values),
                "estimate_interval": calibration.atc_interval(*validation, values, seed=study.seed),
                "accuracy": float(correct.mean()),
                "accuracy_interval": wilson_interval(int(correct.sum()), len(correct)),
                "n": len(labels),
            }
        )
    return found
