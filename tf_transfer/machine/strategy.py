"""The tf.distribute strategy, and the messages between its workers: `from_chief`, `barrier`."""

import os
from functools import cache

import numpy as np
import tensorflow as tf

from tf_transfer.errors import UserError, one_line
from tf_transfer.machine import cluster, memory

STRATEGIES = ("auto", "one", "mirrored", "multiworker", "tpu")


def make_strategy(name: str, timeout: float = 300.0) -> tf.distribute.Strategy:
    """Returns the strategy that `--strategy` names.

    `one`: the first GPU, else the CPU. `mirrored`: all GPUs, or all logical CPUs when there is no GPU
    (how a mirrored run is tested). `multiworker`: over the workers of `cluster.find`, all GPUs of each; it must be made
    before TensorFlow has computed anything. `tpu`: all cores of the TPU; untested. `auto`: multiworker where TF_CONFIG
    names several workers, mirrored with two GPUs or more, else one.

    Args:
        name: one of `STRATEGIES`.
        timeout: seconds after which a worker that does not answer is lost.

    Raises:
        UserError: an unknown name, or no cluster or TPU to be found.
    """
    memory.share()
    if name not in STRATEGIES:
        raise UserError(f"--strategy={name!r}: expected one of {', '.join(STRATEGIES)}.")
    if cluster.is_multiworker(name):
        return _multiworker(timeout)
    if name == "tpu":
        return _tpu()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return _mirrored(tuple(d.name for d in gpus or tf.config.list_logical_devices("CPU")))
    return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")


@cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    """Returns the one mirrored strategy of the process: a second would reuse keys of collective operations and fail."""
    return tf.distribute.MirroredStrategy(devices)


@cache
def _multiworker(timeout: float) -> tf.distribute.MultiWorkerMirroredStrategy:
    resolvers = tf.distribute.cluster_resolver
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout)
    try:
        if "TF_CONFIG" in os.environ:
            resolver = resolvers.TFConfigClusterResolver()
        else:
            # Each task uses the GPUs that SLURM shows it; the resolver's own check of their number is switched off.
            resolver = resolvers.SlurmClusterResolver(gpus_per_node=1 << 10, gpus_per_task=1, auto_set_gpu=False)
        return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    except (RuntimeError, ValueError, OSError, tf.errors.OpError) as e:
        raise UserError(f"--strategy=multiworker: the workers do not come together: {one_line(e)}") from e


@cache
def _tpu() -> tf.distribute.TPUStrategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError) as e:
        raise UserError(f"--strategy=tpu: no TPU is found: {one_line(e)}") from e


def several_hosts(strategy: tf.distribute.Strategy) -> bool:
    """Says whether the strategy spans several processes."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Says whether this process is the chief, which alone writes."""
    if not several_hosts(strategy):
        return True
    resolver = strategy.cluster_resolver
    return resolver.task_id == 0 and resolver.task_type in ("chief", *resolver.cluster_spec().jobs[:1])


def from_chief(strategy: tf.distribute.Strategy, array: np.ndarray) -> np.ndarray:
    """Returns the chief's array on every worker; all must call it, with arrays of one shape and type.

    A single process gets its own array back.
    """
    if not several_hosts(strategy):
        return array

    return strategy.experimental_local_results(_sharing(strategy)(tf.constant(array)))[0].numpy()


@cache
def _sharing(strategy: tf.distribute.Strategy):
    def share(value):
        replica = tf.distribute.get_replica_context()
        mine = tf.where(tf.equal(replica.replica_id_in_sync_group, 0), value, tf.zeros_like(value))
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, mine)

    return tf.function(lambda value: strategy.run(share, args=(value,)), autograph=False)


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Waits until every worker has called this."""
    from_chief(strategy, np.zeros(1, np.float32))
