"""The blind guess beside the models of a run, and the figure that comes first: accuracy, or balanced accuracy."""

from collections.abc import Mapping, Sequence

from tf_transfer.errors import one_line
from tf_transfer.report.formats import number

KIND = "blind_guess"
"""Kind of the record that `evaluate` makes of `evaluation.blind_guess`."""
NAME = "blind guess"
"""What stands in the column of the models."""
ACCURACY, BALANCED = "accuracy", "balanced_accuracy"

# A blind guess that is right more often tells nothing new: most answers are its own.
_HALF = 0.5
# How many times as frequent as among even classes the most frequent class is, from which on they are called uneven.
_UNEVEN = 1.1


def beside(blind: Mapping, evaluation: Mapping) -> bool:
    """Says whether the blind guess must stand beside a model: above one half, or within the model's interval.

    Args:
        blind: a record of `KIND`, or an empty mapping.
        evaluation: of the model.
    """
    value, low = (number(_accuracy(r).get(key)) for r, key in ((blind, "value"), (evaluation, "low")))
    same = blind.get("split") == evaluation.get("split")
    return same and value is not None and (value > _HALF or (low is not None and value >= low))


def leading(blind: Mapping, evaluation: Mapping) -> str:
    """Returns the metric that comes first for a model: `balanced_accuracy` where classes are uneven, else `accuracy`.

    Uneven they are where the blind guess must stand beside the model, and is right more often than one of even classes.
    """
    metrics = evaluation.get("metrics", {})
    classes = sum(c["support"] > 0 for c in metrics.get("per_class", []))
    if not (beside(blind, evaluation) and metrics.get(BALANCED) and classes):
        return ACCURACY
    return BALANCED if _accuracy(blind)["value"] * classes > _UNEVEN else ACCURACY


def named(metric: str) -> str:
    """Returns a metric's name in a sentence."""
    return metric.replace("_", " ")


def columns(first: str, both: bool) -> list[str]:
    """Returns the metrics of a table's first columns: `first`, and where the blind guess is told `both`."""
    return sorted((ACCURACY, BALANCED), key=lambda name: name != first) if both else [first]


def among(rows: Sequence[Mapping]) -> bool:
    """Says whether the blind guess is one of the rows of `tables.comparison_table`."""
    return any(row["model"] == NAME for row in rows)


def row(blind: Mapping) -> dict:
    """Returns the row of the blind guess in `tables.comparison_table`."""
    metrics = blind["metrics"]
    measured = {name: metrics.get(name) for name in (ACCURACY, BALANCED, "macro_f1")}
    costs = dict.fromkeys(("nll", "ece", "trained_parameters", "seconds"))
    what = f"always {one_line(blind['class'], 40)!r}, the most frequent class of training"
    return {"model": NAME, "what": what, "split": blind["split"], **measured, **costs}


def told(blind: Mapping, metric: str) -> str:
    """Returns what the blind guess means for a reader of figures of which `metric` comes first."""
    answer = f"always naming {one_line(blind['class'], 40)!r} is right on {_percent(blind, ACCURACY)}"
    if metric == ACCURACY:
        return f"{answer}: measure the accuracy by that."
    return (
        f"{answer}: accuracy says little on classes this uneven. Balanced accuracy comes first, the mean of the "
        f"classes' recalls: {_percent(blind, BALANCED)} for that answer."
    )


def find(records: Sequence[Mapping]) -> Mapping:
    """Returns the last record of the blind guess, or an empty mapping."""
    return next((r for r in reversed(records) if r.get("kind") == KIND and _accuracy(r)), {})


def _percent(blind: Mapping, metric: str) -> str:
    return f"{100 * blind['metrics'][metric]['value']:.1f} %"


def _accuracy(record: Mapping) -> Mapping:
    return record.get("metrics", {}).get(ACCURACY) or {}
