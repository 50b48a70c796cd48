"""Writes epoch records as TensorBoard scalars where tensorboard is installed, and nothing otherwise."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path


class Board:
    """Writes the numbers of a phase's epochs as event files.

    Args:
        folder: takes the event files; `tensorboard --logdir` reads it or a parent of it. None: writes nothing.
    """

    def __init__(self, folder: Path | None):
        # TensorFlow 2.21 has the writer but no longer brings the package that reads what it writes.
        self._folder = folder if folder and importlib.util.find_spec("tensorboard") else None
        self._writer = None

    def epoch(self, record: Mapping) -> None:
        """Writes every number of an epoch record at its step."""
        if self._folder is None:
            return
        import tensorflow as tf

        # Opened at the first epoch: a folder that stands there before config.json makes `RunDir.config` refuse the run.
        self._writer = self._writer or tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default(step=record["step"]):
            for name, value in record.items():
                if isinstance(value, int | float) and name not in ("step", "epochs"):
                    tf.summary.scalar(name, value)
        self._writer.flush()
