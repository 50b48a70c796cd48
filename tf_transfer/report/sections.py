"""Turns records into the content of each section of the page: figures, rows, and numbers of its sentences."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from tf_transfer.errors import one_line
from tf_transfer.phases import catalogue
from tf_transfer.report import confusion, control, plots, summary
from tf_transfer.report.formats import number, percent, told_apart
from tf_transfer.report.tables import artefact_rows

# Classes that a figure names at most, and number of classes above which only the most confused ones are drawn.
_MOST_CLASSES, _MANY = 20, 50


def figure(svg: str, alt: str, caption: str) -> dict:
    """Returns a figure of the page; its SVG is inserted without escaping, as it was made here."""
    # HTML implies the namespace; without it the page holds no address at all.
    return {"svg": Markup(svg.replace(' xmlns="http://www.w3.org/2000/svg"', "")), "alt": alt, "caption": caption}


def headline(model: str | None, evaluated: Mapping[str, Mapping], records: Sequence[dict]) -> dict | None:
    """Returns the main figure and its differences to the other models; None before any evaluation.

    Args:
        model: result of `summary.headline`.
        evaluated: result of `summary.evaluations`.
        records: the valid records, see `summary.current`, for their paired tests and the blind guess.
    """
    evaluation = evaluated.get(model, {})
    if _value(evaluation, control.ACCURACY) is None:
        return None
    blind = control.find(records)
    metric = control.leading(blind, evaluation)
    value, gains = _value(evaluation, metric), []
    for other in (*catalogue.by_adaptation(), *(m for m in evaluated if m not in summary.MODELS)):
        base = _value(evaluated.get(other, {}), metric)
        if other != model and base is not None:
            row = catalogue.PHASES.get(other)
            over = row.over if row else one_line(other, 40)
            gains.append({"points": value - base, "over": over} | _evidence(model, other, evaluated, records, metric))
    facts = {"split": evaluation.get("split", ""), "metrics": evaluation["metrics"]}
    facts |= {"metric": metric, "metric_name": control.named(metric)}
    facts["blind"] = control.told(blind, metric) if control.beside(blind, evaluation) else None
    return {"model": model, "what": summary.MODELS.get(model), "gains": gains} | facts


def _value(evaluation: Mapping, metric: str) -> float | None:
    return number((evaluation.get("metrics", {}).get(metric) or {}).get("value"))


def _evidence(
    model: str, other: str, evaluated: Mapping[str, Mapping], records: Sequence[dict], metric: str = control.ACCURACY
) -> dict:
    """Returns McNemar's p-value where it was recorded and is of the metric, else whether the two intervals overlap."""
    split = evaluated[model].get("split")
    for r in reversed(records) if metric == control.ACCURACY else ():
        if r.get("kind") == "comparison" and {r.get("a"), r.get("b")} == {model, other} and r.get("split") == split:
            return {"p_value": r.get("p_value")}
    a, b = (evaluated[m]["metrics"][metric] for m in (model, other))
    ends = [number(x.get(end)) for x in (a, b) for end in ("low", "high")]
    return {"overlap": None if None in ends else ends[0] <= ends[3] and ends[2] <= ends[1]}


def comparison(rows: Sequence[Mapping], metric: str = control.ACCURACY) -> dict | None:
    """Returns the figure of the models' accuracies, or of another share."""
    told = [(r["model"], number((r[metric] or {}).get("value"))) for r in rows]
    told = [f"{one_line(model, 40)} {percent(value)}" for model, value in told if value is not None]
    if not told:
        return None
    name = control.named(metric)
    caption = f"{name.capitalize()} on the {one_line(rows[0]['split'], 40)} split; the whiskers are 95 % intervals."
    return figure(plots.model_comparison(rows, metric=metric), f"Bar chart of {name}: {', '.join(told)}.", caption)


def learning(records: Sequence[dict]) -> list[dict]:
    """Returns the learning curves, and the searches for a learning rate."""
    epochs = {phase: rows for phase, rows in summary.epochs(records).items() if phase not in catalogue.on_source()}
    ends = summary.by_phase(records, "phase_end")
    best = {phase: end.get("best_epoch") for phase, end in ends.items()}
    figures = [_curve(epochs, quantity, best) for quantity in ("accuracy", "loss") if epochs]
    figures += [_path(phase, rows, ends.get(phase, {}).get("l2")) for phase, rows in summary.paths(records).items()]
    for phase, r in summary.by_phase(records, "lr_find").items():
        svg = plots.rate_search(r.get("rates", []), r.get("losses", []), r.get("suggestion"), f"rates-{len(figures)}")
        alt = f"Line chart of loss over learning rates; suggested: {r.get('suggestion')}."
        caption = f"Search for the learning rate of {one_line(phase, 20)}; the line marks its suggestion."
        figures.append(figure(svg, alt, caption))
    return figures


def _path(phase: str, rows: Sequence[Mapping], chosen: float | None) -> dict:
    told = [f"{r['l2']:.2g} {percent(r.get('validation_accuracy'))}" for r in rows]
    name = one_line(phase, 20)
    validated = any(number(r.get("validation_accuracy")) is not None for r in rows)
    caption = f"The {name} was solved for each of these strengths, weaker ones fitting closer."
    if chosen is not None:
        which = "The ring marks the one of the lowest validation loss, which" if validated else "The last"
        caption += f" {which} was kept, {chosen:.2g}."
    alt = f"Line chart of accuracy over the strength of L2; on validation: {', '.join(told)}."
    return figure(plots.l2_path(rows, chosen, f"path-{len(name)}"), alt, caption)


def _curve(epochs: Mapping[str, Sequence[Mapping]], quantity: str, best: Mapping[str, int]) -> dict:
    ends, ringed = [], False
    for phase, rows in epochs.items():
        values = [number(rows[-1].get(f"{part}_{quantity}")) for part in ("validation", "train")]
        value = next((v for v in values if v is not None), None)
        ends.append(f"{one_line(phase, 20)} {'unknown' if value is None else f'{value:.3f}'}")
        ringed |= values[0] is not None and best.get(phase) is not None
    alt = f"Line chart of {quantity} over epochs; at the end: {', '.join(ends)}."
    ring = " The ring marks the epoch whose weights were kept." if ringed else ""
    return figure(plots.learning_curve(epochs, quantity, best), alt, f"{quantity.capitalize()} by epoch.{ring}")


def errors(evaluation: Mapping) -> dict | None:
    """Returns the confusion matrix, the most frequent confusions, the classes and the worst examples."""
    metrics = evaluation.get("metrics", {})
    classes = metrics.get("per_class", [])
    if not classes or not metrics.get("confusion"):
        return None
    counts, names = np.array(metrics["confusion"]), [c["name"] for c in classes]
    shown = told_apart(names, 40)
    return {
        "matrices": _matrices(counts, names),
        "shown": dict(zip(names, shown, strict=True)),
        "pairs": _pairs(counts, shown, 8 if len(names) <= _MANY else _MOST_CLASSES),
        "searched": len(names) > _MANY,
        "bars": _class_bars(classes),
        "classes": classes,
        # Older records list right answers among them.
        "top_losses": [t for t in evaluation.get("top_losses") or [] if t.get("label") != t.get("predicted")],
    }


def _class_bars(classes: Sequence[Mapping]) -> dict:
    untested, classes = len(classes), summary.tested(classes)
    never = f" {untested} never tested." if (untested := untested - len(classes)) else ""
    worst = sorted(classes, key=lambda c: c["f1"])[:_MOST_CLASSES]
    names = told_apart([c["name"] for c in worst], 40)
    lowest = ", ".join(f"{name} {c['f1']:.2f}" for name, c in zip(names[:3], worst, strict=False))
    alt = f"Bar chart of F1 and recall; lowest F1: {lowest}."
    if len(classes) > _MOST_CLASSES:
        return figure(plots.class_bars(worst), alt, f"The {_MOST_CLASSES} classes with the lowest F1.{never}")
    return figure(plots.class_bars(classes), alt, f"F1 and recall by class.{never}")


def _matrices(counts: np.ndarray, names: Sequence[str]) -> list[dict]:
    alt = f"Confusion matrix of {len(names)} classes: {np.trace(counts)} of {counts.sum()} on the diagonal."
    shading = "Rows are the true classes; blue is right, orange is wrong, and the shade is the share of the row."
    if len(names) <= _MOST_CLASSES:
        return [figure(confusion.matrix(counts, names), alt, f"{shading} The numbers are counts.")]
    if len(names) > _MANY:
        return _pairs_matrix(counts, names, shading)
    chosen = confusion.most_confused(counts, _MOST_CLASSES)
    part = confusion.matrix(counts[np.ix_(chosen, chosen)], [names[i] for i in chosen])
    most = f"The {_MOST_CLASSES} classes that stand in most errors"
    return [
        figure(confusion.heat_map(counts), alt, f"All {len(names)} classes. {shading}"),
        figure(part, f"Confusion matrix. {most}.", f"{most}, with counts."),
    ]


def _pairs_matrix(counts: np.ndarray, names: Sequence[str], shading: str) -> list[dict]:
    """Returns the matrix of the most confused pairs of many classes; empty where nothing was confused."""
    chosen = confusion.of_pairs(counts, _MOST_CLASSES)
    if not len(chosen):
        return []
    part = counts[np.ix_(chosen, chosen)]
    wrong, shown = (int(c.sum() - np.trace(c)) for c in (counts, part))
    alt = f"Confusion matrix of the {len(chosen)} classes of the most confused pairs: {shown} of {wrong} errors."
    told = f"The {len(chosen)} classes of the most confused pairs, of {len(names):,}, with counts"
    caption = f"{told}: {shown:,} of {wrong:,} errors. {shading}"
    return [figure(confusion.matrix(part, [names[i] for i in chosen]), alt, caption)]


def _pairs(counts: np.ndarray, names: Sequence[str], k: int) -> list[dict]:
    """Returns the `k` most frequent confusions of one class with another."""
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    pairs = []
    for cell in np.argsort(-wrong, axis=None, kind="stable")[:k]:
        label, predicted = divmod(int(cell), len(names))
        n = int(wrong[label, predicted])
        if n:
            share = n / int(counts[label].sum())
            pairs.append({"label": names[label], "predicted": names[predicted], "count": n, "share": share})
    return pairs


def confidence(evaluation: Mapping) -> dict | None:
    """Returns the reliability diagram, and the mean confidence minus the accuracy."""
    metrics = evaluation.get("metrics", {})
    bins = metrics.get("reliability")
    if not bins or not sum(bins["count"]):
        return None
    filled = np.flatnonzero(bins["count"])
    counts, claimed, right = (np.array(bins[k], float)[filled] for k in ("count", "confidence", "accuracy"))
    claimed, right = float(np.average(claimed, weights=counts)), float(np.average(right, weights=counts))
    alt = f"Reliability diagram: mean confidence {percent(claimed)}, accuracy {percent(right)}."
    caption = "Accuracy at each level of confidence; on the dashed line the two agree. Below: the share of predictions."
    scores = {name: metrics.get(name) for name in ("ece", "nll", "brier")}
    return {"figure": figure(plots.reliability(bins), alt, caption), "excess": claimed - right} | scores


def splits(data: Mapping, records: Sequence[dict]) -> list[dict]:
    """Returns the size of each split, and how often the test split has been read."""
    read = summary.latest(records, "test_read")
    sizes = dict(data.get("splits") or {}) | ({"test": read.get("n")} if read else {})
    times = read.get("times")
    often = "" if times is None else "read once" if times == 1 else f"read {times} times"
    return [{"name": name, "size": n, "note": often if name == "test" else ""} for name, n in sizes.items()]


def notes(data: Mapping) -> list[dict]:
    """Returns the notes about the data, one entry a kind."""
    found = []
    for kind, items in (data.get("notes") or {}).items():
        items = items if isinstance(items, list | tuple) else [items]
        if items:
            title = one_line(kind, 40).replace("_", " ")
            found.append({"kind": title, "count": len(items), "some": [str(i) for i in items[:20]]})
    return found


def artefacts(records: Sequence[dict]) -> list[dict]:
    """Returns the rows of the exported model's artefacts, see `artefact_rows`; empty for a SavedModel alone."""
    export = summary.latest(records, "export")
    made = [r for r in records if r.get("kind") == "artefact" and r.get("model") == export.get("model") and "id" in r]
    return artefact_rows(export, list({r["target"]: r for r in made}.values()))


def phases(records: Sequence[dict]) -> list[dict]:
    """Returns the plan, cost and outcome of each training phase, and its epochs."""
    found = {kind: summary.by_phase(records, kind) for kind in ("plan", "phase_end")}
    epochs = summary.epochs(records)
    return [
        {
            "phase": phase,
            "plan": found["plan"].get(phase, {}).get("plan") or {},
            "parameters": found["plan"].get(phase, {}).get("parameters") or {},
            "end": found["phase_end"].get(phase, {}),
            "epochs": epochs.get(phase, []),
        }
        for phase in dict.fromkeys([*found["plan"], *epochs, *found["phase_end"]])
    ]
