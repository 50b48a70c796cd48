import numpy as np
import pytest
import tensorflow as tf
from engine_tools import TRAIN, Simple, plan_of

from tf_transfer import methods
from tf_transfer.data.splits import Split
from tf_transfer.data.streams import Streams
from tf_transfer.data.training_data import TrainingData
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.modalities import base
from tf_transfer.modalities.image.preprocessing import Preprocessing
from tf_transfer.modalities.image.small_resnet import SmallResNet
from tf_transfer.models.classifier import Classifier
from tf_transfer.phases.catalogue import PHASES
from tf_transfer.training import regularizers
from tf_transfer.training.method import Setting
from tf_transfer.training.noise import Noise
from tf_transfer.training.problem import CLASSIFICATION
from tf_transfer.training.step import Stepper

STEPS = 6
RATES = [0.5, 1.0, 0.8, 0.6, 0.4, 0.2]


def run(task, streams, config, strategy, rates=RATES, seed=0):
    """Takes steps as `fit` does; returns the loss and the accuracy of each, and the stepper."""
    penalty = regularizers.of_groups(config.regularizer, task.groups())
    with strategy.scope():
        stepper = Stepper(task, config, streams.sizes, strategy, seed, penalty)
    stream = streams.stream(strategy, 0, len(rates))
    found = [stepper(next(stream), rate, step) for step, rate in enumerate(rates)]
    return [(loss, measures.get("accuracy")) for loss, measures in found], stepper


def by_hand(task, batches, config, decay):
    """Softmax regression with weighted examples, L2, clipping, Nesterov momentum and averages, in float64."""
    bias, kernel = (v.numpy().astype(float) for v in task.state())
    values, factors = [bias, kernel], [0.5, 1.0]
    velocity, averages = [0 * v for v in values], [v.copy() for v in values]
    measured = []
    for step, rate in enumerate(RATES):
        batch = batches.batch(step)[TRAIN]
        logits = batch["inputs"] @ values[1] + values[0]
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        rows = np.arange(len(p))
        losses = -np.log(p[rows, batch["label"]]) * batch["weight"]
        measured.append((losses.mean(), (logits.argmax(1) == batch["label"]).mean()))
        error = (p - np.eye(3)[batch["label"]]) * batch["weight"][:, None] / len(p)
        gradients = [error.sum(0), batch["inputs"].T @ error + decay * values[1]]
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        if config.clip_norm:
            gradients = [g * min(1, config.clip_norm / norm) for g in gradients]
        for i, g in enumerate(gradients):
            velocity[i] = 0.9 * velocity[i] - rate * factors[i] * g
            values[i] = values[i] + 0.9 * velocity[i] - rate * factors[i] * g
            share = min(config.ema, (1 + step) / (10 + step))
            averages[i] = share * averages[i] + (1 - share) * values[i]
    return measured, values, averages


@pytest.mark.parametrize("clip_norm", [0.0, 0.2])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_a_step_is_what_the_formulas_say(softmax_regression, make_streams, strategy, clip_norm, decay):
    task, batches = softmax_regression(strategy), make_streams()
    config = plan_of(1, 1.0, clip_norm=clip_norm, ema=0.3, regularizer=f"l2({decay})")
    expected, values, averages = by_hand(task, batches, config, decay)
    found, stepper = run(task, batches, config, strategy)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for variable, value in zip(task.state(), values, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-5, atol=1e-6)
    with stepper.averaged():
        for variable, value in zip(task.state(), averages, strict=True):
            np.testing.assert_allclose(variable.numpy(), value, rtol=1e-5, atol=1e-6)
    for variable, value in zip(task.state(), values, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-5, atol=1e-6)


def test_replicas_hold_equal_copies(softmax_regression, make_streams):
    strategy = make_strategy("mirrored")
    task = softmax_regression(strategy)
    _, stepper = run(task, make_streams(), plan_of(1, 1.0, ema=0.9), strategy)
    for variable in [*task.state(), *stepper.averages, *(s for slots in stepper.slots for s in slots)]:
        first, second = (v.numpy() for v in variable.values)
        np.testing.assert_array_equal(first, second)
        assert first.any()


def test_without_an_average_nothing_is_exchanged(softmax_regression, make_streams, one_device):
    task = softmax_regression(one_device)
    _, stepper = run(task, make_streams(), plan_of(1, 1.0), one_device)
    before = [v.numpy() for v in task.state()]
    with stepper.averaged():
        for variable, value in zip(task.state(), before, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)


def test_weights_come_back_when_validation_fails(softmax_regression, make_streams, one_device):
    task = softmax_regression(one_device)
    _, stepper = run(task, make_streams(), plan_of(1, 1.0, ema=0.9), one_device)
    before = [v.numpy() for v in task.state()]
    with pytest.raises(RuntimeError), stepper.averaged():
        raise RuntimeError
    for variable, value in zip(task.state(), before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("parts", [1, 2])
def test_noise_is_a_function_of_seed_step_and_example(softmax_regression, make_streams, strategy, parts):
    task, batches = softmax_regression(strategy), make_streams()

    def loss(batch, noise):
        # Weighted by its place: numbers that were shuffled would be seen.
        place = tf.cast(batch["row"] + 1, tf.float32)
        return place * noise.uniform((), 0) / batch["weight"], place * noise.uniform((3,), 1)[:, 2]

    config = plan_of(1, 1.0, accumulate=parts)
    found, _ = run(Simple(loss, task.groups(), task.state()), batches, config, strategy, seed=42)
    for step, (first, second) in enumerate(found):
        noise = Noise(tf.constant([42, step]), tf.range(batches.size), batches.size)
        place = np.arange(1, batches.size + 1)
        np.testing.assert_allclose(first, np.mean(place * noise.uniform((), 0)), rtol=1e-6)
        np.testing.assert_allclose(second, np.mean(place * noise.uniform((3,), 1)[:, 2]), rtol=1e-6)
    assert len({f[0] for f in found}) == len(found) == STEPS


def test_variables_without_a_gradient_only_decay(make_streams, softmax_regression, one_device):
    task = softmax_regression(one_device)
    idle = Simple(lambda batch, noise: (0 * batch["weight"], 0 * batch["weight"]), task.groups(), task.state())
    before = [v.numpy() for v in task.state()]
    run(idle, make_streams(), plan_of(1, 1.0, optimizer="sgd(weight_decay=0.1)"), one_device, [0.5])
    np.testing.assert_array_equal(task.state()[0].numpy(), before[0])
    np.testing.assert_allclose(task.state()[1].numpy(), before[1] * (1 - 0.1 * 0.5), rtol=1e-6)


def small_resnet_steps(strategy):
    """Everything at once that must not depend on the replicas, dropout included."""
    random = np.random.default_rng(0)
    inputs = random.integers(0, 256, (24, 16, 16, 3), np.uint8)
    labels = random.integers(0, 3, 24, np.int32)
    data = TrainingData(Split(inputs, labels, [""] * 24), None, ("a", "b", "c"), np.array([0.5, 1.0, 2.0], np.float32))
    tf.keras.utils.set_random_seed(5)
    with strategy.scope():
        classifier = Classifier(
            SmallResNet(input_shape=(16, 16, 3), pooling="avg", width=4), Preprocessing(16, "tf"), 3, dropout=0.3
        )
    classifier.set_batchnorm("train")
    augment, options = "flip,crop(0.125),mixup(0.3)", {"layer_decay": 0.5, "label_smoothing": 0.1, "batch_size": 8}
    plan = plan_of(1, 1.0, clip_norm=0.5, ema=0.9, regularizer="l2sp(0.1, 0.01)", augment=augment, **options)
    method = methods.create(
        "supervised", Setting(classifier, data, plan, PHASES["full"], base.find("image"), CLASSIFICATION, strategy)
    )
    found, stepper = run(method, Streams(method.streams(), 1), plan, strategy, [0.1, 0.08, 0.06, 0.04])
    return found, classifier.state_values(), [v.numpy() for v in stepper.averages]


def test_two_replicas_train_a_network_like_one_device(one_device):
    two = small_resnet_steps(make_strategy("mirrored"))
    one = small_resnet_steps(one_device)
    np.testing.assert_allclose(two[0], one[0], rtol=1e-5)
    for mirrored, single in zip([*two[1], *two[2]], [*one[1], *one[2]], strict=True):
        np.testing.assert_allclose(mirrored, single, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_add_up_to_it(softmax_regression, make_streams, strategy, parts):
    found = []
    for accumulate in (1, parts):
        task = softmax_regression(strategy)
        config = plan_of(1, 1.0, clip_norm=0.2, ema=0.3, accumulate=accumulate, regularizer="l2(0.3)")
        measured, stepper = run(task, make_streams(), config, strategy)
        found.append([measured, *(v.numpy() for v in [*task.state(), *stepper.averages])])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-6)
