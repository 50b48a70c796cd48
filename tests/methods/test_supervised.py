import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_transfer.data.batches import DRAWS
from tf_transfer.data.splits import Split
from tf_transfer.evaluation.classification import measure
from tf_transfer.methods import supervised
from tf_transfer.methods.supervised import validator
from tf_transfer.modalities.image import augment
from tf_transfer.modalities.image.preprocessing import Preprocessing
from tf_transfer.modalities.image.small_resnet import SmallResNet
from tf_transfer.models.classifier import Classifier
from tf_transfer.models.dropout import Noise
from tf_transfer.models.inference import Predictor

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (7, 16, 16, 3), np.uint8)
LABELS = RANDOM.integers(0, 3, 7, np.int32)
NOISE = Noise(tf.constant([1, 2]), tf.range(7), 7)


def small(dropout=0.0):
    keras.utils.set_random_seed(1)
    classifier = Classifier(
        SmallResNet(input_shape=(16, 16, 3), pooling="avg", width=4), Preprocessing(16, "tf"), 3, dropout
    )
    classifier.head.kernel.assign(RANDOM.normal(size=classifier.head.kernel.shape))
    return classifier


def classification(classifier, augmentation="none", smoothing=0.0, regularizer="none", through_backbone=False):
    parsed = augment.parse(augmentation)
    return supervised.classification(
        classifier, classifier.groups(), parsed, smoothing, regularizer, through_backbone, None
    )


def batch(inputs=IMAGES):
    return {"inputs": tf.constant(inputs), "label": tf.constant(LABELS), "weight": tf.ones(7),
            "uniform": tf.constant(RANDOM.random((7, DRAWS), np.float32))}  # fmt: skip


# --- prediction


@pytest.mark.parametrize("size", [1, 3, 4, 7, 50])
def test_predictions_come_in_order_whatever_the_batch(strategy, size):
    inputs = RANDOM.normal(size=(23, 4)).astype(np.float32)
    predict = Predictor(lambda x: 2.0 * x[:, :2] + 1.0, strategy, size)
    assert predict.size % strategy.num_replicas_in_sync == 0
    shown = []
    found = predict(inputs, lambda *a: shown.append(a))
    np.testing.assert_allclose(found, 2 * inputs[:, :2] + 1)
    assert shown[-1] == (23, 23, "") and [s[0] for s in shown] == sorted({s[0] for s in shown})


def test_predictions_follow_the_weights(one_device):
    classifier = small()
    predict = Predictor(classifier.logits, one_device, 4)
    np.testing.assert_allclose(predict(IMAGES), classifier.logits(IMAGES), rtol=1e-4, atol=1e-5)
    classifier.head.bias.assign([1.0, 2.0, 3.0])
    np.testing.assert_allclose(predict(IMAGES), classifier.logits(IMAGES), rtol=1e-4, atol=1e-5)


def test_measure_is_cross_entropy_and_accuracy():
    logits = RANDOM.normal(size=(50, 4)).astype(np.float32) * 5
    labels = RANDOM.integers(0, 4, 50)
    found = measure(logits, labels)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    np.testing.assert_allclose(found["loss"], float(expected), rtol=1e-5)
    assert found["accuracy"] == np.mean(logits.argmax(1) == labels)
    # Logits far beyond what exp can hold.
    found = measure(np.array([[1e4, 0.0], [0.0, 1e4]], np.float32), np.array([0, 0]))
    assert found == {"loss": 5e3, "accuracy": 0.5, "examples": 2}


def test_validator_measures_a_split_or_is_none(one_device):
    predict = Predictor(lambda x: x, one_device, 4)
    logits = RANDOM.normal(size=(9, 3)).astype(np.float32)
    split = Split(logits, RANDOM.integers(0, 3, 9, np.int32), [""] * 9)
    assert validator(predict, split)() == measure(logits, split.labels)
    assert validator(predict, None) is None
    assert validator(predict, split.take(np.arange(0))) is None


# --- classification


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_cross_entropy_with_smoothed_labels(smoothing):
    classifier = small()
    losses, hits = classification(classifier, smoothing=smoothing).loss(batch(), NOISE)
    logits = classifier.logits(IMAGES)
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, reduction=None)(
        np.eye(3)[LABELS], logits
    )
    assert losses.dtype == hits.dtype == tf.float32
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_array_equal(hits, np.argmax(logits, 1) == LABELS)


def test_pictures_are_augmented_before_the_network():
    classifier = small()
    flipped = batch() | {"uniform": tf.zeros((7, DRAWS))}
    losses, _ = classification(classifier, "flip").loss(flipped, NOISE)
    expected, _ = classification(classifier).loss(batch(IMAGES[:, :, ::-1]), NOISE)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_training_mode_reaches_the_backbone_only_when_asked():
    classifier = small()
    classifier.set_batchnorm("train")
    before = classifier.state_values()
    frozen, _ = classification(classifier, through_backbone=False).loss(batch(), NOISE)
    assert all(np.array_equal(a, b) for a, b in zip(classifier.state_values(), before, strict=True))
    trained, _ = classification(classifier, through_backbone=True).loss(batch(), NOISE)
    assert not np.allclose(trained, frozen)
    assert not all(np.array_equal(a, b) for a, b in zip(classifier.state_values(), before, strict=True))


def test_dropout_follows_the_seed_of_the_step():
    task = classification(small(dropout=0.5))
    images = batch()
    first, again, other = (task.loss(images, Noise(tf.constant([1, s]), tf.range(7), 7))[0] for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_mixed_pictures_have_mixed_losses():
    classifier = small()
    mix = tf.constant(RANDOM.random(7, np.float32))
    mixed = batch() | {"inputs2": tf.constant(IMAGES), "label2": tf.constant((LABELS + 1) % 3), "mix": mix}
    losses, hits = classification(classifier, "mixup(0.2)").loss(mixed, NOISE)
    log_p = np.log(tf.nn.softmax(classifier.logits(IMAGES)))
    rows = np.arange(7)
    expected = -mix * log_p[rows, LABELS] - (1 - mix) * log_p[rows, (LABELS + 1) % 3]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    np.testing.assert_array_equal(hits, np.argmax(log_p, 1) == LABELS)


def test_penalty_tells_backbone_from_head():
    classifier = small()
    task = classification(classifier, regularizer="l2sp(alpha=1.0, beta=0.5)")
    kernel = classifier.head.kernel.numpy()
    np.testing.assert_allclose(task.penalty(), 0.25 * (kernel**2).sum(), rtol=1e-5)
    stem = classifier.backbone.get_layer("stem_conv").kernel
    stem.assign(stem + 1.0)
    np.testing.assert_allclose(task.penalty(), 0.25 * (kernel**2).sum() + 0.5 * stem.shape.num_elements(), rtol=1e-5)
    assert classification(classifier).penalty is None


def test_state_is_everything_for_pictures_and_the_head_for_features():
    classifier = small()
    assert [id(v) for v in classification(classifier).state] == [id(v) for v in classifier.state]
    probe = supervised.probe(classifier, 0.0, "none", None)
    assert [id(v) for v in probe.state] == [id(v.value) for v in classifier.head.variables]
    assert [g.name for g in probe.groups] == ["head"]


def test_probe_trains_the_head_on_features():
    classifier = small()
    features = classifier.features(IMAGES)
    found = supervised.probe(classifier, 0.1, "none", None).loss(batch(features), NOISE)
    for a, b in zip(found, classification(classifier, smoothing=0.1).loss(batch(), NOISE), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    penalty = supervised.probe(classifier, 0.1, "l2(2.0)", None).penalty()
    np.testing.assert_allclose(penalty, (classifier.head.kernel.numpy() ** 2).sum(), rtol=1e-5)
