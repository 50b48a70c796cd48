"""Formats records and metrics as tables for the terminal."""

import unicodedata
from collections.abc import Mapping, Sequence

from tf_transfer.errors import one_line
from tf_transfer.report import control, summary
from tf_transfer.report.formats import count, number, shares, told_apart

_MOST_CLASSES = 20


def comparison_table(records: Sequence[dict]) -> list[dict]:
    """Compares the evaluated models of a run.

    Args:
        records: the records of a run, oldest first.

    Returns:
        A row for each model, in the order of `summary.evaluations`: `model`, `what` (its description),
        `split`, the estimates `accuracy`, `balanced_accuracy`, `macro_f1`, `nll` and `ece` as `{"value",
        "low", "high"}`, and `trained_parameters` and `seconds` of the phase that made the model. Values
        that the records lack are None. The last row is the blind guess, where it must stand there.
    """
    held = summary.current(records)
    plans, ends = summary.by_phase(held, "plan"), summary.by_phase(held, "phase_end")
    rows = []
    for model, evaluation in summary.evaluations(records).items():
        metrics = evaluation["metrics"]
        row = {"model": model, "what": summary.MODELS.get(model), "split": evaluation.get("split", "")}
        row |= {name: metrics.get(name) for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll", "ece")}
        row["trained_parameters"] = plans.get(model, {}).get("parameters", {}).get("trained")
        row["seconds"] = ends.get(model, {}).get("seconds")
        rows.append(row)
    blind, evaluation = summary.beside_headline(records)
    return [*rows, control.row(blind)] if control.beside(blind, evaluation) else rows


def format_table(rows: Sequence[Mapping], leading: str = control.ACCURACY) -> str:
    """Returns the rows of `comparison_table` as an aligned text table.

    Args:
        rows: of `comparison_table`.
        leading: the metric that comes first; where the blind guess is among the rows, the other one follows it.
    """
    split, shares = rows[0]["split"] if rows else "test", control.columns(leading, control.among(rows))
    titles = [f"{one_line(split)} {control.named(shares[0])} (95 % interval)", *map(control.named, shares[1:])]
    lines = [["model", "what it is", *titles, "macro-F1", "NLL", "ECE", "trained parameters", "seconds"]]
    for row in rows:
        cells = [one_line(row["model"], 40), row["what"] or "-"]
        cells += [f"{_percent(row[name] or {})} {_interval(row[name] or {})}".strip() for name in shares]
        cells += [_number((row[name] or {}).get("value"), ".3f") for name in ("macro_f1", "nll", "ece")]
        lines.append([*cells, _number(row["trained_parameters"], ",.0f"), _number(row["seconds"], ".1f")])
    return aligned(lines, left=2)


def copies(metrics: Mapping, many: str) -> str | None:
    """Returns a sentence on the test examples that are copies of training ones; None where there are none.

    Args:
        metrics: of a `score` record, with `without_copies` where there are copies.
        many: the word for examples.
    """
    found = metrics.get("without_copies")
    if not found:
        return None
    told = f"{count(found['copies'])} of the {count(metrics['n'])} test {many} are copies of training ones"
    if found.get("value") is None:
        return f"{told}, so its accuracy says nothing about new {many}."
    return f"{told}; without them it is right on {shares(found)} of {count(found['n'])}."


def metrics_table(metrics: Mapping) -> str:
    """Returns the classes of a `score` record as an aligned text table.

    Rows are in label order; with more than 20 classes, only the 20 tested ones with the lowest F1, the worst first.
    """
    classes = list(metrics["per_class"])
    note = ""
    if len(classes) > _MOST_CLASSES:
        tested = summary.tested(classes)
        untested = len(classes) - len(tested)
        classes = sorted(tested, key=lambda c: c["f1"])[:_MOST_CLASSES]
        left_out, never = len(tested) - len(classes), f", {untested} never tested" if untested else ""
        note = f"\n({left_out} more classes with a higher F1{never})"
    lines = [["class", "precision", "recall", "F1", "support"]]
    names = told_apart([c["name"] for c in classes], 40)
    for shown, c in zip(names, classes, strict=True):
        told = [_number(c[name] if c["support"] else None, ".3f") for name in ("precision", "recall", "f1")]
        support = _number(c["support"], ",.0f") if c["support"] else "never tested"
        lines.append([shown, *told, support])
    return aligned(lines, left=1) + note


def artefact_rows(export: Mapping, artefacts: Sequence[Mapping]) -> list[dict]:
    """Puts the artefacts of an export side by side, the SavedModel first.

    Args:
        export: the record of the SavedModel.
        artefacts: records of the kind `artefact`, of the same model.

    Returns:
        A row for each artefact: `name`, `precision`, `bytes`, `latency` by batch size as `{"value", "low", "high"}`
        seconds, the estimate `accuracy`, and against the recorded predictions `same_class`, a share, and `difference`,
        the largest of any probability.
    """
    rows = []
    if artefacts and export.get("parity") and export.get("latency"):
        # `original` compares with the recorded predictions where the export has another precision than these.
        found = export["parity"].get("original") or export["parity"]
        rows = [{**export, "target": "saved_model", "original": found}]
    return [
        {
            "name": a["target"],
            **{key: a.get(key) for key in ("precision", "bytes", "latency", "accuracy")},
            "same_class": a["original"]["argmax_agreement"],
            "difference": a["original"]["max_probability_difference"],
        }
        for a in (*rows, *artefacts)
    ]


def artefact_table(rows: Sequence[Mapping]) -> str:
    """Returns the rows of `artefact_rows` as an aligned text table."""
    batches = list(rows[0]["latency"])
    header = ["artefact", "precision", "MB", *(f"ms, batch {batch}" for batch in batches)]
    lines = [[*header, "accuracy (95 % interval)", "same class", "probabilities within"]]
    for row in rows:
        cells = [row["name"], row["precision"], _number(row["bytes"] / 1e6, ".2f")]
        cells += [_number(1e3 * row["latency"][batch]["value"], ".1f") for batch in batches]
        cells += [f"{_percent(row['accuracy'])} {_interval(row['accuracy'])}", f"{100 * row['same_class']:.2f} %"]
        lines.append([*cells, _number(row["difference"], ".1g")])
    return aligned(lines, left=2)


def _percent(estimate: Mapping) -> str:
    value = number(estimate.get("value"))
    return "-" if value is None else f"{100 * value:.1f} %"


def _interval(estimate: Mapping) -> str:
    low, high = number(estimate.get("low")), number(estimate.get("high"))
    return "" if low is None or high is None else f"({100 * low:.1f} - {100 * high:.1f})"


def _number(value: float | None, form: str) -> str:
    return "-" if number(value) is None else format(value, form)


def aligned(lines: Sequence[Sequence[str]], left: int) -> str:
    """Joins cells into lines, the header first; the first `left` columns align left, the others right."""
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    lines = [lines[0], ["-" * w for w in widths], *lines[1:]]
    return "\n".join(
        "  ".join(_padded(cell, w, i < left) for i, (cell, w) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )


def _padded(cell: str, width: int, left: bool) -> str:
    space = " " * (width - _width(cell))
    return cell + space if left else space + cell


def _width(text: str) -> int:
    """Returns the width of a text on a terminal: two columns for a wide character, none for a combining one."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)
