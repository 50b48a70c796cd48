"""Predictions to numbers: metrics, their intervals and the record of an evaluation.

Everything here is a pure function of arrays and needs neither a model nor a data set.
"""

from tf_transfer.evaluation.metrics import (
    METRIC,
    TopLoss,
    accuracy,
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
from tf_transfer.evaluation.score import score
from tf_transfer.evaluation.statistics import bootstrap_interval, mcnemar_exact, wilson_interval

__all__ = [
    "METRIC",
    "TopLoss",
    "accuracy",
    "bootstrap_interval",
    "brier",
    "calibrated_ece",
    "confusion_matrix",
    "ece",
    "log_softmax",
    "macro_f1",
    "mcnemar_exact",
    "nll",
    "precision_recall_f1",
    "reliability_bins",
    "score",
    "softmax",
    "top_k_accuracy",
    "top_losses",
    "wilson_interval",
]
