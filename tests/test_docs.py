"""The pages of measurements are what their commands write from their records."""

import json

import pytest
import tools

from benchmarks import performance, reliability, results_page, service
from tf_transfer import evaluation

PAGES = {
    "results": results_page.render,
    "performance": performance.render,
    "reliability": reliability.render,
    "serving": service.render,
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_its_records_say(name):
    docs = tools.ROOT / "docs"
    assert (docs / f"{name}.md").read_text() == PAGES[name](json.loads((docs / f"{name}.json").read_text()))


def test_every_metric_is_defined():
    """What a reader meets on the page, or imports, is told in docs/metrics.md or is a tool of the others."""
    tools_of_others = {
        "METRIC", "TopLoss", "Verdict", "bootstrap_interval", "calibrated_ece", "calibration_interval",
        "confusion_matrix",
        "examples_to_decide", "fit_power_law", "half_samples", "labels_needed", "log_softmax", "pairwise",
        "precision_recall_f1", "rank_intervals", "reliability_bins", "score_interval", "softmax", "top_losses",
        "wilson_interval", "accuracy", "accuracy_interval", "macro_f1", "top_k_accuracy",
    }  # fmt: skip
    text = (tools.ROOT / "docs/metrics.md").read_text()
    assert [name for name in evaluation.__all__ if name not in tools_of_others and f"`{name}`" not in text] == []
