"""Epoch records as TensorBoard scalars, where tensorboard is installed; nothing otherwise."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path


class Board:
    """Writes the numbers of a phase's epochs as event files.

    Args:
        folder: where the event files go; `tensorboard --logdir` takes it or one above it.
    """

    def __init__(self, folder: Path):
        self._writer = None
        # TensorFlow 2.21 has the writer but no longer brings the package that reads what it writes.
        if importlib.util.find_spec("tensorboard"):
            import tensorflow as tf

            self._summary = tf.summary
            self._writer = tf.summary.create_file_writer(str(folder))

    def epoch(self, record: Mapping) -> None:
        """Writes every number of an epoch record at its step."""
        if self._writer is None:
            return
        with self._writer.as_default(step=record["step"]):
            for name, value in record.items():
                if isinstance(value, int | float) and name not in ("step", "epochs"):
                    self._summary.scalar(name, value)
        self._writer.flush()
