"""L-BFGS as one compiled program on the device: the head's convex problem without a trip to the host each step.

The two-loop recursion of Nocedal (1980) over the last pairs of steps and differences of gradients, in float64, with a
backtracking line search (Armijo's rule, quadratic interpolation; Nocedal & Wright 2006, chapters 3 and 7). On a convex
function every pair has positive curvature, so that no search for Wolfe's second condition is needed.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

# Pairs that are kept.
_PAIRS = 20
# Armijo: a step must gain this share of what the slope promises; halvings before the search gives up.
_GAIN, _TRIALS = 1e-4, 30


class Found(NamedTuple):
    """Where a minimisation ended: the point, its value, the iterations, and whether it converged before the limit."""

    theta: tf.Tensor
    value: tf.Tensor
    iterations: tf.Tensor
    converged: tf.Tensor


class _State(NamedTuple):
    theta: tf.Tensor
    value: tf.Tensor
    gradient: tf.Tensor
    steps: tf.Tensor
    changes: tf.Tensor
    curvatures: tf.Tensor
    iterations: tf.Tensor
    converged: tf.Tensor


def minimise(
    function: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    start: tf.Tensor,
    iterations: int,
    tolerance: float,
    gradient_tolerance: float = 1e-6,
) -> Found:
    """Minimises a smooth convex function; graph operations only, for use inside a `tf.function`.

    Ends as SciPy's L-BFGS-B does: where an iteration gains at most `tolerance * max(|f|, |f'|, 1)`, where no entry of
    the gradient exceeds `gradient_tolerance`, or where no step gains anything at the precision of the function.

    Args:
        function: float64 `[P]` to the value and the gradient `[P]`, float64.
        start: float64 `[P]`.
        iterations: at most.
        tolerance: relative gain of the last iteration.
        gradient_tolerance: largest entry of the last gradient.
    """
    value, gradient = function(start)
    size = start.shape[0]
    zeros = tf.zeros((_PAIRS, size), tf.float64)
    done = tf.reduce_max(tf.abs(gradient)) <= gradient_tolerance
    state = _State(start, value, gradient, zeros, zeros, tf.zeros(_PAIRS, tf.float64), tf.constant(0), done)

    def step(*values):
        now = _State(*values)
        direction = _direction(now)
        slope = tf.tensordot(now.gradient, direction, 1)
        theta, value, gradient = _search(function, now, direction, slope)
        gained = now.value - value
        stuck = gained <= 0.0
        small = gained <= tolerance * tf.maximum(tf.maximum(tf.abs(now.value), tf.abs(value)), 1.0)
        flat = tf.reduce_max(tf.abs(gradient)) <= gradient_tolerance
        pairs = _remember(now, theta - now.theta, gradient - now.gradient)
        # A step that gains nothing is not taken.
        kept = [tf.where(stuck, old, new) for old, new in zip(now[:3], (theta, value, gradient), strict=True)]
        return _State(*kept, *pairs, now.iterations + 1, stuck | small | flat)

    end = _State(
        *tf.while_loop(
            lambda *values: tf.logical_not(_State(*values).converged),
            step,
            state,
            maximum_iterations=iterations,
            parallel_iterations=1,
        )
    )
    return Found(end.theta, end.value, end.iterations, end.converged)


def _direction(now: _State) -> tf.Tensor:
    """Returns minus the gradient times the inverse Hessian of the kept pairs, newest last; unused pairs count 0."""
    q, shares = now.gradient, [tf.constant(0.0, tf.float64)] * _PAIRS
    inverse = tf.math.divide_no_nan(tf.constant(1.0, tf.float64), now.curvatures)
    for i in reversed(range(_PAIRS)):
        shares[i] = inverse[i] * tf.tensordot(now.steps[i], q, 1)
        q -= shares[i] * now.changes[i]
    newest = now.curvatures[-1]
    length = tf.norm(now.gradient)
    scale = tf.where(
        newest > 0.0,
        tf.math.divide_no_nan(newest, tf.tensordot(now.changes[-1], now.changes[-1], 1)),
        # The first step has the length of the gradient, at most 1.
        tf.minimum(tf.constant(1.0, tf.float64), tf.math.divide_no_nan(tf.constant(1.0, tf.float64), length)),
    )
    q *= scale
    for i in range(_PAIRS):
        q += (shares[i] - inverse[i] * tf.tensordot(now.changes[i], q, 1)) * now.steps[i]
    return -q


def _search(function, now: _State, direction: tf.Tensor, slope: tf.Tensor):
    """Returns point, value and gradient of the first step, from the full one down, that gains enough."""

    def bad(length, value):
        return tf.logical_not(value <= now.value + _GAIN * length * slope)

    def shorter(length, _, value, __):
        # The minimum of the parabola through both values and the slope; a tenth to a half of the last step.
        best = -slope * length**2 / (2.0 * (value - now.value - slope * length))
        best = tf.where(tf.math.is_finite(best), best, 0.1 * length)
        length = tf.clip_by_value(best, 0.1 * length, 0.5 * length)
        theta = now.theta + length * direction
        return (length, theta, *function(theta))

    one = tf.constant(1.0, tf.float64)
    theta = now.theta + direction
    _, theta, value, gradient = tf.while_loop(
        lambda length, _, value, __: bad(length, value),
        shorter,
        (one, theta, *function(theta)),
        maximum_iterations=_TRIALS,
        parallel_iterations=1,
    )
    return theta, value, gradient


def _remember(now: _State, step: tf.Tensor, change: tf.Tensor):
    """Returns the kept pairs with the newest last; one without curvature is left out."""
    curvature = tf.tensordot(step, change, 1)
    usable = curvature > 1e-12 * tf.tensordot(change, change, 1)

    def after(kept, new):
        return tf.where(usable, tf.concat([kept[1:], new[None]], 0), kept)

    return after(now.steps, step), after(now.changes, change), after(now.curvatures, curvature)
