"""The head's problem on a GPU: features in its memory, and objective and L-BFGS as one compiled program.

What `solver.Objective` and SciPy compute on the host, in the same coordinates; the host then only asks for the next
strength.
"""

import numpy as np
import tensorflow as tf

from tf_transfer.features import lbfgs
from tf_transfer.training.problem import one_hot

# Features of more bytes than this stay on the host.
_MOST_BYTES = 8 << 30


def on_device(problem, covariance: np.ndarray, iterations: int, tolerance: float):
    """Returns what solves a `solver.Problem` on the first GPU; None without one, or where it does not fit its memory.

    Args:
        problem: the regression.
        covariance: of its standardised features.
        iterations: see `DeviceSolver`.
        tolerance: see `DeviceSolver`.

    Returns:
        A function of a strength, of the kernel and bias to start from, and of one more argument, which is not used:
        the host's tells of every iteration.
    """
    if not tf.config.list_physical_devices("GPU") or problem.split.inputs.nbytes > _MOST_BYTES:
        return None
    try:
        features = problem.scale.apply(np.asarray(problem.split.inputs))
        labels, weights = problem.split.labels, problem.weights.astype(np.float32)
        of = covariance, problem.classes, problem.smoothing, iterations, tolerance
        solver = DeviceSolver(features, labels, weights, *of)
        # The first call compiles and takes its memory: it shows whether all fits. It ends soon, as the penalty is
        # strong.
        solver(1.0, np.zeros((len(covariance), problem.classes)), np.zeros(problem.classes))
    except tf.errors.ResourceExhaustedError:
        return None
    return lambda l2, kernel, bias, _: solver(l2, kernel, bias)


class DeviceSolver:
    """Minimises sum_i w_i CE_i / N + l2 / 2 ||W||^2 for one strength after the other; compiled once.

    Products are in float32, sums of losses and everything of L-BFGS in float64.

    Args:
        features: float32 `[N, D]`, standardised.
        labels: int32 `[N]`.
        weights: float32 `[N]`.
        covariance: float64 `[D, D]` of the features, see `solver.Objective.covariance`.
        classes: C.
        smoothing: label smoothing in [0, 1).
        iterations: L-BFGS iterations at most, for each strength.
        tolerance: L-BFGS ends when an iteration improves the loss by less than this share.
    """

    def __init__(self, features, labels, weights, covariance, classes, smoothing, iterations, tolerance):
        self._features, self._labels, self._weights = map(tf.constant, (features, labels, weights))
        self._classes, self._smoothing = classes, smoothing
        self._iterations, self._tolerance = iterations, tolerance
        self._curvature = (1.0 - 1.0 / classes) / classes
        self._values, self._vectors = tf.linalg.eigh(tf.constant(covariance, tf.float64))
        self._run = tf.function(self._solve, autograph=False, jit_compile=True)

    def __call__(self, l2: float, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray, int, bool]:
        """Returns kernel `[D, C]` and bias `[C]`, the iterations, and whether they were enough.

        Args:
            l2: the strength.
            kernel: where to start, `[D, C]`.
            bias: the same, `[C]`.

        Raises:
            tf.errors.ResourceExhaustedError: the memory of the device is too small.
        """
        found = self._run(*(tf.constant(x, tf.float64) for x in (l2, kernel, bias)))
        kernel, bias, iterations, converged = (x.numpy() for x in found)
        return kernel, bias, int(iterations), bool(converged)

    def _solve(self, l2, kernel, bias):
        # Where features do not vary, the only curvature is the penalty's, which may be 0: hence the floor.
        floor = tf.maximum(self._values, 1e-6 * self._values[-1])
        root = tf.sqrt(self._curvature * floor + l2)[:, None]
        of_bias = tf.sqrt(tf.constant(self._curvature, tf.float64))
        size = kernel.shape[0] * self._classes

        def plain(theta):
            inner = tf.reshape(theta[:size], (-1, self._classes))
            return tf.matmul(self._vectors, inner / root), theta[size:] / of_bias

        def function(theta):
            loss, toward_kernel, toward_bias = self._objective(*(tf.cast(x, tf.float32) for x in plain(theta)))
            kernel = plain(theta)[0]
            loss += 0.5 * l2 * tf.reduce_sum(kernel**2)
            inner = tf.matmul(self._vectors, toward_kernel + l2 * kernel, transpose_a=True) / root
            return loss, tf.concat([tf.reshape(inner, (-1,)), toward_bias / of_bias], 0)

        inner = tf.matmul(self._vectors, kernel, transpose_a=True) * root
        start = tf.concat([tf.reshape(inner, (-1,)), bias * of_bias], 0)
        found = lbfgs.minimise(
            function, tf.ensure_shape(start, (size + self._classes,)), self._iterations, self._tolerance
        )
        return *plain(found.theta), found.iterations, found.converged

    def _objective(self, kernel, bias):
        """Returns the mean loss and its gradients towards kernel and bias, in float64."""
        targets = one_hot(self._labels, self._classes, self._smoothing)
        logits = tf.matmul(self._features, kernel) + bias
        losses = self._weights * tf.nn.softmax_cross_entropy_with_logits(targets, logits)
        residual = (tf.nn.softmax(logits) - targets) * self._weights[:, None]
        toward_kernel = tf.matmul(self._features, residual, transpose_a=True)
        sums = tf.reduce_sum(tf.cast(losses, tf.float64)), toward_kernel, tf.reduce_sum(residual, 0)
        return [tf.cast(s, tf.float64) / self._features.shape[0] for s in sums]
