"""How wrong a batch's variance is in float32: by the kernel of one device, and by the sums over replicas.

python -m benchmarks.rounding [--json=FILE]
"""

import argparse
from collections.abc import Mapping

from benchmarks import runner


def measure(args: argparse.Namespace) -> dict:
    """Returns the largest relative error of the kernel and of plain sums, against float64."""
    import numpy as np
    import tensorflow as tf

    x = np.random.default_rng(0).normal(1.0, size=(24, 32, 32, 64)).astype(np.float32)
    exact, n = x.astype(np.float64).var((0, 1, 2)), x[..., 0].size
    ones, none = tf.ones(64), tf.zeros([0])
    _, _, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=ones, offset=ones, mean=none, variance=none, epsilon=1e-3, is_training=True
    )
    sums = tf.reduce_mean(tf.math.squared_difference(x, tf.reduce_mean(x, (0, 1, 2))), (0, 1, 2))
    found = {"kernel": unbiased.numpy() * ((n - 1) / n), "sums": sums.numpy()}
    return {name: float(np.abs(variance / exact - 1).max()) for name, variance in found.items()}


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page."""
    return [
        "Batch statistics are what falls short: those of one device come from TensorFlow's fused kernel, whose "
        f"variance of 24,576 numbers is wrong by up to {record['kernel']:.1e} (against float64); those over replicas "
        f"come from plain sums, wrong by up to {record['sums']:.1e}.",
    ]


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
