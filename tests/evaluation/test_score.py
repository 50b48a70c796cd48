"""The record of an evaluation: its form, its intervals and its cost."""

import json
import time

import numpy as np
import pytest
import sklearn.metrics as sk

from tf_transfer.errors import UserError
from tf_transfer.evaluation import METRIC, metrics, score, wilson_interval
from tf_transfer.registry import Registry


def calibrated(n, num_classes, seed=0, sharpen=1.0):
    """Labels drawn from the model's own probabilities; `sharpen` > 1 then makes it overconfident."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, num_classes)) * 2
    labels = (metrics.softmax(logits).cumsum(1) > rng.random((n, 1))).argmax(1)
    return logits * sharpen, labels


def names(num_classes):
    return [f"class {i}" for i in range(num_classes)]


def test_record_is_strict_json_and_agrees_with_the_metrics():
    logits, labels = calibrated(200, 3)
    record = score(logits.astype(np.float32), labels.astype(np.int32), names(3))
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["n"], record["num_classes"], record["accuracy"]["n"]) == (200, 3, 200)
    assert record["nll"]["value"] == pytest.approx(sk.log_loss(labels, metrics.softmax(logits)), rel=1e-5)
    assert record["confusion"] == sk.confusion_matrix(labels, logits.argmax(1)).tolist()
    assert [c["support"] for c in record["per_class"]] == np.bincount(labels).tolist()
    report = sk.classification_report(labels, logits.argmax(1), target_names=names(3), output_dict=True)
    for row in record["per_class"]:
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(
            tuple(report[row["name"]][k] for k in ("precision", "recall", "f1-score"))
        )
    assert record["reliability"]["accuracy"][0] is None
    assert len(record["reliability"]["edges"]) == 16


def test_a_class_without_examples_has_no_shares():
    logits = np.eye(3)[[0, 1, 2, 0]]
    rows = score(logits, np.array([0, 1, 1, 0]), names(3))["per_class"]
    assert rows[2] == {"name": "class 2", "precision": None, "recall": None, "f1": None, "support": 0}
    assert (rows[1]["recall"], rows[1]["support"]) == (0.5, 2)


@pytest.mark.parametrize("num_classes", [2, 11])
def test_every_registered_metric_is_there_within_its_interval(num_classes):
    logits, labels = calibrated(150, num_classes, sharpen=2.0)
    record = score(logits, labels, names(num_classes))
    for name in METRIC.names():
        if name == "top5" and num_classes == 2:
            assert name not in record
        else:
            assert record[name]["low"] <= record[name]["value"] <= record[name]["high"]
            assert record[name]["low"] < record[name]["high"]


def test_shares_have_wilson_intervals():
    logits, labels = calibrated(150, 11)
    record = score(logits, labels, names(11))
    for name, k in (("accuracy", 1), ("top5", 5)):
        hits = round(150 * metrics.top_k_accuracy(logits, labels, k))
        assert (record[name]["low"], record[name]["high"]) == wilson_interval(hits, 150)


def test_a_class_without_a_mistake_leaves_the_balanced_accuracy_open():
    labels = np.array([0] * 60 + [1] * 3)
    record = score(np.eye(2)[labels], labels, names(2))["balanced_accuracy"]
    assert (record["value"], record["high"]) == (1.0, 1.0) and record["low"] < 0.75


def test_a_new_metric_is_one_decorated_function(monkeypatch):
    own = Registry("metric")
    for name in METRIC.names():
        own.register(name)(METRIC.factory(name))
    monkeypatch.setattr(metrics, "METRIC", own)

    @own.register("error")
    def error(logits, labels, weights=None):
        return 1 - metrics.accuracy(logits, labels, weights)

    record = score(*calibrated(100, 3), names(3))
    assert record["error"]["value"] == pytest.approx(1 - record["accuracy"]["value"])
    assert record["error"]["low"] < record["error"]["value"] < record["error"]["high"]


def test_ece_interval_covers_the_calibration_of_the_population():
    # The plain percentile interval covers none of the calibrated cases: the estimate's bias is doubled in it.
    for sharpen in (1.0, 1.6):
        large = calibrated(200_000, 3, seed=99, sharpen=sharpen)
        truth = 0.0 if sharpen == 1.0 else metrics.ece(*large)
        hits = [score(*calibrated(400, 3, seed, sharpen), names(3))["ece"] for seed in range(20)]
        assert sum(e["low"] <= truth <= e["high"] for e in hits) >= 16
    assert truth > 0.05


def test_ece_floor_is_what_calibrated_models_get():
    measured = np.mean([metrics.ece(*calibrated(400, 3, seed)) for seed in range(60)])
    assert score(*calibrated(400, 3), names(3))["ece"]["floor"] == pytest.approx(measured, rel=0.15)


def test_one_example():
    record = score(np.array([[2.0, 0.0]]), np.array([1]), names(2))
    assert record["accuracy"]["value"] == 0.0
    assert 0.5 < record["accuracy"]["high"] < 1.0
    json.dumps(record, allow_nan=False)


def test_diverged_outputs_are_a_user_error():
    logits, labels = calibrated(10, 3)
    logits[3, 1] = np.nan
    logits[5, 0] = np.inf
    with pytest.raises(UserError, match=r"not finite for 2 of 10 examples.*--learning_rate"):
        score(logits, labels, names(3))


def test_names_must_fit():
    with pytest.raises(ValueError, match="3 classes, got 2"):
        score(*calibrated(10, 3), names(2))


def test_ten_thousand_examples_take_about_a_second():
    logits, labels = calibrated(10_000, 10)
    start = time.process_time()
    score(logits, labels, names(10))
    assert time.process_time() - start < 5
