import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
import tools

from tf_transfer.data.batches import DRAWS
from tf_transfer.data.splits import Split
from tf_transfer.evaluation.classification import measure, standard_error
from tf_transfer.methods.supervised import TRAIN, Supervised
from tf_transfer.modalities.image.preprocessing import Preprocessing
from tf_transfer.modalities.image.small_resnet import SmallResNet
from tf_transfer.models.classifier import Classifier
from tf_transfer.models.inference import Predictor
from tf_transfer.training import regularizers
from tf_transfer.training.noise import Noise

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


def method(classifier, **options):
    """The method on whole pictures, the head alone training mode unless the statistics train, too."""
    through = options.pop("through_backbone", False)
    options = {"phase": "full", "bn": "train"} | options if through else {"phase": "head", "bn": "frozen"} | options
    return tools.supervised(classifier, **options)


def losses_of(made, examples, noise=NOISE):
    """Losses and hits of a batch."""
    found = made.loss({TRAIN: examples}, {TRAIN: noise}, tf.constant(0.0))
    return found.examples, found.measures["accuracy"]


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


def test_a_split_is_scored_by_its_accuracy(one_device):
    classifier = small()
    split = Split(IMAGES, LABELS, [""] * 7)
    score = method(classifier, validation=split).score()
    expected = measure(Predictor(classifier.logits, one_device, 16)(IMAGES), LABELS)
    assert score.measures == expected
    assert (score.value, score.loss) == (expected["accuracy"], expected["loss"])
    assert score.standard_error == standard_error(score.value, 7)
    assert method(classifier).score() is None
    assert method(classifier, validation=split.take(np.arange(0))).score() is None


# --- classification


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_cross_entropy_with_smoothed_labels(smoothing):
    classifier = small()
    losses, hits = losses_of(method(classifier, label_smoothing=smoothing), batch())
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
    losses, _ = losses_of(method(classifier, augment="flip"), flipped)
    expected, _ = losses_of(method(classifier), batch(IMAGES[:, :, ::-1]))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_training_mode_reaches_the_backbone_only_when_asked():
    classifier = small()
    classifier.set_batchnorm("train")
    before = classifier.state_values()
    frozen, _ = losses_of(method(classifier, through_backbone=False), batch())
    assert all(np.array_equal(a, b) for a, b in zip(classifier.state_values(), before, strict=True))
    trained, _ = losses_of(method(classifier, through_backbone=True), batch())
    assert not np.allclose(trained, frozen)
    assert not all(np.array_equal(a, b) for a, b in zip(classifier.state_values(), before, strict=True))


def test_dropout_follows_the_seed_of_the_step():
    made = method(small(dropout=0.5))
    images = batch()
    first, again, other = (losses_of(made, images, Noise(tf.constant([1, s]), tf.range(7), 7))[0] for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_mixed_pictures_have_mixed_losses():
    classifier = small()
    mix = tf.constant(RANDOM.random(7, np.float32))
    mixed = batch() | {"inputs2": tf.constant(IMAGES), "label2": tf.constant((LABELS + 1) % 3), "mix": mix}
    losses, hits = losses_of(method(classifier, augment="mixup(0.2)"), mixed)
    log_p = np.log(tf.nn.softmax(classifier.logits(IMAGES)))
    rows = np.arange(7)
    expected = -mix * log_p[rows, LABELS] - (1 - mix) * log_p[rows, (LABELS + 1) % 3]
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    np.testing.assert_array_equal(hits, np.argmax(log_p, 1) == LABELS)


def test_penalty_tells_backbone_from_head():
    classifier = small()
    penalty = regularizers.of_groups("l2sp(alpha=1.0, beta=0.5)", method(classifier, phase="full").groups())
    kernel = classifier.head.kernel.numpy()
    np.testing.assert_allclose(penalty(), 0.25 * (kernel**2).sum(), rtol=1e-5)
    stem = classifier.backbone.get_layer("stem_conv").kernel
    stem.assign(stem + 1.0)
    np.testing.assert_allclose(penalty(), 0.25 * (kernel**2).sum() + 0.5 * stem.shape.num_elements(), rtol=1e-5)
    assert regularizers.of_groups("none", method(classifier).groups()) is None


def test_state_is_everything_for_pictures_and_the_head_for_features():
    classifier = small()
    assert [id(v) for v in method(classifier).state()] == [id(v) for v in classifier.state]
    probe = method(classifier, on_features=True)
    assert [id(v) for v in probe.state()] == [id(v.value) for v in classifier.head.variables]
    assert [g.name for g in probe.groups()] == ["head"]


def test_a_phase_trains_what_its_row_says():
    classifier = small()
    every = [g.name for g in classifier.groups()]
    assert [g.name for g in method(classifier, phase="head").groups()] == ["head"]
    options = {"unfreeze": "stage3", "layer_decay": 0.5}
    assert [(g.name, g.factor) for g in method(classifier, phase="full", **options).groups()] == [
        ("stage3", 0.5),
        ("head", 1.0),
    ]
    # What is trained from random weights is trained whole.
    for phase in ("scratch", "source"):
        assert [(g.name, g.factor) for g in method(classifier, phase=phase, **options).groups()] == [
            (name, 1.0) for name in every
        ]


def test_on_features_the_head_trains_as_through_the_backbone():
    classifier = small()
    features = classifier.features(IMAGES)
    found = losses_of(method(classifier, on_features=True, label_smoothing=0.1), batch(features))
    for a, b in zip(found, losses_of(method(classifier, label_smoothing=0.1), batch()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_examples_are_weighed_by_their_class():
    stream = method(small(), split=Split(IMAGES, LABELS, [""] * 7), weights=np.array([0.5, 1, 2], np.float32)).streams()
    np.testing.assert_array_equal(stream[TRAIN].weights, np.array([0.5, 1, 2], np.float32)[LABELS])


# --- another loss on the same labels


class Focal(Supervised):
    """Cross-entropy times (1 - p)^gamma: examples that are right already weigh less (Lin et al. 2017)."""

    def __init__(self, setting, gamma: float = 2.0):
        def loss(logits, targets):
            logs = tf.nn.log_softmax(logits)
            return -tf.reduce_sum(targets * (1.0 - tf.exp(logs)) ** gamma * logs, -1)

        super().__init__(dataclasses.replace(setting, problem=dataclasses.replace(setting.problem, loss=loss)))


def test_another_loss_is_a_method_with_another_problem():
    setting, examples = method(small()).setting, batch()
    plain, hits = losses_of(Supervised(setting), examples)
    # p = exp(-cross-entropy), since a target is all on one class.
    expected = (1 - np.exp(-plain.numpy())) ** 2 * plain.numpy()
    found, same = losses_of(Focal(setting), examples)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(losses_of(Focal(setting, gamma=0.0), examples)[0], plain, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(same, hits)


def test_where_classes_are_adjusted_the_loss_sees_the_offsets_and_the_record_does_not():
    classifier, offsets = small(), np.log([0.7, 0.2, 0.1]).astype(np.float32)
    validation = Split(IMAGES, LABELS, [""] * 7)
    plain, adjusted = (
        method(classifier, split=validation, validation=validation, offsets=given) for given in (None, offsets)
    )
    logits = classifier.logits(IMAGES).numpy()
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    losses, hits = losses_of(adjusted, batch())
    np.testing.assert_allclose(losses, crossentropy(LABELS, logits + offsets), rtol=1e-4)
    np.testing.assert_allclose(hits, logits.argmax(1) == LABELS)
    np.testing.assert_allclose(losses_of(plain, batch())[0], crossentropy(LABELS, logits), rtol=1e-4)
    score = adjusted.score()
    assert score.value == pytest.approx(np.mean((logits + offsets).argmax(1) == LABELS))
    assert score.loss == pytest.approx(float(np.mean(crossentropy(LABELS, logits + offsets))), rel=1e-4)
    assert dict(score.measures) == pytest.approx(dict(plain.score().measures))
