"""What is held out is decided by each file itself: growth moves nothing, and copies stay together."""

import hashlib

import numpy as np
import pytest

from tf_transfer.data import holdout
from tf_transfer.data.contents import Keys, digests
from tf_transfer.data.splits import carve_test, plan_splits

USE = (holdout.TEST, 0)


def made(count, classes=4, first=0):
    """Labels and keys of `count` different examples."""
    numbers = range(first, first + count)
    return np.arange(count) % classes, Keys([hashlib.md5(b"%d" % n).digest() for n in numbers])


def test_a_place_is_the_digest_of_its_key_and_its_use():
    key = b"some content"
    hashed = hashlib.blake2b(key, digest_size=8, salt=(7).to_bytes(8, "little"), person=b"test").digest()
    assert holdout.places([key], holdout.TEST, 7)[0] == int.from_bytes(hashed, "little") / 2**64
    _, keys = made(4000)
    place = holdout.places(keys.contents, *USE)
    # Uniform, and no use or seed says anything about another.
    assert abs(np.histogram(place, 10, (0, 1))[0] - 400).max() < 80
    for other in (holdout.places(keys.contents, holdout.VALIDATION, 0), holdout.places(keys.contents, holdout.TEST, 1)):
        assert abs(np.corrcoef(place, other)[0, 1]) < 0.06


def test_growth_adds_to_every_split_and_moves_nothing():
    labels, keys = made(1200)
    small = holdout.apart(labels[:600], keys.take(range(600)), 0.2, *USE)
    large = holdout.apart(labels, keys, 0.2, *USE)
    np.testing.assert_array_equal(large[:600], small)
    assert abs(large.mean() - 0.2) < 0.04 and large[600:].any() and not large[600:].all()
    # In any order, and with some of them gone.
    rows = np.random.default_rng(0).permutation(1200)[:900]
    np.testing.assert_array_equal(holdout.apart(labels[rows], keys.take(rows), 0.2, *USE), large[rows])


def test_the_share_of_each_class_is_the_fraction_within_chance():
    labels, keys = made(8000)
    held = holdout.apart(labels, keys, 0.1, *USE)
    shares = np.bincount(labels[held]) / np.bincount(labels)
    # Four standard deviations of a share of 2,000.
    assert abs(shares - 0.1).max() < 4 * np.sqrt(0.1 * 0.9 / 2000)


@pytest.mark.parametrize("choose", [holdout.apart, holdout.ranked])
@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.9])
def test_equal_files_are_on_one_side_and_no_class_is_lost(choose, fraction):
    random = np.random.default_rng(1)
    for count in (1, 2, 3, 12):
        numbers = random.integers(0, count, 40)
        keys = Keys([b"same %d" % n for n in numbers])
        labels = numbers % 2
        held = choose(labels, keys, fraction, *USE)
        assert not {keys.contents[i] for i in np.flatnonzero(held)} & {keys.contents[i] for i in np.flatnonzero(~held)}
        for label in np.unique(labels):
            of = labels == label
            different = len(set(numbers[of]))
            assert not held[of].all() and held[of].any() == (different > 1)


def test_one_content_under_two_classes_leaves_each_class_a_training_example():
    # The class 1 shares its only two contents with the class 0.
    keys = Keys([b"x", b"y", *(b"%d" % i for i in range(20)), b"x", b"y"])
    labels = np.array([0] * 22 + [1] * 2)
    for seed in range(20):
        held = holdout.apart(labels, keys, 0.5, holdout.TEST, seed)
        assert held[0] == held[22] and held[1] == held[23] and (~held[22:]).sum() >= 1


def test_few_examples_are_held_out_by_number():
    labels, keys = made(400)
    rows = holdout.few(labels, keys, 12, seed=3)
    np.testing.assert_array_equal(np.bincount(labels[rows]), [12] * 4)
    held = holdout.ranked(labels[rows], keys.take(rows), 0.25, holdout.VALIDATION, 3)
    np.testing.assert_array_equal(np.bincount(labels[rows][held]), [3] * 4)
    # A larger budget holds the smaller one, and an example that is added drives out one of its class at most.
    assert set(rows) <= set(holdout.few(labels, keys, 20, seed=3))
    without = holdout.few(labels[1:], Keys(keys.contents[1:]), 12, seed=3) + 1
    assert len(set(rows) - set(without)) <= 1


def test_few_examples_that_grow_move_from_validation_to_training_or_out():
    labels, keys = made(1600)
    for seed in range(5):
        before = plan_splits(labels[:400], 4, 0.25, seed, per_class=12, keys=keys.take(range(400)))
        for count in (401, 440, 800, 1600):
            after = plan_splits(labels[:count], 4, 0.25, seed, per_class=12, keys=keys.take(range(count)))
            assert len(after.validation) == 12 and len(after.train) == 36
            assert not {*before.train} & {*after.validation}
            before = after


def test_a_plan_by_keys_is_told_by_its_contents():
    labels, keys = made(200, classes=2)
    plan = plan_splits(labels, 2, 0.2, 5, keys=keys)
    again = plan_splits(labels, 2, 0.2, 5, keys=keys)
    assert plan.facts == again.facts and len(plan.train) + len(plan.validation) == 200
    assert set(plan_splits(labels, 2, 0.2, 6, keys=keys).validation) != set(plan.validation)
    changed = Keys([b"other", *keys.contents[1:]])
    assert plan_splits(labels, 2, 0.2, 5, keys=changed).facts["digest"] != plan.facts["digest"]
    own = plan_splits(labels, 2, 0.2, 5, own_validation=True, keys=keys)
    assert own.validation is None and len(own.train) == 200
    train, test = carve_test(labels, 2, 0.2, keys)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(200))


def test_digests_are_of_the_bytes_alone(tmp_path):
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two"), ("large", b"x" * (3 << 20))):
        (tmp_path / name).write_bytes(content)
    told = []
    paths = [str(tmp_path / name) for name in ("a", "b", "c", "large", "absent", "gone")]
    found = digests(paths, lambda *state: told.append(state))
    assert found[0] == found[1] == hashlib.blake2b(b"one", digest_size=16).digest() != found[2]
    assert found[3] == hashlib.blake2b(b"x" * (3 << 20), digest_size=16).digest()
    # Those that cannot be read are different from each other.
    assert found[4] != found[5] and told[-1] == (6, 6, "")
