import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_transfer.errors import UserError
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.training.optimizers import OPTIMIZERS, SGD, AdamW, make_slots

STEPS = 20
RATES = 0.1 * (1 + np.cos(np.arange(STEPS))) / 2 + 1e-3


def trajectories(ours, theirs, shape=(4, 3)):
    """The variable after each of 20 steps with changing rates and the same gradients, by each optimizer."""
    random = np.random.default_rng(0)
    start = random.normal(size=shape).astype(np.float32)
    gradients = random.normal(size=(STEPS, *shape)).astype(np.float32)
    variable, other = tf.Variable(start), keras.Variable(start)
    slots = make_slots(ours, [variable], tf.distribute.get_strategy())[0]
    found, expected = [], []
    for step, (rate, gradient) in enumerate(zip(RATES, gradients, strict=True)):
        ours.update(variable, tf.constant(gradient), tf.constant(rate, tf.float32), tf.constant(step), *slots)
        theirs.learning_rate = rate
        theirs.apply([tf.constant(gradient)], [other])
        found.append(variable.numpy())
        expected.append(other.numpy())
    assert np.abs(expected[-1] - start).max() > 0.01
    return np.array(found), np.array(expected)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_equals_keras_step_by_step(momentum, nesterov, weight_decay):
    theirs = keras.optimizers.SGD(momentum=momentum, nesterov=nesterov, weight_decay=weight_decay or None)
    found, expected = trajectories(SGD(momentum, nesterov, weight_decay), theirs)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}])
def test_adamw_equals_keras_step_by_step(options):
    found, expected = trajectories(AdamW(**options), keras.optimizers.AdamW(**options))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_biases_and_gains_do_not_decay(name):
    decayed, plain = OPTIMIZERS.create(f"{name}(weight_decay=0.5)"), OPTIMIZERS.create(f"{name}(weight_decay=0)")
    ends = []
    for optimizer in (decayed, plain):
        variables = [tf.Variable(tf.ones(3)), tf.Variable(tf.ones((3, 1)))]
        for variable, slots in zip(
            variables, make_slots(optimizer, variables, tf.distribute.get_strategy()), strict=True
        ):
            optimizer.update(variable, tf.fill(variable.shape, 0.1), tf.constant(0.1), tf.constant(0), *slots)
        ends.append([v.numpy() for v in variables])
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    # Decay is decoupled: weight * decay * rate, whatever the gradient.
    np.testing.assert_allclose(ends[1][1] - ends[0][1], 0.5 * 0.1, rtol=1e-5)


def test_slots_start_at_zero_beside_their_variable():
    strategy = make_strategy("mirrored")
    with strategy.scope():
        variables = [tf.Variable(tf.ones((2, 2))), tf.Variable(tf.ones(3))]
        slots = make_slots(AdamW(), variables, strategy)
    assert [len(s) for s in slots] == [2, 2]
    for variable, pair in zip(variables, slots, strict=True):
        for slot in pair:
            assert slot.shape == variable.shape and not slot.numpy().any()
            assert [v.device for v in slot.values] == [v.device for v in variable.values]


def test_specs_make_optimizers_and_bad_ones_are_told():
    optimizer = OPTIMIZERS.create("sgd(momentum=0.5, nesterov=False)")
    assert (optimizer.momentum, optimizer.nesterov, optimizer.weight_decay) == (0.5, False, 0.0)
    with pytest.raises(UserError, match=r"Unknown --optimizer 'adam'. Did you mean 'adamw'\? Known: adamw, sgd"):
        OPTIMIZERS.create("adam")
    with pytest.raises(UserError, match=r"--optimizer 'sgd'.* It takes: momentum, nesterov, weight_decay"):
        OPTIMIZERS.create("sgd(beta=1)")
