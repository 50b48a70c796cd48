"""The solved head: against scikit-learn, against finite differences, and what the path does."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tf_transfer.data.splits import Split
from tf_transfer.evaluation import classification
from tf_transfer.features import solver
from tf_transfer.features.extract import Standardizer

RANDOM = np.random.default_rng(0)
CLASSES, WIDTH = 4, 6


def draw(n, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, n).astype(np.int32)
    centres = np.random.default_rng(9).normal(size=(CLASSES, WIDTH))
    # Of very different size, as pooled features are.
    features = (centres[labels] + random.normal(size=(n, WIDTH))) * [100, 10, 1, 1, 0.1, 0.01] + [0, 50, 1, 0, 3, 0]
    return Split(features.astype(np.float32), labels, [""] * n)


TRAIN, HELD = draw(300, 1), draw(200, 2)
SCALE = Standardizer(TRAIN.inputs)


def problem(split=TRAIN, weights=None, smoothing=0.0):
    weights = np.ones(len(split), np.float32) if weights is None else weights
    return solver.Problem(split, SCALE, weights, CLASSES, smoothing)


def validate(kernel, bias):
    return classification.measure(SCALE.apply(HELD.inputs) @ kernel + bias, HELD.labels)


@pytest.mark.parametrize("l2", [1.0, 0.03, 1e-3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_solution_is_that_of_scikit_learn(l2, weighted):
    weights = RANDOM.uniform(0.2, 3.0, len(TRAIN)).astype(np.float32) if weighted else None
    found = solver.solve(problem(weights=weights), [l2], tolerance=1e-10)
    theirs = LogisticRegression(C=1 / (l2 * len(TRAIN)), tol=1e-8, max_iter=5000)
    theirs.fit(SCALE.apply(TRAIN.inputs), TRAIN.labels, weights)
    np.testing.assert_allclose(found.kernel, theirs.coef_.T, atol=1e-2)
    ours = SCALE.apply(HELD.inputs) @ found.kernel + found.bias
    ours = np.exp(ours - ours.max(1, keepdims=True))
    np.testing.assert_allclose(
        ours / ours.sum(1, keepdims=True), theirs.predict_proba(SCALE.apply(HELD.inputs)), atol=1e-3
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kept", [True, False])
def test_value_and_gradient(smoothing, kept):
    """Over several chunks, kept in memory or read anew, with weights: as written down."""
    weights = RANDOM.uniform(0.2, 3.0, len(TRAIN)).astype(np.float32)
    objective = solver.Objective(
        problem(weights=weights, smoothing=smoothing), chunk=77, kept_bytes=1 << 30 if kept else 0
    )
    kernel, bias = RANDOM.normal(size=(WIDTH, CLASSES)), RANDOM.normal(size=CLASSES)
    x = SCALE.apply(TRAIN.inputs).astype(float)
    targets = np.eye(CLASSES)[TRAIN.labels] * (1 - smoothing) + smoothing / CLASSES

    def value(kernel, bias):
        logits = x @ kernel + bias
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        return -(weights * (targets * log_p).sum(1)).mean()

    for _ in range(2):
        loss, accuracy, toward_kernel, toward_bias = objective(kernel, bias)
        assert loss == pytest.approx(value(kernel, bias), rel=1e-5)
        assert accuracy == pytest.approx(((x @ kernel + bias).argmax(1) == TRAIN.labels).mean())
        step = 1e-5
        for i, j in ((0, 0), (3, 2), (5, 1)):
            moved = np.zeros_like(kernel)
            moved[i, j] = step
            slope = (value(kernel + moved, bias) - value(kernel - moved, bias)) / (2 * step)
            assert toward_kernel[i, j] == pytest.approx(slope, rel=1e-3, abs=1e-5)
        moved = np.eye(CLASSES)[1] * step
        slope = (value(kernel, bias + moved) - value(kernel, bias - moved)) / (2 * step)
        assert toward_bias[1] == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_validation_chooses_of_the_path_and_ends_it():
    records, shown = [], []
    strengths = np.geomspace(10, 1e-7, 30).tolist()
    few = problem(draw(40, 3))
    best = solver.solve(few, strengths, validate, log=records.append, progress=lambda *a: shown.append(a))
    losses = [r["validation_loss"] for r in records]
    assert best.measures["validation_loss"] == min(losses) and best.l2 == records[int(np.argmin(losses))]["l2"]
    # Forty examples do not carry the weakest strengths: the path ends early, two steps after the best.
    assert len(records) < 30 and int(np.argmin(losses)) == len(losses) - 3
    assert [r["l2"] for r in records] == strengths[: len(records)]
    assert all(r["converged"] for r in records)
    assert shown[-1][:2] == (len(records), 30)
    # Weaker fits the training data better.
    trained = [r["train_loss"] for r in records]
    assert trained == sorted(trained, reverse=True)
    # A warm start ends where a cold one does.
    alone = solver.solve(few, [best.l2])
    np.testing.assert_allclose(alone.kernel, best.kernel, atol=5e-3)


def test_without_validation_the_last_strength_is_kept():
    records = []
    found = solver.solve(problem(), [0.1, 0.01], log=records.append)
    assert found.l2 == 0.01 and len(records) == 2
    assert "validation_loss" not in records[0]


def test_separable_data_without_a_penalty_ends(monkeypatch):
    split = Split(np.eye(CLASSES, WIDTH, dtype=np.float32), np.arange(CLASSES, dtype=np.int32), [""] * CLASSES)
    plain = Standardizer(split.inputs)
    found = solver.solve(solver.Problem(split, plain, np.ones(4, np.float32), CLASSES), [0.0], iterations=50)
    assert found.measures["train_accuracy"] == 1.0 and np.isfinite(found.kernel).all()
