"""The predict phase: labels files with an exported model; needs TensorFlow alone."""

from tf_transfer.serving.files.answer import Asked, predict

__all__ = ["Asked", "predict"]
