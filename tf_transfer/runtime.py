"""The machine: devices, tf.distribute strategy, precision, seeds."""

import contextlib
import os
import platform
import sys
from functools import cache
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tf_transfer import cluster
from tf_transfer.errors import UserError, one_line

STRATEGIES = ("auto", "one", "mirrored", "multiworker", "tpu")
PRECISIONS = ("auto", "float32", "bfloat16")


def make_strategy(name: str, timeout: float = 300.0) -> tf.distribute.Strategy:
    """Returns the strategy `--strategy` names.

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
    if name not in STRATEGIES:
        raise UserError(f"--strategy={name!r}: expected one of {', '.join(STRATEGIES)}.")
    if cluster.is_one(name):
        return _multiworker(timeout)
    if name == "tpu":
        return _tpu()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return _mirrored(tuple(d.name for d in gpus or tf.config.list_logical_devices("CPU")))
    return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")


@cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    """One a process: two would give different collective operations the same keys, and the second would fail."""
    return tf.distribute.MirroredStrategy(devices)


@cache
def _multiworker(timeout: float) -> tf.distribute.MultiWorkerMirroredStrategy:
    resolvers = tf.distribute.cluster_resolver
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout)
    try:
        if "TF_CONFIG" in os.environ:
            resolver = resolvers.TFConfigClusterResolver()
        else:
            # Each task takes the GPUs that SLURM shows it; that there are enough is none of the resolver's business.
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
    """Says whether other processes share the work."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Says whether this process is the one that writes."""
    if not several_hosts(strategy):
        return True
    resolver = strategy.cluster_resolver
    return resolver.task_id == 0 and resolver.task_type in ("chief", *resolver.cluster_spec().jobs[:1])


def from_chief(strategy: tf.distribute.Strategy, array: np.ndarray) -> np.ndarray:
    """Returns the chief's array on every worker; all must call it, with arrays of one shape and type.

    Where there is one process, the array itself.
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
    """Waits until every worker is here."""
    from_chief(strategy, np.zeros(1, np.float32))


def resolve_precision(name: str, dense: bool = False) -> str:
    """Returns `float32` or `bfloat16`.

    `auto` takes bfloat16 on GPUs of compute capability 8 or more and CPUs with AMX, which have units for it, and on
    CPUs with avx512_bf16 alone for large networks of plain convolutions, where it pays (docs/performance.md).

    Args:
        name: one of `PRECISIONS`.
        dense: the network is one of the latter.

    Raises:
        UserError: an unknown name.
    """
    if name not in PRECISIONS:
        raise UserError(f"--precision={name!r}: expected one of {', '.join(PRECISIONS)}.")
    if name != "auto":
        return name
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capable = [tf.config.experimental.get_device_details(g).get("compute_capability", (0, 0))[0] >= 8 for g in gpus]
        return "bfloat16" if all(capable) else "float32"
    flags = _cpu_flags()
    return "bfloat16" if "amx_bf16" in flags or (dense and "avx512_bf16" in flags) else "float32"


def resolve_xla(name: str) -> bool:
    """Says whether networks are compiled with XLA: by `auto` on GPUs alone, and where their XLA is complete.

    On CPUs it is slower. On a GPU whose CUDA lacks libdevice or ptxas every compilation fails: one is tried.
    """
    if name != "auto":
        return name == "on"
    if not tf.config.list_physical_devices("GPU"):
        return False
    try:
        tf.function(lambda x: tf.exp(tf.matmul(x, x)), autograph=False, jit_compile=True)(tf.ones((8, 8)))
    except tf.errors.OpError:
        return False
    return True


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.split(":", 1)[1].split()}


def set_up(seed: int) -> None:
    """Seeds everything, and on CPU makes every operation deterministic, at no measurable cost.

    Not on GPUs, where operations without a deterministic kernel, such as gradients of depthwise
    convolutions, would fail.
    """
    keras.utils.set_random_seed(seed)
    if not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


class precision_policy:  # noqa: N801
    """Context in which Keras layers are built to compute in `precision`, with float32 variables."""

    def __init__(self, precision: str):
        self.policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"

    def __enter__(self):
        self.before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.policy)

    def __exit__(self, *error):
        keras.config.set_dtype_policy(self.before)


class PeakMemory:
    """Context that measures the most memory in use inside: of the first GPU, or of the whole process on CPUs.

    Attributes:
        bytes: known when it is left; None where the system does not tell.
    """

    bytes: int | None = None

    def __enter__(self):
        self.gpu = bool(tf.config.list_physical_devices("GPU"))
        if self.gpu:
            tf.config.experimental.reset_memory_stats("GPU:0")
        with contextlib.suppress(OSError):
            # Linux forgets the highest mark of a process that writes this.
            Path("/proc/self/clear_refs").write_text("5")
        return self

    def __exit__(self, *error):
        if self.gpu:
            self.bytes = tf.config.experimental.get_memory_info("GPU:0")["peak"]
            return
        with contextlib.suppress(OSError):
            lines = Path("/proc/self/status").read_text().splitlines()
            self.bytes = next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def facts(strategy: tf.distribute.Strategy, precision: str) -> dict:
    """Returns versions and devices, for the records."""
    from tf_transfer import __version__

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return {
        "versions": {
            "tf_transfer": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
        "device": {
            "devices": [d.device_type for d in devices],
            "replicas": strategy.num_replicas_in_sync,
            "precision": precision,
            "cores": os.cpu_count(),
            "platform": sys.platform,
        },
    }
