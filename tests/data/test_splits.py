import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from tf_transfer.data.splits import (
    Split,
    carve_test,
    class_offsets,
    class_weights,
    find_conflicts,
    find_duplicates,
    plan_splits,
)
from tf_transfer.errors import UserError

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [100, 40, 10]))


def test_plan_covers_every_example_once_and_is_stratified():
    plan = plan_splits(LABELS, 3, 0.2, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([plan.train, plan.validation])), np.arange(150))
    np.testing.assert_array_equal(np.bincount(LABELS[plan.validation]), [20, 8, 2])
    assert (np.diff(plan.train) > 0).all() and (np.diff(plan.validation) > 0).all()
    assert plan.facts["train"] == 120 and plan.facts["validation"] == 30


def test_plan_is_a_function_of_the_seed():
    first, again, other = (plan_splits(LABELS, 3, 0.2, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.validation, again.validation)
    assert first.facts == again.facts
    assert set(first.validation) != set(other.validation)
    assert first.facts["digest"] != other.facts["digest"]


def test_plan_of_one_class_does_not_depend_on_the_others():
    fewer = LABELS[LABELS < 2]
    chosen = np.flatnonzero(LABELS < 2)
    whole, part = plan_splits(LABELS, 3, 0.2, 0), plan_splits(fewer, 2, 0.2, 0)
    np.testing.assert_array_equal(chosen[part.validation], [i for i in whole.validation if LABELS[i] < 2])


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.9])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_small_class_gives_one_example_and_keeps_one(count, fraction):
    labels = np.array([0] * 50 + [1] * count)
    plan = plan_splits(labels, 2, fraction, 0)
    held = np.count_nonzero(labels[plan.validation] == 1)
    assert np.count_nonzero(labels[plan.train] == 1) == count - held >= 1
    assert held >= min(1, count - 1)


def test_few_shot_budget_includes_validation():
    plan = plan_splits(LABELS, 3, 0.2, 0, per_class=10)
    np.testing.assert_array_equal(np.bincount(LABELS[plan.train]), [8, 8, 8])
    np.testing.assert_array_equal(np.bincount(LABELS[plan.validation]), [2, 2, 2])
    with pytest.raises(UserError, match=r"--examples_per_class=11: class 2 has only 10"):
        plan_splits(LABELS, 3, 0.2, 0, per_class=11)


def test_own_validation_leaves_all_for_training():
    plan = plan_splits(LABELS, 3, 0.2, 0, own_validation=True)
    assert plan.validation is None
    np.testing.assert_array_equal(plan.train, np.arange(150))


def test_one_class_is_refused():
    with pytest.raises(UserError, match="at least 2"):
        plan_splits(np.zeros(5, int), 2, 0.2, 0)


def test_carved_test_split_is_fixed_and_stratified():
    train, test = carve_test(LABELS, 3, 0.3)
    np.testing.assert_array_equal(np.bincount(LABELS[test]), [30, 12, 3])
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(150))
    np.testing.assert_array_equal(test, carve_test(LABELS, 3, 0.3)[1])


@pytest.mark.parametrize("fraction", [0, -0.1, 0.95, True, "half", None, float("nan")])
def test_carving_refuses_a_bad_fraction(fraction):
    with pytest.raises(UserError, match="test_fraction"):
        carve_test(LABELS, 3, fraction)


def test_class_weights_equal_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    weights = class_weights(LABELS, 3, "balanced")
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    np.testing.assert_allclose(weights[LABELS].mean(), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(class_weights(LABELS, 3, "none"), np.ones(3))


def test_an_absent_class_has_no_weight_and_changes_no_other():
    weights = class_weights(LABELS, 5, "balanced")
    np.testing.assert_array_equal(weights[3:], 0)
    np.testing.assert_allclose(weights[:3], class_weights(LABELS, 3, "balanced"))


def test_class_offsets_are_the_logarithms_of_the_frequencies():
    labels = np.repeat([0, 1, 3], [300, 12, 8])
    offsets = class_offsets(labels, 4, "adjusted")
    # The class without examples counts as if it had one.
    np.testing.assert_allclose(offsets, np.log([300 / 320, 12 / 320, 1 / 320, 8 / 320]), rtol=1e-6)
    assert offsets.dtype == np.float32
    np.testing.assert_array_equal(class_weights(labels, 4, "adjusted"), np.ones(4))
    assert class_offsets(labels, 4, "none") is None and class_offsets(labels, 4, "balanced") is None


def test_take_keeps_order_and_repeats():
    split = Split(np.arange(4), np.arange(4), ["a", "b", "c", "d"])
    taken = split.take(np.array([2, 0, 2]))
    assert taken.names == ["c", "a", "c"] and taken.labels.tolist() == [2, 0, 2] and len(taken) == 3


def test_duplicates_are_found_across_splits_only():
    images = np.random.default_rng(1).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    images[1] = images[0]  # Within train: not reported.
    near = images[2].copy()
    near[0, 0, 0] ^= 1
    test = np.stack([images[5], near, images[3]])
    train = Split(images, np.zeros(6), [f"train{i}" for i in range(6)])
    held = Split(test, np.zeros(3), ["five", "near", "line\nbreak"])
    expected = ["train: train5 = test: five", "train: train3 = test: line break"]
    assert find_duplicates({"train": train, "test": held}) == expected
    seen = {}
    assert find_duplicates({"train": train}, seen) == []
    assert find_duplicates({"test": held}, seen) == expected


def test_one_content_under_two_classes_is_named_within_a_split_and_across():
    inputs = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)[[0, 1, 0, 2, 1, 3]]
    train = Split(inputs, np.array([0, 1, 1, 2, 1, 0]), list("abcdef"))
    held = Split(inputs[[3, 5]], np.array([0, 0]), ["x", "y"])
    # b and e are copies of one class.
    assert find_conflicts({"train": train, "validation": held}, ("ant", "bee", "cat")) == [
        "train: a (ant) = train: c (bee)",
        "train: d (cat) = validation: x (ant)",
    ]


def test_a_split_may_have_no_labels():
    split = Split(np.arange(12, dtype=np.uint8).reshape(4, 3), None, ["a", "b", "c", "d"])
    taken = split.take(np.array([3, 1]))
    assert (len(split), len(taken), taken.labels, taken.names) == (4, 2, None, ["d", "b"])
    np.testing.assert_array_equal(taken.inputs, [[9, 10, 11], [3, 4, 5]])
    assert taken.digests == [split.digests[3], split.digests[1]]
