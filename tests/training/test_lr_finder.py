import numpy as np
import pytest
import tensorflow as tf
from engine_tools import Simple, plan_of, run_of

from tf_transfer.errors import UserError
from tf_transfer.training.loop import fit
from tf_transfer.training.lr_finder import find_learning_rate, suggest
from tf_transfer.training.method import ParameterGroup


def quadratic(strategy, curvature, start=1.0):
    """loss = curvature / 2 * w^2: plain gradient descent is stable below 2 / curvature, and best at 1 / curvature."""
    with strategy.scope():
        variable = tf.Variable([start])

    def loss(batch, noise):
        ones = tf.ones_like(batch["weight"]) / batch["weight"]
        return curvature / 2 * tf.square(variable) * ones, 0 * ones

    return Simple(loss, [ParameterGroup("head", [variable])], [variable])


def search(task, batches, strategy, **options):
    return find_learning_rate(task, batches, plan_of(optimizer="sgd(momentum=0)"), run_of(), strategy, **options)


@pytest.mark.parametrize("curvature", [3.0, 30.0, 300.0])
def test_suggestion_is_near_the_best_rate_of_a_quadratic(make_streams, strategy, curvature):
    task = quadratic(strategy, curvature)
    found = search(task, make_streams(), strategy)
    assert 0.05 / curvature < found["suggestion"] < 2 / curvature
    assert task.state()[0].numpy() == [1.0], "the search left the variable where it drove it"


def test_curve_is_the_bias_corrected_average_of_the_losses(make_streams, one_device):
    found = search(quadratic(one_device, 1.0), make_streams(), one_device, steps=30, low=1e-3, high=1.0)
    rates = 1e-3 * 1000 ** (np.arange(30) / 29)
    np.testing.assert_allclose(found["rates"], rates, rtol=1e-6)
    position = np.concatenate([[1.0], np.cumprod(1 - rates)[:-1]])
    losses = position**2 / 2
    smooth = [np.average(losses[: i + 1], weights=0.9 ** np.arange(i, -1, -1)) for i in range(30)]
    np.testing.assert_allclose(found["losses"], smooth, rtol=1e-5)


def test_search_ends_where_the_loss_bursts(make_streams, one_device):
    found = search(quadratic(one_device, 100.0), make_streams(), one_device)
    assert len(found["rates"]) == len(found["losses"]) < 100
    assert max(found["losses"]) <= 4 * found["losses"][0]
    assert found["rates"][-1] > 2 / 100


def test_training_at_the_suggestion_works(make_streams, softmax_regression, strategy):
    task, batches = softmax_regression(strategy), make_streams(n=200)
    before = [v.numpy() for v in task.state()]
    config = plan_of(2, 1.0, clip_norm=1.0, ema=0.9)
    shown = []
    found = find_learning_rate(task, batches, config, run_of(), strategy, progress=lambda *a: shown.append(a))
    for variable, value in zip(task.state(), before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert shown[0][:2] == (1, 100) and shown[0][2].startswith("rate 1.0e-05 loss ")
    records = []
    fit(task, batches, plan_of(4, found["suggestion"], clip_norm=1.0), run_of(), strategy, records.append)
    assert records[-1]["train_loss"] < 0.75 * found["losses"][0]


def test_noise_of_the_first_batches_is_no_fall():
    # The loss falls from 2 to 1 around a rate of 0.1, under noise that shrinks as the average takes more batches in.
    rates = np.geomspace(1e-5, 3.0, 100)
    curve = 1.5 - 0.5 * np.tanh(2 * np.log10(rates / 0.1)) + np.where(rates > 1, rates - 1, 0)
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=100) * 0.3
        smooth = [np.average(noise[: i + 1], weights=0.9 ** np.arange(i, -1, -1)) for i in range(100)]
        assert 0.03 < suggest(rates, curve + smooth) < 1.0


def test_a_loss_that_never_falls_suggests_the_lowest_rate(make_streams, one_device):
    task = quadratic(one_device, 1e6)
    assert search(task, make_streams(), one_device)["suggestion"] == pytest.approx(1e-5)


def test_weights_that_are_no_numbers_are_told(make_streams, one_device):
    with pytest.raises(UserError, match="--phase=lr_find: the loss is nan before the first step"):
        search(quadratic(one_device, 1.0, start=np.nan), make_streams(), one_device)
