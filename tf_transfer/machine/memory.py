"""The memory of GPUs: given as it is needed."""

import contextlib

import tensorflow as tf


def share() -> None:
    """Has every GPU give memory as it is needed, so that two processes share a card; to be called before its first use.

    By default TensorFlow takes almost all memory of every GPU at once.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        # It is in use already, or the user has limited its memory.
        with contextlib.suppress(RuntimeError, ValueError):
            tf.config.experimental.set_memory_growth(gpu, True)
