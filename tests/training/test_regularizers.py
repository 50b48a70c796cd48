import numpy as np
import pytest
import tensorflow as tf

from tf_transfer.training.regularizers import REGULARIZERS

RANDOM = np.random.default_rng(0)


def variables(*shapes):
    return [tf.Variable(RANDOM.normal(size=shape).astype(np.float32)) for shape in shapes]


def value_and_gradients(penalty, of):
    with tf.GradientTape() as tape:
        value = penalty()
    return float(value), tape.gradient(value, of, unconnected_gradients=tf.UnconnectedGradients.ZERO)


@pytest.mark.parametrize(("spec", "strength"), [("l2", 1e-4), ("l2(0.3)", 0.3), ("l2(strength=0)", 0.0)])
def test_l2_is_half_the_squared_kernels(spec, strength):
    backbone, head = variables((3, 3, 2, 4), (4,)), variables((4, 5), (5,))
    value, gradients = value_and_gradients(REGULARIZERS.create(spec, backbone, head), [*backbone, *head])
    kernels = [backbone[0].numpy(), head[0].numpy()]
    np.testing.assert_allclose(value, strength / 2 * sum((k.astype(float) ** 2).sum() for k in kernels), rtol=1e-5)
    for gradient, expected in zip(
        gradients, [strength * kernels[0], [0] * 4, strength * kernels[1], [0] * 5], strict=True
    ):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


def test_l2sp_pulls_the_backbone_to_where_it_started_and_the_head_to_zero():
    alpha, beta = 0.3, 0.05
    backbone, head = variables((3, 3, 2, 4), (4,)), variables((4, 5), (5,))
    starts = [v.numpy() for v in backbone]
    penalty = REGULARIZERS.create(f"l2sp({alpha}, {beta})", backbone, head)
    for v in backbone:
        v.assign_add(tf.constant(RANDOM.normal(size=v.shape).astype(np.float32)))
    value, gradients = value_and_gradients(penalty, [*backbone, *head])
    drift, kernel = backbone[0].numpy() - starts[0], head[0].numpy()
    expected = alpha / 2 * (drift.astype(float) ** 2).sum() + beta / 2 * (kernel.astype(float) ** 2).sum()
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for gradient, formula in zip(gradients, [alpha * drift, [0] * 4, beta * kernel, [0] * 5], strict=True):
        np.testing.assert_allclose(gradient, formula, rtol=1e-5, atol=1e-7)


def test_l2sp_is_zero_at_the_start():
    backbone = variables((3, 3, 2, 4), (4,))
    value, gradients = value_and_gradients(REGULARIZERS.create("l2sp", backbone, []), backbone)
    assert value == 0.0 and not any(np.any(g) for g in gradients)


@pytest.mark.parametrize("spec", ["l2", "l2sp"])
def test_nothing_but_biases_costs_nothing(spec):
    value, _ = value_and_gradients(REGULARIZERS.create(spec, [], variables((5,))), [])
    assert value == 0.0


def test_none_is_no_penalty():
    assert REGULARIZERS.create("none", variables((2, 2)), variables((2, 2))) is None
