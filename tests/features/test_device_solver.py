"""The head solved by one compiled program, here on the CPU: against SciPy's L-BFGS-B, and against known minima."""

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from tf_transfer.data.splits import Split
from tf_transfer.features import lbfgs, solver
from tf_transfer.features.device_solver import DeviceSolver
from tf_transfer.features.extract import Standardizer


def test_a_quadratic_ends_at_its_minimum_in_few_steps():
    random = np.random.default_rng(0)
    root = random.normal(size=(30, 30))
    matrix, target = root @ root.T + np.eye(30), random.normal(size=30)

    @tf.function(autograph=False)
    def run():
        def function(theta):
            gradient = tf.linalg.matvec(tf.constant(matrix), theta - target)
            return 0.5 * tf.tensordot(theta - target, gradient, 1), gradient

        return lbfgs.minimise(function, tf.zeros(30, tf.float64), 500, 0.0, 1e-9)

    found = run()
    np.testing.assert_allclose(found.theta, target, atol=1e-8)
    assert found.converged and found.iterations < 150


def test_a_step_too_long_is_shortened_and_the_limit_ends_it():
    """log(cosh) is nearly linear far out: the full step of the first pair leaps over the minimum."""

    @tf.function(autograph=False)
    def run(iterations):
        def function(theta):
            return tf.reduce_sum(tf.math.log(tf.cosh(theta))), tf.tanh(theta)

        return lbfgs.minimise(function, tf.constant([30.0, -4.0, 0.5], tf.float64), iterations, 0.0, 1e-10)

    found = run(100)
    np.testing.assert_allclose(found.theta, 0.0, atol=1e-9)
    assert found.converged
    stopped = run(2)
    assert (int(stopped.iterations), bool(stopped.converged)) == (2, False) and stopped.value > found.value


def test_the_path_ends_where_scipy_ends():
    random, classes, smoothing = np.random.default_rng(3), 5, 0.1
    labels = random.integers(0, classes, 600).astype(np.int32)
    # Correlated, of very different size, and one feature that does not vary.
    mixed = (random.normal(size=(classes, 12))[labels] + random.normal(size=(600, 12))) @ random.normal(size=(12, 12))
    inputs = np.concatenate([mixed * 10.0 ** random.integers(-2, 3, 12), np.ones((600, 1))], 1).astype(np.float32)
    weights = random.uniform(0.5, 2.0, 600).astype(np.float32)
    split = Split(inputs, labels, [""] * 600)
    problem = solver.Problem(split, Standardizer(inputs), weights, classes, smoothing)
    objective = solver.Objective(problem)
    covariance = objective.covariance()
    scaled = problem.scale.apply(inputs)
    compiled = DeviceSolver(scaled, labels, weights, covariance, classes, smoothing, 1000, 1e-9)
    kernel, bias = np.zeros((13, classes)), np.zeros(classes)
    for l2 in (1e-1, 1e-3, 1e-5):
        kernel, bias, iterations, converged = compiled(l2, kernel, bias)
        assert converged and 0 < iterations < 400

        def penalised(theta, l2=l2):
            own, free = theta[: 13 * classes].reshape(13, classes), theta[13 * classes :]
            logits = scaled.astype(np.float64) @ own + free
            targets = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
            log = logits - scipy.special.logsumexp(logits, axis=1, keepdims=True)
            residual = (np.exp(log) - targets) * weights[:, None] / 600
            loss = -(weights * (targets * log).sum(1)).mean() + 0.5 * l2 * (own**2).sum()
            gradient = scaled.T.astype(np.float64) @ residual + l2 * own
            return loss, np.concatenate([gradient.ravel(), residual.sum(0)])

        options = {"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-10}
        best = scipy.optimize.minimize(penalised, np.zeros(14 * classes), jac=True, method="L-BFGS-B", options=options)
        ours = penalised(np.concatenate([kernel.ravel(), bias]))[0]
        assert -1e-9 < ours - best.fun < 1e-5


def test_with_a_gpu_the_path_is_solved_by_the_program(monkeypatch):
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, 90).astype(np.int32)
    inputs = (random.normal(size=(3, 4))[labels] + random.normal(size=(90, 4))).astype(np.float32)
    split = Split(inputs, labels, [""] * 90)
    problem = solver.Problem(split, Standardizer(inputs), np.ones(90, np.float32), 3)
    on_host = solver.solve(problem, (1e-1, 1e-3))
    found = tf.config.list_physical_devices("CPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: found)
    told = []
    on_device = solver.solve(problem, (1e-1, 1e-3), log=told.append)
    assert [r["converged"] for r in told] == [True, True]
    assert on_device.measures["train_loss"] == pytest.approx(on_host.measures["train_loss"], abs=1e-5)
    np.testing.assert_allclose(on_device.kernel, on_host.kernel, atol=5e-3)
