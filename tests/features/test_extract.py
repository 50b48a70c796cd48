import keras
import numpy as np
import pytest

from tf_transfer.data.batches import DRAWS
from tf_transfer.data.splits import Split
from tf_transfer.features.extract import Standardizer, Views, extract
from tf_transfer.features.store import FeatureStore
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.modalities.image import augment
from tf_transfer.modalities.image.preprocessing import Preprocessing
from tf_transfer.modalities.image.small_resnet import SmallResNet
from tf_transfer.models.classifier import Classifier
from tf_transfer.models.inference import Predictor

RANDOM = np.random.default_rng(0)
SPLIT = Split(
    RANDOM.integers(0, 256, (11, 16, 16, 3), np.uint8),
    RANDOM.integers(0, 3, 11, np.int32),
    [f"picture {i}" for i in range(11)],
)


def small(strategy):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        return Classifier(SmallResNet(input_shape=(16, 16, 3), pooling="avg", width=4), Preprocessing(16, "tf"), 3)


@pytest.mark.parametrize("strategy", ["one", "mirrored"])
def test_features_are_those_of_the_backbone(strategy):
    strategy = make_strategy(strategy)
    classifier = small(strategy)
    classifier.set_batchnorm("train")  # inference all the same
    before, shown = classifier.state_values(), []
    made, here = extract(classifier, SPLIT, Views(), strategy, 4, lambda *a: shown.append(a))
    assert here == 0
    assert made.inputs.shape == (11, 16) and made.inputs.dtype == np.float32
    np.testing.assert_allclose(made.inputs, classifier.features(SPLIT.inputs), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(made.labels, SPLIT.labels)
    assert list(made.names) == list(SPLIT.names)
    assert [(done, total) for done, total, _ in shown] == [(4, 11), (8, 11), (11, 11)]
    for now, then in zip(classifier.state_values(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_second_view_is_the_mirror_image():
    strategy, shown = make_strategy("one"), []
    classifier = small(strategy)
    made, _ = extract(classifier, SPLIT, Views(2, augment.parse("flip")), strategy, 8, lambda *a: shown.append(a))
    both = np.concatenate([SPLIT.inputs, SPLIT.inputs[:, :, ::-1]])
    np.testing.assert_allclose(made.inputs, classifier.features(both), rtol=1e-4, atol=1e-5)
    assert np.abs(made.inputs[:11] - made.inputs[11:]).max() > 1e-3
    np.testing.assert_array_equal(made.labels, np.tile(SPLIT.labels, 2))
    assert list(made.names) == [*SPLIT.names, *SPLIT.names]
    assert [(done, total) for done, total, _ in shown] == [(8, 22), (11, 22), (19, 22), (22, 22)]


def test_further_views_are_random_and_fixed_by_the_seed():
    strategy = make_strategy("one")
    classifier = small(strategy)
    views = Views(4, augment.parse("flip,crop(0.25)"), 3)
    made, _ = extract(classifier, SPLIT, views, strategy, 8)
    rows = made.inputs.reshape(4, 11, -1)
    for view in (2, 3):
        batch = {"inputs": SPLIT.inputs, "label": SPLIT.labels}
        batch["uniform"] = np.random.Generator(np.random.Philox(key=[3, view])).random((11, DRAWS), dtype=np.float32)
        images, _ = augment.parse("flip,crop(0.25)")(batch, lambda labels: labels)
        np.testing.assert_allclose(rows[view], classifier.features(images), rtol=1e-4, atol=1e-5)
    other, _ = extract(classifier, SPLIT, Views(4, augment.parse("flip,crop(0.25)"), 4), strategy, 8)
    other = other.inputs.reshape(4, 11, -1)
    np.testing.assert_array_equal(rows[:2], other[:2])
    assert all(np.abs(rows[v] - other[v]).max() > 1e-3 for v in (2, 3))
    # Where nothing flips, the second view is a random one already.
    digits, _ = extract(classifier, SPLIT, Views(2, augment.parse("crop(0.25)"), 3), strategy, 8)
    assert np.abs(digits.inputs[11:] - rows[1]).max() > 1e-3


@pytest.mark.parametrize("stop", [0, 1, 3, 5, 6])
def test_an_interrupted_pass_is_gone_on_with_and_ends_with_the_same_features(tmp_path, stop):
    """Also where it was cut in the middle of a row, and where it stopped between the views."""
    strategy, shown = make_strategy("one"), []
    classifier = small(strategy)
    whole, _ = extract(classifier, SPLIT, Views(2, augment.parse("flip")), strategy, 4)
    store = FeatureStore(tmp_path, 1 << 30)

    def interrupt(done, total, text):
        shown.append(done)
        if len(shown) > stop:
            raise KeyboardInterrupt

    facts = {"weights": "w"}
    if stop < 6:
        with pytest.raises(KeyboardInterrupt):
            extract(classifier, SPLIT, Views(2, augment.parse("flip")), strategy, 4, interrupt, store, facts)
        (partial,) = tmp_path.rglob("*.partial")
        with partial.open("ab") as f:
            f.write(b"cut")
    made, here = extract(classifier, SPLIT, Views(2, augment.parse("flip")), strategy, 4, None, store, facts)
    assert here == {0: 4, 1: 8, 3: 15, 5: 22, 6: 0}[stop]
    np.testing.assert_allclose(made.inputs, whole.inputs, rtol=1e-5, atol=1e-6)
    again, here = extract(classifier, SPLIT, Views(2, augment.parse("flip")), strategy, 4, None, store, facts)
    assert here == 22
    np.testing.assert_array_equal(again.inputs, made.inputs)


# Features of very different size, and two that do not vary.
FEATURES = (RANDOM.normal(size=(200, 6)) * [100, 1, 0.01, 1, 0, 0] + [0, 50, 0, 1, 3, 0]).astype(np.float32)
KERNEL, BIAS = RANDOM.normal(size=(6, 4)).astype(np.float32), RANDOM.normal(size=4).astype(np.float32)


def scaled():
    return Standardizer(FEATURES)(Split(FEATURES, np.zeros(200, np.int32), [""] * 200)).inputs


def test_scaled_features_have_mean_zero_and_deviation_one():
    found = scaled()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(0), [1, 1, 1, 1, 0, 0], atol=1e-4)


def test_a_head_on_scaled_features_is_folded_into_one_on_plain_features():
    kernel, bias = Standardizer(FEATURES).fold(KERNEL, BIAS)
    np.testing.assert_allclose(FEATURES @ kernel + bias, scaled() @ KERNEL + BIAS, atol=1e-4)
    assert np.isfinite(kernel).all() and kernel.dtype == bias.dtype == np.float32


def test_a_head_on_plain_features_is_unfolded_into_one_on_scaled_features():
    kernel, bias = Standardizer(FEATURES).unfold(KERNEL, BIAS)
    np.testing.assert_allclose(scaled() @ kernel + bias, FEATURES @ KERNEL + BIAS, rtol=1e-5, atol=1e-3)


def test_unfolding_and_folding_is_the_same_head():
    scale = Standardizer(FEATURES)
    for found, expected in zip(scale.fold(*scale.unfold(KERNEL, BIAS)), (KERNEL, BIAS), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_splits_that_share_a_pass_trace_the_network_once(monkeypatch):
    strategy = make_strategy("one")
    classifier, traces = small(strategy), []
    plain = classifier.features
    predict = Predictor(lambda x: traces.append(1) or plain(x), strategy, 4)
    made = [extract(classifier, SPLIT, Views(), strategy, 4, predict=predict)[0] for _ in range(2)]
    assert len(traces) == 1
    np.testing.assert_array_equal(made[0].inputs, made[1].inputs)
