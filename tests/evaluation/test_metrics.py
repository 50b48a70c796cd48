"""Metrics against scikit-learn, brute force and closed forms; one contract for every registered one."""

import numpy as np
import pytest
import sklearn.metrics as sk

from tf_transfer.evaluation import METRIC, TopLoss, metrics

LOG_HALF = np.log(0.5)


def predictions(n=300, num_classes=4, seed=0, scale=2.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, num_classes)) * scale, rng.integers(0, num_classes, n)


def logits_of(probabilities):
    return np.log(np.asarray(probabilities, np.float64))


# --- the contract of every registered metric ---------------------------------------------------------


@pytest.mark.parametrize("name", METRIC.names())
def test_weights_count_examples(name):
    metric = METRIC.factory(name)
    logits, labels = predictions(60, 7)
    weights = np.random.default_rng(1).integers(0, 4, (5, 60)).astype(np.float64)
    repeated = [metric(logits.repeat(w.astype(int), 0), labels.repeat(w.astype(int))) for w in weights]
    np.testing.assert_allclose(metric(logits, labels, weights=weights), repeated)
    np.testing.assert_allclose(metric(logits, labels, weights=weights[0]), repeated[0])
    np.testing.assert_allclose(metric(logits, labels, weights=np.ones(60)), metric(logits, labels))


@pytest.mark.parametrize("name", METRIC.names())
def test_order_offset_and_precision_do_not_matter(name):
    metric = METRIC.factory(name)
    logits, labels = predictions(200, 7)
    logits = logits.astype(np.float32)
    order = np.random.default_rng(1).permutation(200)
    value = metric(logits, labels)
    assert np.ndim(value) == 0
    np.testing.assert_allclose(metric(logits[order], labels[order].astype(np.int8)), value, rtol=1e-12)
    np.testing.assert_allclose(metric(logits.astype(np.float64) + np.arange(200)[:, None], labels), value, rtol=1e-9)


@pytest.mark.parametrize("name", METRIC.names())
@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((0, 3)), np.zeros(0, int)),
        (np.zeros((2, 3)), np.zeros(3, int)),
        (np.zeros(3), np.zeros(3, int)),
        (np.zeros((2, 3)), np.array([0, 3])),
        (np.zeros((2, 3)), np.array([-1, 0])),
        (np.zeros((2, 3)), np.array([0.0, 1.0])),
    ],
)
def test_unfit_arrays_are_refused(name, logits, labels):
    with pytest.raises(ValueError, match="Expected"):
        METRIC.factory(name)(logits, labels)


@pytest.mark.parametrize("name", METRIC.names())
def test_a_sure_and_right_model_is_ideal(name):
    labels = np.arange(12) % 6
    metric = METRIC.factory(name)
    assert metric(np.eye(6)[labels] * 1e4, labels) == metric.ideal
    # Sure and wrong is further from it.
    assert abs(metric(np.eye(6)[(labels + 1) % 6] * 1e4, labels) - metric.ideal) > 0.1


# --- values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_against_scikit_learn(weighted):
    logits, labels = predictions()
    weights = np.random.default_rng(5).uniform(0.1, 3, 300) if weighted else None
    p, predicted = metrics.softmax(logits), logits.argmax(1)
    assert metrics.accuracy(logits, labels, weights) == pytest.approx(
        sk.accuracy_score(labels, predicted, sample_weight=weights)
    )
    assert metrics.nll(logits, labels, weights) == pytest.approx(sk.log_loss(labels, p, sample_weight=weights))
    assert metrics.macro_f1(logits, labels, weights) == pytest.approx(
        sk.f1_score(labels, predicted, average="macro", sample_weight=weights)
    )
    assert metrics.balanced_accuracy(logits, labels, weights) == pytest.approx(
        sk.balanced_accuracy_score(labels, predicted, sample_weight=weights)
    )
    assert metrics.brier(logits, labels, weights) == pytest.approx(
        sk.brier_score_loss(labels, p, sample_weight=weights, labels=range(4), scale_by_half=False)
    )
    assert metrics.top_k_accuracy(logits, labels, 2, weights) == pytest.approx(
        sk.top_k_accuracy_score(labels, logits, k=2, sample_weight=weights)
    )


def test_a_class_that_never_occurs():
    # Class 2 is neither labelled nor predicted, class 1 is predicted only, class 3 labelled only.
    labels, predicted = np.array([0, 0, 0, 3]), np.array([0, 0, 1, 0])
    logits = np.eye(4)[predicted]
    confusion = metrics.confusion_matrix(labels, predicted, 4)
    expected = sk.precision_recall_fscore_support(labels, predicted, labels=range(4), zero_division=0)
    np.testing.assert_array_equal(confusion, sk.confusion_matrix(labels, predicted, labels=range(4)))
    np.testing.assert_allclose(metrics.precision_recall_f1(confusion), expected[:3])
    assert metrics.macro_f1(logits, labels) == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    assert metrics.macro_f1(logits, labels) == pytest.approx((2 * 2 / 6 + 0 + 0) / 3)
    # Class 0 has a recall of 2/3, class 3 of 0; the others have no label.
    assert metrics.balanced_accuracy(logits, labels) == pytest.approx((2 / 3 + 0) / 2)


def test_uniform_predictions():
    for c in (2, 10, 1000):
        logits, labels = np.full((6, c), 3.0), np.arange(6) % c
        assert metrics.nll(logits, labels) == pytest.approx(np.log(c))
        assert metrics.brier(logits, labels) == pytest.approx((1 - 1 / c) ** 2 + (c - 1) / c**2)


def test_nll_is_exact_for_huge_logits():
    assert metrics.nll(np.array([[1e4, 0.0]]), np.array([1])) == pytest.approx(1e4)
    assert metrics.nll(np.array([[-1e30, 0.0]]), np.array([1])) == 0.0
    np.testing.assert_allclose(metrics.log_softmax(np.array([88.0, 88.0], np.float16)), [LOG_HALF, LOG_HALF])


def test_ties_go_to_the_first_class():
    logits, labels = np.zeros((3, 3)), np.arange(3)
    assert [metrics.top_k_accuracy(logits, labels, k) for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert metrics.accuracy(logits, labels) == metrics.top_k_accuracy(logits, labels, 1)


def test_ece_of_a_constructed_set():
    # 10 predictions at 0.9 of which 6 are right, 30 at 0.7 of which 24 are right.
    p = np.repeat([0.9, 0.7], [10, 30])
    labels = np.array([0] * 6 + [1] * 4 + [0] * 24 + [1] * 6)
    logits = logits_of(np.stack([p, 1 - p], 1))
    assert metrics.ece(logits, labels) == pytest.approx(10 / 40 * abs(0.6 - 0.9) + 30 / 40 * abs(0.8 - 0.7))
    # In one bin the two errors, of opposite sign, cancel before the absolute value is taken.
    assert metrics.ece(logits, labels, n_bins=1) == pytest.approx(abs(30 / 40 - (0.9 * 10 + 0.7 * 30) / 40))


def test_ece_against_a_loop_over_guos_bins():
    logits, labels = predictions(500, 3, seed=4)
    p = metrics.softmax(logits)
    confidence, correct = p.max(1), logits.argmax(1) == labels
    expected = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert metrics.ece(logits, labels) == pytest.approx(expected)


def test_reliability_bins_hold_every_prediction_and_give_ece():
    logits, labels = predictions(500, 3, seed=4)
    bins = metrics.reliability_bins(logits, labels)
    filled = bins["count"] > 0
    assert bins["count"].sum() == 500
    assert np.isnan(bins["accuracy"][~filled]).all()
    assert (~filled).sum() >= 4  # no confidence lies below 1/3 with three classes
    assert (bins["confidence"][filled] > bins["edges"][:-1][filled]).all()
    assert (bins["confidence"][filled] <= bins["edges"][1:][filled]).all()
    gaps = np.abs(bins["accuracy"] - bins["confidence"])[filled]
    assert metrics.ece(logits, labels) == pytest.approx(bins["count"][filled] @ gaps / 500)


def test_a_bin_holds_its_upper_edge():
    # Two equal logits have confidence 1/2 exactly: in (0, 1/2], not in (1/2, 1].
    assert metrics.reliability_bins(np.zeros((3, 2)), np.zeros(3, int), n_bins=2)["count"].tolist() == [3, 0]


def test_the_chance_level_of_ece():
    # One bin, n fair coins at confidence 1/2: the mean of |heads / n - 1/2| is sqrt(1 / (2 pi n)) for large n.
    n = 1000
    draws = metrics.calibrated_ece(np.zeros((n, 2)), n_draws=2000)
    assert draws.shape == (2000,)
    assert draws.mean() == pytest.approx(np.sqrt(1 / (2 * np.pi * n)), rel=0.06)


def test_confusion_rows_are_true_classes():
    np.testing.assert_array_equal(metrics.confusion_matrix([0, 0, 2], [1, 1, 2], 3), [[0, 2, 0], [0, 0, 0], [0, 0, 1]])


def test_top_losses_are_the_worst_first():
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.99, 0.01]])
    worst = metrics.top_losses(logits_of(p), np.array([0, 0, 1, 1]), 2)
    assert [w.index for w in worst] == [3, 1]
    assert worst[0] == TopLoss(3, 1, 0, pytest.approx(0.99), pytest.approx(-np.log(0.01)))
    # The third is right, however hesitant; a model without a mistake has none.
    assert [w.index for w in metrics.top_losses(logits_of(p), np.array([0, 0, 0, 1]), 99)] == [3, 1]
    assert metrics.top_losses(logits_of(p), np.array([0, 1, 0, 0]), 99) == []
