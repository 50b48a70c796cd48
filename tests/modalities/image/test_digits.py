import numpy as np
import pytest
from sklearn.datasets import load_digits

from tf_transfer.data.array_source import ArraySource
from tf_transfer.errors import UserError
from tf_transfer.modalities import base
from tf_transfer.modalities.image.digits import open_digits


def test_digits_are_those_of_scikit_learn():
    source = open_digits()
    assert source.class_names == tuple("0123456789") and source.splits == ("train", "test")
    train, test = source.load("train"), source.load("test")
    assert (len(train), len(test)) == (1000, 797)
    assert train.inputs.shape == (1000, 8, 8, 3) and train.inputs.dtype == np.uint8 and train.labels.dtype == np.int32
    bunch = load_digits()
    # As a multiset: counts of ink blocks and the label, on every channel.
    ours = np.concatenate([train.inputs, test.inputs]).reshape(1797, 64, 3) * (16 / 255)
    labels = np.concatenate([train.labels, test.labels])
    expected = sorted(map(tuple, np.column_stack([bunch.target, bunch.data]).astype(int)))
    for channel in range(3):
        assert sorted(map(tuple, np.column_stack([labels, np.round(ours[..., channel])]).astype(int))) == expected


def test_digits_split_is_stratified_and_fixed():
    source, again = open_digits(), open_digits()
    counts = np.bincount(load_digits().target)
    np.testing.assert_allclose(np.bincount(source.labels("test")), counts * (797 / 1797), atol=1)
    np.testing.assert_array_equal(source.load("test").inputs, again.load("test").inputs)
    assert len(open_digits(test_fraction=0.1).labels("test")) == pytest.approx(180, abs=5)
    with pytest.raises(UserError, match="test_fraction"):
        open_digits(test_fraction=0)


def test_arrays_are_taken_and_resized_only_where_larger():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 6, 3), dtype=np.uint8)
    source = ArraySource("toy", images, np.arange(20) % 2, ("a", "b"), 0.5, base.find("image"))
    whole, part = source.load("train"), source.load("train", np.array([3, 1]), size=8)
    np.testing.assert_array_equal(part.inputs, whole.inputs[[3, 1]])
    assert part.names == ["toy/train#3", "toy/train#1"] and part.labels.tolist() == whole.labels[[3, 1]].tolist()
    assert source.load("test", size=7).inputs.shape == (10, 7, 7, 3)
