"""Predictions to numbers: metrics, their intervals and the record of an evaluation.

Everything here is a pure function of arrays and needs neither a model nor a data set.
"""

from tf_transfer.evaluation.blind import blind_guess
from tf_transfer.evaluation.calibration import (
    adaptive_ece,
    atc,
    atc_interval,
    calibration_interval,
    temperature,
    temperature_interval,
)
from tf_transfer.evaluation.classification import right
from tf_transfer.evaluation.comparison import accuracy_difference, accuracy_interval, holm, pairwise, worst_class
from tf_transfer.evaluation.curve import fit_power_law, label_budget, labels_needed, labels_to_reach
from tf_transfer.evaluation.distance import coral_distance, frechet_distance, frechet_floor, mmd, proxy_a_distance
from tf_transfer.evaluation.metrics import (
    METRIC,
    TopLoss,
    accuracy,
    balanced_accuracy,
    brier,
    calibrated_ece,
    confusion_matrix,
    ece,
    log_softmax,
    macro_f1,
    nll,
    precision_recall_f1,
    reliability_bins,
    softmax,
    top_k_accuracy,
    top_losses,
)
from tf_transfer.evaluation.ranking import half_samples, rank_intervals, score_interval, tau_interval, weighted_tau
from tf_transfer.evaluation.score import score
from tf_transfer.evaluation.shift import (
    corruption_error,
    mean_corrupted_accuracy,
    relative_corruption_error,
    relative_robustness,
)
from tf_transfer.evaluation.similarity import cka, weight_distance
from tf_transfer.evaluation.statistics import bootstrap_interval, mcnemar_exact, wilson_interval
from tf_transfer.evaluation.transferability import gbc, h_score, knn_correct, leep, logme, nce, transrate
from tf_transfer.evaluation.verdict import Verdict, decide, examples_to_decide

__all__ = [
    "METRIC",
    "TopLoss",
    "Verdict",
    "accuracy",
    "accuracy_difference",
    "accuracy_interval",
    "adaptive_ece",
    "atc",
    "atc_interval",
    "balanced_accuracy",
    "blind_guess",
    "bootstrap_interval",
    "brier",
    "calibrated_ece",
    "calibration_interval",
    "cka",
    "confusion_matrix",
    "coral_distance",
    "corruption_error",
    "decide",
    "ece",
    "examples_to_decide",
    "fit_power_law",
    "frechet_distance",
    "frechet_floor",
    "gbc",
    "h_score",
    "half_samples",
    "holm",
    "knn_correct",
    "label_budget",
    "labels_needed",
    "labels_to_reach",
    "leep",
    "log_softmax",
    "logme",
    "macro_f1",
    "mcnemar_exact",
    "mean_corrupted_accuracy",
    "mmd",
    "nce",
    "nll",
    "pairwise",
    "precision_recall_f1",
    "proxy_a_distance",
    "rank_intervals",
    "relative_corruption_error",
    "relative_robustness",
    "reliability_bins",
    "right",
    "score",
    "score_interval",
    "softmax",
    "tau_interval",
    "temperature",
    "temperature_interval",
    "top_k_accuracy",
    "top_losses",
    "transrate",
    "weight_distance",
    "weighted_tau",
    "wilson_interval",
    "worst_class",
]
