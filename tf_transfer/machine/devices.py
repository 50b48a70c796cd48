"""Devices: what is recorded of them, their memory, and seeds that make them deterministic."""

import contextlib
import os
import platform
import sys
from pathlib import Path

import keras
import tensorflow as tf


def set_up(seed: int) -> None:
    """Seeds everything, and on CPU makes every operation deterministic, at no measurable cost.

    Not on GPUs, where operations without a deterministic kernel, such as gradients of depthwise
    convolutions, would fail.
    """
    keras.utils.set_random_seed(seed)
    if not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


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
