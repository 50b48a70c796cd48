"""Block B: forecasts of every candidate before it is trained, and their agreement with the outcomes."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tf_transfer.assess import subsample
from tf_transfer.assess.networks import Pool
from tf_transfer.assess.plan import Trial
from tf_transfer.assess.study import Study
from tf_transfer.evaluation import comparison, ranking, transferability
from tf_transfer.machine.timing import timed
from tf_transfer.modalities.backbones import PUBLISHED
from tf_transfer.models import weights
from tf_transfer.phases.catalogue import FULL, HEAD

# Examples that a forecast is computed on, and random halves of them for its interval.
_EXAMPLES, _HALVES = 1000, 20
# Share of the remaining time for all forecasts.
_SHARE = 0.4
# A score that takes longer on half of the examples, in seconds, is timed twice.
_SLOW = 0.2
# Forecasts by name: functions of features and labels; larger is better.
FORECASTS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "knn": lambda x, y: float(transferability.knn_correct(x, y).mean()),
    "logme": transferability.logme,
    "h_score": transferability.h_score,
    "gbc": transferability.gbc,
    "transrate": transferability.transrate,
}
# Forecasts from the logits of the source model in place of features.
OF_SOURCE = {"leep": transferability.leep, "nce": transferability.nce}


def measure(study: Study) -> dict:
    """Measures the forecasts of every candidate with intervals, their ranks, and tau against the outcomes."""
    rows = _rows(study)
    left = study.clock.left()
    # Each candidate has its part of the time, and what the candidates before it left of theirs.
    keep = [left * (1 - _SHARE * (i + 1) / len(study.pools)) for i in range(len(study.pools))]
    candidates = {
        _name(study, spec): _candidate(study, spec, pool, rows, k)
        for (spec, pool), k in zip(study.pools.items(), keep, strict=True)
    }
    found = {"n": len(rows), "split": "train", "candidates": candidates}
    if len(candidates) > 1:
        found["ranks"] = _ranks(candidates)
        found["agreement"] = _agreement(study, candidates)
    for candidate in candidates.values():
        for forecast in candidate["forecasts"].values():
            del forecast["halves"]
    return found


def _name(study: Study, spec: str | None) -> str:
    return spec or study.session.config.model.backbone


def _rows(study: Study) -> np.ndarray:
    """Draws the same share of each class; returns the rows."""
    labels = study.data.train.labels
    return subsample.stratified(labels, _EXAMPLES / len(labels), study.seed)


def _candidate(study: Study, spec: str | None, pool: Pool, rows: np.ndarray, keep: float) -> dict:
    features, labels = np.asarray(pool.train.inputs[rows]), study.data.train.labels[rows]
    study.clock.say(f"forecasts for {_name(study, spec)}")
    forecasts = {}
    # The quick ones first.
    if (logits := _source_logits(study, pool, features)) is not None:
        forecasts |= affordable_scores(study, spec, OF_SOURCE, logits, labels, keep)
    forecasts |= affordable_scores(study, spec, FORECASTS, features, labels, keep)
    return {
        "forecasts": forecasts,
        "probe": _accuracy(study.correct(HEAD, study.top, "validation", spec)),
        "parameters": int(pool.classifier.backbone.count_params()),
        "outcome": {kind: _accuracy(study.correct(kind, study.top, backbone=spec)) for kind in (HEAD, FULL)},
        "cost": _cost(study, spec),
    }


def _accuracy(correct: np.ndarray | None) -> dict | None:
    return None if correct is None else comparison.accuracy_interval(correct)


def _cost(study: Study, spec: str | None) -> dict:
    ran = study.ran.get(Trial(FULL, study.top, study.seed, spec))
    return ran.cost if ran else {}


def _seconds(call: Callable[[], object], now: Callable[[], float]) -> float:
    """Seconds of a call; a slow one is timed twice, as another process may have held it up, and the less counts."""
    (found,) = timed(call, now=now)
    return found if found <= _SLOW else min(found, *timed(call, now=now))


def affordable_scores(
    study: Study, spec: str | None, scores: Mapping[str, Callable], x: np.ndarray, labels: np.ndarray, keep: float
) -> dict:
    """Scores a candidate with intervals; leaves out the scores that need more examples or more time.

    Args:
        study: gives the clock and the seed.
        spec: of the candidate; None for the run's own network.
        scores: by name, functions of `x` and `labels`.
        x: float `[N, D]`, features or logits.
        labels: int `[N]`.
        keep: seconds of the budget that must remain.

    Returns:
        The intervals by name, see `ranking.score_interval`.
    """
    found = {}
    for name, score in scores.items():
        what, half = f"{name} of {_name(study, spec)}", ranking.half_samples(len(labels), 1, study.seed)[0]
        if not study.clock.affords(what, 0.0, keep):
            continue
        try:
            each = _seconds(lambda score=score, half=half: score(x[half], labels[half]), study.clock.now)
            if study.clock.affords(what, (_HALVES + 2) * each, keep):
                found[name] = ranking.score_interval(
                    lambda rows, score=score: score(x[rows], labels[rows]), len(labels), _HALVES, study.seed
                )
        except ValueError as e:
            study.clock.leave_out(what, f"{len(labels)} {study.many}: {e}")
    return found


def _source_logits(study: Study, pool: Pool, features: np.ndarray) -> np.ndarray | None:
    """Logits of the source model under its own head; None where no head is known."""
    head = _source_head(pool)
    if head is None:
        name = pool.session.config.model.backbone
        study.clock.leave_out(f"LEEP and NCE of {name}", "no head of the source model is known")
        return None
    kernel, bias = head
    return features @ kernel + bias


def _source_head(pool: Pool) -> tuple[np.ndarray, np.ndarray] | None:
    session = pool.session
    if session.config.model.weights == PUBLISHED:
        return session.modality.published_head(session.backbone, pool.classifier.num_features)
    folder = session.source_folder()
    if folder is None or not (folder / weights.HEAD_FILE).is_file() or not (folder / "done.json").is_file():
        return None
    classes = len(json.loads(Path(folder / "done.json").read_text())["class_names"])
    classifier = session.pretrained(classes, "random")
    classifier.load(folder)
    return tuple(classifier.head.get_weights())


def _scores(candidates: Mapping[str, dict]) -> dict[str, dict[str, float]]:
    """Scores that rank the candidates, by name: forecasts, the probe, and `size`, the control: number of parameters."""
    names = [n for n in (*FORECASTS, *OF_SOURCE) if all(n in c["forecasts"] for c in candidates.values())]
    scores = {name: {c: facts["forecasts"][name]["value"] for c, facts in candidates.items()} for name in names}
    if all(c["probe"] is not None for c in candidates.values()):
        scores["probe"] = {c: facts["probe"]["value"] for c, facts in candidates.items()}
    return scores | {"size": {c: facts["parameters"] for c, facts in candidates.items()}}


def _halves(candidate: Mapping, name: str) -> list[float]:
    """Scores of a candidate on halves of the examples; a single value for the probe and the size."""
    if name in candidate["forecasts"]:
        return candidate["forecasts"][name]["halves"]
    return [candidate["parameters"] if name == "size" else candidate["probe"]["value"]]


def _ranks(candidates: Mapping[str, dict]) -> dict:
    names = [n for n in _scores(candidates) if n in (*FORECASTS, *OF_SOURCE)]
    return {
        name: ranking.rank_intervals({c: facts["forecasts"][name]["halves"] for c, facts in candidates.items()})
        for name in names
    }


def _agreement(study: Study, candidates: Mapping[str, dict]) -> dict:
    """Weighted tau of every score against the outcomes, and which scores beat the controls.

    The interval of a tau covers the choice of the forecast's examples and of the measured ones.
    """
    found = {}
    for outcome in (FULL, HEAD):
        if any(facts["outcome"][outcome] is None for facts in candidates.values()):
            continue
        reached = {c: facts["outcome"][outcome]["value"] for c, facts in candidates.items()}
        taus = {
            name: ranking.weighted_tau([scores[c] for c in reached], list(reached.values()))
            for name, scores in _scores(candidates).items()
        }
        correct = [study.correct(outcome, study.top, backbone=spec).mean(0) for spec in study.pools]
        found[outcome] = {"tau": taus, "outcome": reached, "n": len(correct[0])}
        found[outcome]["intervals"] = {
            name: ranking.tau_interval([_halves(facts, name) for facts in candidates.values()], correct, study.seed)
            for name in taus
        }
        for control in ("size", "knn"):
            least = taus.get(control) if taus.get(control) is not None else -1.0
            better = [n for n, tau in taus.items() if n not in ("size", "knn") and tau is not None and tau > least]
            found[outcome][f"better_than_{control}"] = better
    return found
