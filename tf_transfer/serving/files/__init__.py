"""The predict phase: files in, labels out, with an exported model alone."""

from tf_transfer.serving.files.answer import Asked, predict

__all__ = ["Asked", "predict"]
