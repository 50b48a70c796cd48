"""Penalties lambda * R(theta) that are added to the loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tf_transfer.registry import Registry, check_range
from tf_transfer.training.method import HEAD, ParameterGroup

# Factories of (backbone variables, head variables) -> Penalty, or None.
REGULARIZERS = Registry("--regularizer")


@dataclass(frozen=True)
class Penalty:
    """lambda * R(theta).

    Attributes:
        function: returns the penalty of the current variables; None for a penalty that only `lbfgs` takes.
        head: strengths of the L2 on the head's kernel, from strong to weak; more than one to choose from.
    """

    function: Callable[[], tf.Tensor] | None
    head: tuple[float, ...]

    def __call__(self) -> tf.Tensor:
        """Returns the penalty, a scalar."""
        return self.function()


def _kernels(variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """Returns the kernels: biases and gains of normalisation are not shrunk, as they do not multiply features."""
    return [v for v in variables if v.shape.rank > 1]


def _half_squares(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    return 0.5 * tf.add_n([tf.reduce_sum(tf.square(t)) for t in tensors]) if tensors else tf.zeros(())


@REGULARIZERS.register("none")
def none(backbone, head) -> None:
    """No penalty."""
    return None


@REGULARIZERS.register("l2")
def l2(backbone: Sequence[tf.Variable], head: Sequence[tf.Variable], strength: float = 1e-4) -> Penalty:
    """Weight decay as a penalty: strength / 2 * ||w||^2 over the kernels that train."""
    check_range("--regularizer", "l2(strength)", strength, 0.0)
    kernels = _kernels([*backbone, *head])
    return Penalty(lambda: strength * _half_squares([tf.convert_to_tensor(v) for v in kernels]), (strength,))


@REGULARIZERS.register("l2path")
def l2path(backbone, head, strongest: float = 1.0, weakest: float = 1e-5, steps: int = 11) -> Penalty:
    """L2 on the head; validation chooses among `steps` strengths on a logarithmic scale. For `lbfgs` only."""
    check_range("--regularizer", "l2path(strongest)", strongest, 1e-12)
    check_range("--regularizer", "l2path(weakest)", weakest, 1e-12, strongest)
    check_range("--regularizer", "l2path(steps)", steps, 1, 1000)
    return Penalty(None, tuple(np.geomspace(strongest, weakest, steps).tolist()))


@REGULARIZERS.register("l2sp")
def l2sp(
    backbone: Sequence[tf.Variable], head: Sequence[tf.Variable], alpha: float = 1e-2, beta: float = 1e-4
) -> Penalty:
    """Towards the starting point: alpha / 2 * ||w - w0||^2 on the backbone, beta / 2 * ||w||^2 on the head.

    Li, Grandvalet & Davoine 2018, arXiv:1802.01483. w0 are the values at the time of this call.
    """
    check_range("--regularizer", "l2sp(alpha)", alpha, 0.0)
    check_range("--regularizer", "l2sp(beta)", beta, 0.0)
    kernels, new = _kernels(backbone), _kernels(head)
    anchors = [tf.Variable(v.read_value(), trainable=False) for v in kernels]

    def penalty():
        drift = [v - a for v, a in zip(kernels, anchors, strict=True)]
        return alpha * _half_squares(drift) + beta * _half_squares([tf.convert_to_tensor(v) for v in new])

    return Penalty(penalty, (beta,))


def of_groups(spec: str, groups: Sequence[ParameterGroup]) -> Penalty | None:
    """Makes the penalty that a spec names, on the variables of the groups."""
    backbone = [v for group in groups if group.name != HEAD for v in group.variables]
    head = [v for group in groups if group.name == HEAD for v in group.variables]
    return REGULARIZERS.create(spec, backbone, head)
