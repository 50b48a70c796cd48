"""What is right, its accuracy and loss, against brute force; and that one place says it."""

import re
from pathlib import Path

import numpy as np
import pytest

import tf_transfer
from tf_transfer.evaluation import classification, right

RANDOM = np.random.default_rng(0)


def test_right_is_the_first_of_the_largest_logits():
    logits = np.array([[1.0, 2.0, 0.0], [3.0, 3.0, 1.0], [3.0, 3.0, 1.0], [0.0, -1.0, -np.inf]])
    assert right(logits, np.array([1, 0, 1, 0])).tolist() == [True, True, False, True]


def test_logits_of_several_models_are_compared_with_the_same_labels():
    logits, labels = RANDOM.normal(size=(3, 20, 4)), RANDOM.integers(0, 4, 20)
    found = right(logits, labels)
    assert found.shape == (3, 20) and found.dtype == bool
    for model in range(3):
        for row in range(20):
            assert found[model, row] == all(logits[model, row, labels[row]] >= logits[model, row])


def test_accuracy_and_loss_of_a_validation():
    logits, labels = RANDOM.normal(size=(50, 4)), RANDOM.integers(0, 4, 50)
    found = classification.measure(logits, labels)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert found["loss"] == pytest.approx(-np.mean([np.log(p[c]) for p, c in zip(chances, labels, strict=True)]))
    hits = sum(max(range(4), key=lambda c, row=row: row[c]) == label for row, label in zip(logits, labels, strict=True))
    assert (found["accuracy"], found["examples"]) == (hits / 50, 50)


def test_standard_error_is_never_zero():
    # Two right and two wrong are added to the 96 that are all right.
    assert classification.standard_error(1.0, 96) == pytest.approx(np.sqrt(0.98 * 0.02 / 100))


def test_one_place_compares_predictions_with_labels():
    compared = re.compile(r"argmax\([^()]*\)\s*[!=]=|[!=]=\s*[\w.\[\]]*\.argmax\(")
    found = {p.name for p in Path(tf_transfer.__file__).parent.rglob("*.py") if compared.search(p.read_text("utf-8"))}
    # The gate compares two predictions: no label is in it.
    assert found == {"classification.py", "gate.py"}
    in_graphs = re.compile(r"tf\.equal\(tf\.argmax\(")
    found = {p.name for p in Path(tf_transfer.__file__).parent.rglob("*.py") if in_graphs.search(p.read_text("utf-8"))}
    assert found == {"problem.py"}
