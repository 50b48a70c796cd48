"""Optimizers as update rules on one variable, so that the loop owns reduction, clipping and rates.

Keras' optimizers clip before they reduce over replicas and know one rate for all variables; these
take a gradient that is already reduced and clipped. Each equals its Keras namesake step by step.
"""

from collections.abc import Sequence

import tensorflow as tf

from tf_transfer.registry import Registry, check_range, parse_spec, unknown_name

OPTIMIZERS = Registry("--optimizer")
# Solvers: not update rules, they solve a convex problem as a whole.
SOLVERS = Registry("--optimizer")
# A decay rate of 1 would never forget the first gradient.
_BELOW_ONE = 0.99999


@OPTIMIZERS.register("sgd")
class SGD:
    """Stochastic gradient descent with momentum (Sutskever et al. 2013), as `keras.optimizers.SGD`.

    Args:
        momentum: in [0, 1).
        nesterov: look one step ahead.
        weight_decay: decoupled, on weights of two or more dimensions.
    """

    slots = 1

    def __init__(self, momentum: float = 0.9, nesterov: bool = True, weight_decay: float = 0.0):
        check_range("--optimizer", "sgd(momentum)", momentum, 0.0, _BELOW_ONE)
        check_range("--optimizer", "sgd(weight_decay)", weight_decay, 0.0, 1.0)
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay

    def update(self, variable, gradient, rate, step, velocity) -> None:
        """Moves `variable` and its velocity by one step at `rate`."""
        _decay(variable, rate, self.weight_decay)
        new = self.momentum * velocity - rate * gradient
        velocity.assign(new)
        variable.assign_add(self.momentum * new - rate * gradient if self.nesterov else new)


@OPTIMIZERS.register("adamw")
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101), as `keras.optimizers.AdamW`.

    Args:
        weight_decay: on weights of two or more dimensions.
        beta_1, beta_2: decay rates of the two moments.
        epsilon: added to the root of the second moment.
    """

    slots = 2

    def __init__(self, weight_decay: float = 0.004, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7):
        check_range("--optimizer", "adamw(weight_decay)", weight_decay, 0.0, 1.0)
        check_range("--optimizer", "adamw(beta_1)", beta_1, 0.0, _BELOW_ONE)
        check_range("--optimizer", "adamw(beta_2)", beta_2, 0.0, _BELOW_ONE)
        check_range("--optimizer", "adamw(epsilon)", epsilon, 1e-12, 1.0)
        self.weight_decay, self.beta_1, self.beta_2, self.epsilon = weight_decay, beta_1, beta_2, epsilon

    def update(self, variable, gradient, rate, step, first, second) -> None:
        """Moves `variable` and its two moments by one step at `rate`; `step` counts from 0."""
        _decay(variable, rate, self.weight_decay)
        t = tf.cast(step + 1, tf.float32)
        first.assign_add((gradient - first) * (1.0 - self.beta_1))
        second.assign_add((tf.square(gradient) - second) * (1.0 - self.beta_2))
        size = rate * tf.sqrt(1.0 - tf.pow(self.beta_2, t)) / (1.0 - tf.pow(self.beta_1, t))
        variable.assign_sub(size * first / (tf.sqrt(second) + self.epsilon))


@SOLVERS.register("lbfgs")
class LBFGS:
    """Limited-memory BFGS on all examples at once, for a head on features; see `features.solver`.

    Args:
        iterations: at most, for each strength of the regulariser.
    """

    def __init__(self, iterations: int = 1000):
        check_range("--optimizer", "lbfgs(iterations)", iterations, 1)
        self.iterations = iterations


def check(spec: str) -> None:
    """Refuses a spec that names neither an update rule nor a solver.

    Raises:
        UserError: an unknown name, or arguments that it does not take.
    """
    name = parse_spec(spec, "--optimizer").name
    if name not in OPTIMIZERS and name not in SOLVERS:
        raise unknown_name("--optimizer", name, sorted([*OPTIMIZERS.names(), *SOLVERS.names()]))
    (SOLVERS if name in SOLVERS else OPTIMIZERS).create(spec)


def _decay(variable, rate, weight_decay: float) -> None:
    if weight_decay and variable.shape.rank > 1:
        variable.assign_sub(variable * weight_decay * rate)


def make_slots(
    optimizer, variables: Sequence[tf.Variable], strategy: tf.distribute.Strategy
) -> list[list[tf.Variable]]:
    """Returns zeros, `optimizer.slots` for every variable, placed beside it."""
    slots = []
    for variable in variables:
        with strategy.extended.colocate_vars_with(variable):
            slots.append([tf.Variable(tf.zeros(variable.shape), trainable=False) for _ in range(optimizer.slots)])
    return slots
