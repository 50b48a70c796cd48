import numpy as np
import pytest
import tensorflow as tf
from engine_tools import TRAIN, Simple, plan_of, run_of

from tf_transfer.errors import UserError
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.training.loop import fit
from tf_transfer.training.method import ParameterGroup
from tf_transfer.training.progress import epoch_ends

RATE = 0.25


def counter(strategy, measures=(), loss=None):
    """A task whose variable grows by the rate at every step: its value tells how many were taken.

    `measures` are the validation accuracies to give, epoch after epoch, or whole measurements.
    """
    with strategy.scope():
        variable = tf.Variable([0.0])
    seen, script = [], iter(measures)

    def validate():
        seen.append(variable.numpy()[0])
        measured = next(script)
        # So many examples that every difference of the scripts is one.
        told = measured if isinstance(measured, dict) else {"accuracy": measured, "loss": 1.0}
        return {"examples": 1_000_000} | told

    def falling(batch, noise):
        # Divided by its weight, as the loop multiplies by it.
        return -variable * tf.ones_like(batch["weight"]) / batch["weight"], tf.zeros_like(batch["weight"])

    task = Simple(loss or falling, [ParameterGroup("head", [variable])], [variable], validate if measures else None)
    return task, variable, seen


def run(task, batches, strategy, epochs, **options):
    records, shown = [], []
    options = {"optimizer": "sgd(momentum=0)", "schedule": "constant"} | options
    config = plan_of(epochs, RATE, **options)
    result = fit(task, batches, config, run_of(), strategy, records.append, lambda *a: shown.append(a))
    return result, records, shown


def test_best_epoch_is_kept(make_streams, strategy):
    task, variable, seen = counter(strategy, [0.5, 0.8, 0.7])
    result, records, _ = run(task, make_streams(n=32, size=8), strategy, 3)
    np.testing.assert_allclose(seen, [4 * RATE, 8 * RATE, 12 * RATE], rtol=1e-6)
    np.testing.assert_allclose(variable.numpy(), [8 * RATE], rtol=1e-6)
    assert (result.epochs, result.best_epoch, result.stopped_early, result.steps) == (3, 2, False, 12)
    assert result.best == {"accuracy": 0.8, "loss": 1.0, "examples": 1_000_000}
    assert [r["validation_accuracy"] for r in records] == [0.5, 0.8, 0.7]
    assert [r["validation_loss"] for r in records] == [1.0] * 3


def test_between_equal_accuracies_the_lower_loss_is_better(make_streams, one_device):
    measures = [{"accuracy": 0.5, "loss": loss} for loss in (0.9, 0.7, 0.8)]
    result, *_ = run(counter(one_device, measures)[0], make_streams(), one_device, 3)
    assert result.best_epoch == 2
    # Nothing is gained by an equal one: the earlier stays.
    result, *_ = run(counter(one_device, [0.5, 0.5])[0], make_streams(), one_device, 2)
    assert result.best_epoch == 1


@pytest.mark.parametrize(
    ("examples", "measures", "best"),
    [
        # One right answer of twenty more is no difference: the loss decides, also where all are right.
        (20, [(0.95, 0.5), (1.0, 0.6), (0.95, 0.4)], 3),
        (20, [(0.95, 0.5), (1.0, 0.6), (0.85, 0.4)], 1),
        # sqrt(0.9 * 0.1 / 5000) = 0.0042
        (5000, [(0.900, 0.5), (0.897, 0.4)], 2),
        (5000, [(0.900, 0.5), (0.895, 0.4)], 1),
        # The kept one falls more than an error behind in small steps: its loss no longer helps it.
        (5000, [(0.900, 0.1), (0.903, 0.5), (0.906, 0.5)], 3),
        # Nor may accuracy be lost in small steps.
        (5000, [(0.900, 0.5), (0.897, 0.4), (0.894, 0.3)], 2),
    ],
)
def test_within_one_standard_error_of_the_highest_accuracy_the_loss_decides(
    make_streams, one_device, examples, measures, best
):
    script = [{"accuracy": accuracy, "loss": loss, "examples": examples} for accuracy, loss in measures]
    result, *_ = run(counter(one_device, script)[0], make_streams(), one_device, len(script))
    assert result.best_epoch == best


@pytest.mark.parametrize(
    ("patience", "measures", "epochs", "best"),
    [
        (1, [0.5, 0.4], 2, 1),
        (2, [0.5, 0.4, 0.6, 0.6, 0.5], 5, 3),
        (3, [0.1, 0.2, 0.3, 0.2, 0.2, 0.2], 6, 3),
    ],
)
def test_patience_stops_so_many_epochs_after_the_best(make_streams, one_device, patience, measures, epochs, best):
    task, variable, _ = counter(one_device, measures)
    result, records, _ = run(task, make_streams(n=8, size=8), one_device, 10, patience=patience)
    assert (result.epochs, result.best_epoch, result.stopped_early) == (epochs, best, True)
    assert len(records) == epochs
    np.testing.assert_allclose(variable.numpy(), [best * RATE], rtol=1e-6)


def test_the_last_epoch_is_no_early_stop(make_streams, one_device):
    result, *_ = run(counter(one_device, [0.5, 0.4])[0], make_streams(), one_device, 2, patience=1)
    assert not result.stopped_early


def test_without_validation_the_last_epoch_is_kept(make_streams, one_device):
    task, variable, _ = counter(one_device)
    result, records, _ = run(task, make_streams(n=32, size=8), one_device, 3, patience=1)
    np.testing.assert_allclose(variable.numpy(), [12 * RATE], rtol=1e-6)
    assert (result.best_epoch, result.best, result.stopped_early) == (3, {}, False)
    assert not any(key.startswith("validation") for record in records for key in record)


def test_what_is_validated_and_kept_is_the_moving_average(make_streams, strategy):
    task, variable, seen = counter(strategy, [0.5, 0.6])
    run(task, make_streams(n=16, size=8), strategy, 2, ema=0.15)
    average, expected = 0.0, []
    for step in range(4):
        decay = min(0.15, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * RATE * (step + 1)
        expected.append(average)
    np.testing.assert_allclose(seen, expected[1::2], rtol=1e-6)
    np.testing.assert_allclose(variable.numpy(), expected[-1:], rtol=1e-6)


def test_records_tell_what_happened(make_streams, strategy):
    batches = make_streams(n=32, size=8)

    def loss(batch, noise):
        labels = tf.cast(batch["label"], tf.float32)
        return labels, tf.cast(batch["label"] == 2, tf.float32)

    task, *_ = counter(strategy, [0.5, 0.6, 0.7], loss)
    result, records, shown = run(task, batches, strategy, 2.5, schedule="linear", warmup=0.2)
    assert [(r["kind"], r["epoch"], r["epochs"], r["step"]) for r in records] == [
        ("epoch", 1, 3, 4),
        ("epoch", 2, 3, 8),
        ("epoch", 3, 3, 10),
    ]
    for record, (start, stop) in zip(records, [(0, 4), (4, 8), (8, 10)], strict=True):
        drawn = [batches.batch(step)[TRAIN] for step in range(start, stop)]
        weighted = np.mean([b["label"] * b["weight"] for b in drawn])
        np.testing.assert_allclose(record["train_loss"], weighted, rtol=1e-6)
        np.testing.assert_allclose(record["train_accuracy"], np.mean([b["label"] == 2 for b in drawn]), rtol=1e-6)
        np.testing.assert_allclose(record["learning_rate"], RATE * (1 - (stop - 1 - 2) / 8))
        assert record["seconds"] > 0
        np.testing.assert_allclose(record["examples_per_second"], (stop - start) * 8 / record["seconds"], rtol=1e-6)
    assert [(done, total) for done, total, _ in shown] == [(s, 10) for s in range(1, 11)]
    assert shown[0][2].startswith("epoch 1/3 loss ") and shown[-1][2].startswith("epoch 3/3 loss ")
    assert result.steps == 10 and result.seconds >= sum(r["seconds"] for r in records)


@pytest.mark.parametrize(
    ("epochs", "n", "size", "ends"),
    [
        (3, 32, 8, {1: 4, 2: 8, 3: 12}),
        (0.5, 32, 8, {1: 2}),
        (2.5, 32, 8, {1: 4, 2: 8, 3: 10}),
        (1, 10, 256, {1: 1}),
        # Epochs of less than a batch: no two end at one step.
        (3, 10, 16, {2: 1, 3: 2}),
        (100, 10, 256, {35: 1, 60: 2, 85: 3, 100: 4}),
    ],
)
def test_epochs_end_at_their_last_step(make_streams, epochs, n, size, ends):
    assert list(epoch_ends(epochs, make_streams(n, size).steps).items()) == list(ends.items())


def test_many_short_epochs_are_validated_every_few(make_streams):
    ends = epoch_ends(50, make_streams(n=8, size=8).steps)
    assert list(ends) == [*range(3, 50, 3), 50] and list(ends.values()) == list(ends)
    assert len(epoch_ends(1000, make_streams(n=8, size=8).steps)) == 20


def test_less_data_than_a_batch_trains(make_streams, one_device):
    task, _, seen = counter(one_device, [0.1] * 3)
    _, records, _ = run(task, make_streams(n=10, size=16), one_device, 3)
    assert [(r["epoch"], r["step"]) for r in records] == [(2, 1), (3, 2)]
    np.testing.assert_allclose(seen, [RATE, 2 * RATE], rtol=1e-6)


@pytest.mark.parametrize(("bad", "words"), [(np.nan, "nan"), (np.inf, "inf")])
def test_a_loss_that_is_no_number_stops_with_the_step_and_the_rate(make_streams, strategy, bad, words):
    def loss(batch, noise):
        # For the last example of the third step alone.
        wrong = (noise.seed[1] == 2) & (batch["row"] == noise.total - 1)
        return tf.where(wrong, bad, 0.0) + 0 * batch["weight"], 0 * batch["weight"]

    task, *_ = counter(strategy, loss=loss)
    message = rf"the loss became {words} at step 3 with the learning rate at 0\.15\. There is no checkpoint yet\."
    with pytest.raises(UserError, match=message):
        run(task, make_streams(n=40, size=8), strategy, 1, schedule="linear")


def test_training_again_gives_the_same_bits(make_streams, softmax_regression, strategy):
    ends = []
    for _ in range(2):
        task = softmax_regression(strategy)
        run(task, make_streams(), strategy, 2, optimizer="adamw", clip_norm=1.0, ema=0.9)
        ends.append([v.numpy() for v in task.state()])
    for first, second in zip(*ends, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_two_replicas_fit_like_one_device(make_streams, softmax_regression, optimizer):
    ends = []
    for name in ("one", "mirrored"):
        strategy = make_strategy(name)
        task = softmax_regression(strategy)
        run(task, make_streams(), strategy, 2, optimizer=optimizer, clip_norm=0.3, ema=0.5)
        ends.append([v.numpy() for v in task.state()])
    for one, two in zip(*ends, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)


def test_learning_happens(make_streams, softmax_regression, one_device):
    task = softmax_regression(one_device)
    _, records, _ = run(task, make_streams(n=400), one_device, 4, optimizer="sgd(momentum=0)")
    assert records[-1]["train_loss"] < 0.75 * records[0]["train_loss"]
    assert records[-1]["train_accuracy"] > records[0]["train_accuracy"]
