"""Block F: how far the probabilities of the chosen model can be trusted, on clean and on shifted examples."""

from collections.abc import Mapping

import numpy as np

from tf_transfer.assess.plan import Trial
from tf_transfer.assess.shift import CLEAN, corrupted
from tf_transfer.assess.study import Study
from tf_transfer.evaluation import calibration, metrics, right
from tf_transfer.evaluation.statistics import bootstrap_interval, wilson_interval

# Smallest number of validation examples for a temperature.
_FEWEST = 20
_PROPER = {"nll": metrics.nll, "brier": metrics.brier}
_CALIBRATION = {"ece": metrics.ece, "adaptive_ece": calibration.adaptive_ece}


def measure(study: Study, kind: str, logits: Mapping, labels: Mapping) -> dict:
    """Measures block F for the model of a kind.

    Args:
        study: its models and their predictions.
        kind: of the model.
        logits: of the model on shifted sets and corruptions, as `shift.measure` returns them.
        labels: of the same sets, as `shift.measure` returns them.
    """
    trial = Trial(kind, study.top, study.seed)
    known, split = study.logits[trial], study.split
    found: dict = {"kind": kind, "split": split, "temperature": None, "sets": {}}
    labelled = {split: (known[split], study.measured[split].labels)}
    labelled |= {name: (values, labels["sets", name]) for (of, name), values in logits.items() if of == "sets"}
    if (pooled := _pooled(logits, labels, study.seed)) is not None:
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
            "temperature", f"fewer than {_FEWEST} validation {study.many} beside those that tell the outcome"
        )
    for name, (values, true) in labelled.items():
        scaled = values / found["temperature"] if found["temperature"] else None
        found["sets"][name] = {"n": len(true), "before": _scores(values, true)} | (
            {"after": _scores(scaled, true)} if scaled is not None else {}
        )
    found["estimates"] = _estimates(study, trial, logits, labels) if found["temperature"] else []
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


def _pooled(logits: Mapping, labels: Mapping, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Draws one corruption and severity for each example; returns its logits under them, and the labels.

    Pooling all of them would count each example many times, and its intervals would be too narrow.
    """
    parts = corrupted(logits)
    if not parts:
        return None
    n = len(parts[0])
    drawn = np.random.default_rng(seed).integers(0, len(parts), n)
    return np.stack(parts)[drawn, np.arange(n)], labels[CLEAN, 0]


def _estimates(study: Study, trial: Trial, logits: Mapping, labels: Mapping) -> list[dict]:
    """Estimates the accuracy on every shifted set without its labels; returns it beside the true one."""
    validation = study.logits[trial]["validation"], study.measured["validation"].labels
    found = []
    for (name, part), values in logits.items():
        if name == CLEAN:
            continue
        told, correct = part if name == "sets" else f"{name} {part}", right(values, labels[name, part])
        found.append(
            {
                "set": told,
                "estimate": calibration.atc(*validation, values),
                "estimate_interval": calibration.atc_interval(*validation, values, seed=study.seed),
                "accuracy": float(correct.mean()),
                "accuracy_interval": wilson_interval(int(correct.sum()), len(correct)),
                "n": len(correct),
            }
        )
    return found
