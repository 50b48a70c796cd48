"""Devices: seeds that make them deterministic, their peak memory, and the facts that records keep of them."""

import contextlib
import os
import platform
import sys
from pathlib import Path

import keras
import tensorflow as tf


def set_up(seed: int) -> None:
    """Seeds every generator, and on CPUs makes every operation deterministic, at no measurable cost.

    On GPUs operations stay as they are: those without a deterministic kernel, such as gradients of depthwise
    convolutions, would fail.
    """
    keras.utils.set_random_seed(seed)
    if not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


class PeakMemory:
    """Context that measures the peak memory inside: of the first GPU, or on CPUs of the whole process.

    Attributes:
        bytes: the peak, set when the context ends; None where the system does not report it.
    """

    bytes: int | None = None

    def __enter__(self):
        self.gpu = bool(tf.config.list_physical_devices("GPU"))
        if self.gpu:
            tf.config.experimental.reset_memory_stats("GPU:0")
        with contextlib.suppress(OSError):
            # Writing 5 to this file resets the peak that Linux keeps of the process.
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
