"""Solves the head on fixed features, a convex problem, to its optimum.

Softmax regression, sum_i w_i CE_i / N + l2 / 2 ||W||^2, by L-BFGS (Liu & Nocedal 1989; SciPy's implementation), for a
path of L2 strengths from strong to weak, each started at the last one's solution; validation chooses among them
(as glmnet does for its path, Friedman, Hastie & Tibshirani 2010).

L-BFGS runs in coordinates in which the curvature is about the same in every direction: the Hessian of the loss is
close to c Sigma, with Sigma the covariance of the features and c = (1 - 1/C) / C (the bound of Boehning 1992 has 1/2
for c). Pooled features are strongly correlated, and without this it takes five to ten times as many iterations.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import tensorflow as tf

from tf_transfer.data.splits import Split
from tf_transfer.errors import UserError
from tf_transfer.features import device_solver
from tf_transfer.features.extract import Standardizer
from tf_transfer.training import problem as problems
from tf_transfer.training.problem import one_hot

_KEPT_BYTES, _CHUNK = 1 << 30, 8192
# The path ends when validation has become worse this many times in a row: weaker strengths take longer and are worse.
_PATIENCE = 2


@dataclass(frozen=True)
class Problem:
    """Softmax regression on standardised features.

    Attributes:
        split: float32 `[N, D]` features, not yet scaled.
        scale: their standardisation.
        weights: float32 `[N]`, the factor on each example's loss.
        classes: C.
        smoothing: label smoothing in [0, 1).
    """

    split: Split
    scale: Standardizer
    weights: np.ndarray
    classes: int
    smoothing: float = 0.0


class Objective:
    """sum_i w_i CE_i / N and its gradient, over the features chunk by chunk; float32 products, float64 sums.

    Args:
        problem: the regression.
        chunk: examples that are multiplied at a time.
        kept_bytes: features of more bytes than this are not held in memory: every pass reads them again.
    """

    def __init__(self, problem: Problem, chunk: int = _CHUNK, kept_bytes: int = _KEPT_BYTES):
        self.problem, self._size = problem, chunk
        kept = problem.split.inputs.nbytes <= kept_bytes
        self._chunks = list(self._read()) if kept else None
        self._run = tf.function(self._chunk, autograph=False, reduce_retracing=True)

    def _read(self) -> Iterator[tuple[tf.Tensor, ...]]:
        split, weights = self.problem.split, self.problem.weights
        for start in range(0, len(split), self._size):
            part = slice(start, start + self._size)
            x = self.problem.scale.apply(np.asarray(split.inputs[part]))
            yield tuple(map(tf.constant, (x, split.labels[part], weights[part].astype(np.float32))))

    def _chunk(self, x, labels, weights, kernel, bias):
        classes, smoothing = self.problem.classes, self.problem.smoothing
        targets = one_hot(labels, classes, smoothing)
        logits = tf.matmul(x, kernel) + bias
        losses = weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits)
        residual = (tf.nn.softmax(logits) - targets) * weights[:, None]
        correct = tf.reduce_sum(problems.hits(logits, labels))
        return tf.reduce_sum(losses), correct, tf.matmul(x, residual, transpose_a=True), tf.reduce_sum(residual, 0)

    def __call__(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
        """Returns mean loss, accuracy, and the gradients of the loss towards kernel `[D, C]` and bias `[C]`."""
        kernel, bias = tf.constant(kernel, tf.float32), tf.constant(bias, tf.float32)
        sums: list = [0.0, 0.0, 0.0, 0.0]
        for chunk in self._chunks or self._read():
            sums = [s + np.asarray(r, np.float64) for s, r in zip(sums, self._run(*chunk, kernel, bias), strict=True)]
        loss, hits, toward_kernel, toward_bias = (s / len(self.problem.split) for s in sums)
        return float(loss), float(hits), toward_kernel, toward_bias

    def covariance(self) -> np.ndarray:
        """Returns float64 `[D, D]`: sum_i w_i x_i x_i' / N."""
        total = 0.0
        for x, _, weights in self._chunks or self._read():
            total = total + tf.matmul(x, x * weights[:, None], transpose_a=True).numpy().astype(np.float64)
        if not np.isfinite(total).all():
            raise UserError("The features are not finite: the weights, or what --weights names, are unusable.")
        return total / len(self.problem.split)


class _Coordinates:
    """kernel = H^(-1/2) U and bias = u / sqrt(c): U and u in one vector are what L-BFGS sees."""

    def __init__(self, covariance: np.ndarray, classes: int):
        self.shape, self.curvature = (len(covariance), classes), (1.0 - 1.0 / classes) / classes
        self.values, self.vectors = np.linalg.eigh(covariance)

    def at(self, l2: float) -> "_Coordinates":
        """Sets the strength that H = c Sigma + l2 holds."""
        # Where features do not vary, the only curvature is the penalty's, which may be 0: hence the floor.
        self.root = np.sqrt(self.curvature * np.maximum(self.values, 1e-6 * self.values[-1]) + l2)
        return self

    def kernel_and_bias(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inner, bias = theta[: -self.shape[1]].reshape(self.shape), theta[-self.shape[1] :]
        return self.vectors @ (inner / self.root[:, None]), bias / np.sqrt(self.curvature)

    def theta(self, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        inner = (self.vectors.T @ kernel) * self.root[:, None]
        return np.concatenate([inner.ravel(), bias * np.sqrt(self.curvature)])

    def gradient(self, toward_kernel: np.ndarray, toward_bias: np.ndarray) -> np.ndarray:
        inner = (self.vectors.T @ toward_kernel) / self.root[:, None]
        return np.concatenate([inner.ravel(), toward_bias / np.sqrt(self.curvature)])


@dataclass(frozen=True)
class Solution:
    """One point of the path: the strength, the parameters on standardised features, and their measures."""

    l2: float
    kernel: np.ndarray
    bias: np.ndarray
    measures: dict


def solve(
    problem: Problem,
    strengths: Sequence[float],
    validate: Callable[[np.ndarray, np.ndarray], dict] | None = None,
    iterations: int = 1000,
    tolerance: float = 1e-7,
    log: Callable[[dict], None] = lambda record: None,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Solution:
    """Solves the path and returns the solution with the lowest validation loss (without validation, the last one).

    Args:
        problem: the regression.
        strengths: L2 strengths, from strong to weak.
        validate: kernel and bias to `loss` and `accuracy`.
        iterations: L-BFGS iterations at most, for each strength.
        tolerance: L-BFGS ends when an iteration improves the loss by less than this share.
        log: called with one record a strength.
        progress: called with (strengths done, strengths in all, text) after every iteration.
    """
    with _full_precision():
        return _solve_path(problem, strengths, validate, iterations, tolerance, log, progress)


def _solve_path(problem, strengths, validate, iterations, tolerance, log, progress) -> Solution:
    objective = Objective(problem)
    covariance = objective.covariance()
    solve_one = device_solver.on_device(problem, covariance, iterations, tolerance) or _on_host(
        problem, objective, covariance, iterations, tolerance
    )
    kernel, bias, best, worse = np.zeros((len(covariance), problem.classes)), np.zeros(problem.classes), None, 0
    for number, l2 in enumerate(strengths, 1):
        begun = time.perf_counter()
        kernel, bias, ended, converged = solve_one(l2, kernel, bias, _teller(progress, number - 1, len(strengths), l2))
        solution = _solution(objective, l2, kernel, bias, validate)
        ran = {"l2": l2, "iterations": ended, "converged": converged}
        log({"kind": "path", **ran, **solution.measures, "seconds": time.perf_counter() - begun})
        progress(number, len(strengths), f"l2 {l2:.1e}")
        if best is None or validate is None or _loss(solution) < _loss(best):
            best, worse = solution, 0
        else:
            worse += 1
        if worse == _PATIENCE:
            break
    return best


def _on_host(problem: Problem, objective: Objective, covariance: np.ndarray, iterations: int, tolerance: float):
    """Returns a function of a strength and a start that solves by SciPy, in the memory of the host."""
    coordinates = _Coordinates(covariance, problem.classes)

    def solve_one(l2, kernel, bias, tell):
        found = scipy.optimize.minimize(
            _penalised(objective, l2, coordinates.at(l2)),
            coordinates.theta(kernel, bias),
            jac=True,
            method="L-BFGS-B",
            callback=tell,
            options={"maxiter": iterations, "maxcor": 20, "ftol": tolerance, "gtol": 1e-6},
        )
        # Status 1: the limit of iterations. Status 2: the line search failed at the precision of float32, converged.
        return *coordinates.kernel_and_bias(found.x), int(found.nit), found.status != 1

    return solve_one


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Keeps GPUs from rounding products to TF32: a line search cannot tell its steps from that noise."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _penalised(objective: Objective, l2: float, coordinates: _Coordinates):
    def value_and_gradient(theta):
        kernel, bias = coordinates.kernel_and_bias(theta)
        loss, _, toward_kernel, toward_bias = objective(kernel, bias)
        gradient = coordinates.gradient(toward_kernel + l2 * kernel, toward_bias)
        return loss + 0.5 * l2 * float((kernel**2).sum()), gradient

    return value_and_gradient


def _teller(progress, done: int, total: int, l2: float):
    # SciPy gives its result, and not only the parameters, to a callback with an argument of this name.
    def tell(intermediate_result):
        progress(done, total, f"l2 {l2:.1e} loss {intermediate_result.fun:.4f}")

    return tell


def _solution(objective, l2, kernel, bias, validate) -> Solution:
    kernel, bias = kernel.astype(np.float32), bias.astype(np.float32)
    loss, accuracy, *_ = objective(kernel, bias)
    measured = validate(kernel, bias) if validate else {}
    measures = {"train_loss": loss, "train_accuracy": accuracy}
    return Solution(
        l2, kernel, bias, measures | {f"validation_{k}": measured[k] for k in ("loss", "accuracy") if measured}
    )


def _loss(solution: Solution) -> float:
    return solution.measures["validation_loss"]
