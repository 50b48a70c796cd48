"""Fine-tune a pretrained model on your domain and say with evidence how well it adapted.

`tf_transfer.fine_tune(...)` trains, `tf_transfer.evaluation` holds the metrics, and
`tf_transfer.serving.load(...)` predicts from an exported SavedModel. Nothing heavy is imported until used.
"""

import importlib

__version__ = "0.1.0"
__all__ = ["evaluation", "fine_tune", "serving"]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str):
    if name == "fine_tune":
        return importlib.import_module("tf_transfer.api").fine_tune
    if name in ("evaluation", "serving"):
        return importlib.import_module(f"tf_transfer.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
