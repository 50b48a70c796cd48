"""Heads on uneven classes: against what a minimum is."""

import numpy as np
import pytest

from tf_transfer.config import Training
from tf_transfer.data import splits
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData
from tf_transfer.evaluation import classification
from tf_transfer.features.extract import Standardizer
from tf_transfer.session import head as heads

CLASSES, WIDTH, L2 = 3, 5, 0.01
PLAN = Training(optimizer="lbfgs", regularizer=f"l2({L2})")


def draw(counts, seed):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), counts).astype(np.int32)
    features = np.eye(CLASSES, WIDTH)[labels] * 1.5 + random.normal(size=(len(labels), WIDTH))
    return Split(features.astype(np.float32), labels, [""] * len(labels))


TRAIN, HELD, EVEN = draw((300, 30, 12), 1), draw((100, 10, 4), 2), draw((500, 500, 500), 3)


def solved(mode, held=HELD):
    of = TRAIN.labels, CLASSES, mode
    weights, offsets = splits.class_weights(*of), splits.class_offsets(*of)
    data = TrainingData(TRAIN, held, ("a", "b", "c"), weights, class_offsets=offsets)
    scale = Standardizer(TRAIN.inputs)
    best = heads.solve_on(TRAIN, held, scale, data, PLAN)
    return best, scale


def softmax(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


@pytest.mark.parametrize("held", [HELD, None])
def test_the_adjusted_head_minimises_the_loss_of_the_logits_with_the_offsets(held):
    best, scale = solved("adjusted", held)
    x, offsets = scale.apply(TRAIN.inputs), np.log(np.bincount(TRAIN.labels) / len(TRAIN))
    residual = (softmax(x @ best.kernel + best.bias + offsets) - np.eye(CLASSES)[TRAIN.labels]) / len(TRAIN)
    np.testing.assert_allclose(x.T @ residual + L2 * best.kernel, 0, atol=2e-4)
    np.testing.assert_allclose(residual.sum(0), 0, atol=2e-4)


def test_what_is_recorded_of_the_adjusted_head_is_measured_without_offsets():
    best, scale = solved("adjusted")
    found = classification.measure(scale.apply(HELD.inputs) @ best.kernel + best.bias, HELD.labels)
    for name in ("accuracy", "loss"):
        assert best.measures[f"validation_{name}"] == pytest.approx(found[name], abs=1e-6)


def test_on_even_data_the_adjusted_head_is_better_than_the_plain_one():
    right = {}
    for mode in ("none", "adjusted"):
        best, scale = solved(mode)
        right[mode] = classification.measure(scale.apply(EVEN.inputs) @ best.kernel + best.bias, EVEN.labels)
    assert right["adjusted"]["accuracy"] > right["none"]["accuracy"] + 0.1
    assert right["adjusted"]["loss"] < right["none"]["loss"]
