"""Draws records as SVG strings; `figure` has the common look, `confusion` the confusion matrices."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tf_transfer.errors import one_line
from tf_transfer.phases import catalogue
from tf_transfer.phases.catalogue import FULL, HEAD, SCRATCH, SOURCE
from tf_transfer.report.figure import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    INK,
    LINE,
    MUTED,
    ORANGE,
    PAPER,
    PURPLE,
    SKY,
    VERMILLION,
    WIDTH,
    legend,
    note,
    percent_axis,
    plot,
)
from tf_transfer.report.formats import count, number, percent, told_apart

_MODEL_COLOURS = {
    SOURCE: GREY, HEAD: SKY, FULL: BLUE, SCRATCH: ORANGE, "random head": PURPLE, "blind guess": GREY,
}  # fmt: skip


def model_comparison(rows: Sequence[Mapping], name: str = "comparison", metric: str = "accuracy") -> str:
    """Draws a share of each model, such as its accuracy, as a bar from 0 with its 95 % interval.

    Args:
        rows: of `tables.comparison_table`; those without the metric are left out.
        name: unique among the plots of a page.
        metric: `accuracy` or another share.
    """
    rows = [r for r in rows if number((r[metric] or {}).get("value")) is not None]
    spare = iter([GREEN, PURPLE, VERMILLION] * len(rows))
    with plot(name, WIDTH, 64 * len(rows) + 28, (2, 2, 4, 24)) as p:
        for y, row in enumerate(rows):
            p.ax.barh(y, row[metric]["value"], 0.3, color=_MODEL_COLOURS.get(row["model"]) or next(spare))
            _whiskers(p.ax, y, row[metric])
            p.ax.text(0, y - 0.26, one_line(row["model"], 24), weight="bold", fontsize=14)
            p.ax.text(1, y - 0.26, percent(row[metric]["value"]), weight="bold", ha="right", fontsize=16)
        p.ax.set(xlim=(0, 1), ylim=(len(rows) - 0.75, -0.75), yticks=[], xticks=np.linspace(0, 1, 5))
        percent_axis(p.ax.xaxis)
        for label, side in zip(p.ax.get_xticklabels(), ["left", *["center"] * 3, "right"], strict=True):
            label.set_horizontalalignment(side)
        p.ax.spines["bottom"].set_visible(False)
    return p.svg


def _whiskers(ax: Axes, y: float, estimate: Mapping) -> None:
    low, high = number(estimate.get("low")), number(estimate.get("high"))
    if low is not None and high is not None:
        ax.plot([low, high], [y, y], "|-", color=INK, markersize=10, markeredgewidth=2, solid_capstyle="butt")


def learning_curve(epochs: Mapping[str, Sequence[Mapping]], quantity: str, best: Mapping[str, int]) -> str:
    """Draws a quantity over the epochs: head and full one after the other, scratch as a line of its own.

    The source phase is left out, since it trained on other data.

    Args:
        epochs: result of `summary.epochs`, the epoch records of each phase.
        quantity: `loss` or `accuracy`; draws `train_...` and `validation_...`.
        best: by phase, the epoch whose weights were kept, drawn with a ring.
    """
    epochs = {phase: rows for phase, rows in epochs.items() if phase not in catalogue.on_source()}
    controls = catalogue.controls()
    adapted = {phase: rows for phase, rows in epochs.items() if phase not in controls} or epochs
    scratch = [] if adapted is epochs else next((epochs[phase] for phase in controls if phase in epochs), [])
    with plot(f"curve-{quantity}", WIDTH, 270, (46, 14, 30, 40)) as p:
        start = 0
        for i, (phase, rows) in enumerate(adapted.items()):
            end = start + rows[-1]["epoch"]
            p.ax.axvspan(start + 0.5, end + 0.5, color=LINE, alpha=0.45 * (i % 2 == 0), linewidth=0)
            name_at = {"at": (start + 0.5, 1), "shift": (6, -5), "coords": ("data", "axes fraction")}
            note(p.ax, one_line(phase, 14), **name_at, va="top", weight="bold")
            _phase_lines(p.ax, rows, quantity, start, best.get(phase), named=i == 0)
            start = end
        style = {"color": GREY, "linestyle": DASHES, "marker": "s", "markersize": 3.5}
        _line(p.ax, scratch, f"validation_{quantity}", 0, label="scratch, validation", **style)
        _epoch_axes(p.ax, max(start, 1, *(r["epoch"] for r in scratch)), quantity)
    return p.svg


def _phase_lines(ax: Axes, rows: Sequence[Mapping], quantity: str, start: int, best: int | None, named: bool) -> None:
    training, validation = ("training", "validation") if named else (None, None)
    _line(ax, rows, f"train_{quantity}", start, color=ORANGE, label=training, markersize=3)
    _line(ax, rows, f"validation_{quantity}", start, color=BLUE, label=validation)
    kept = [r for r in rows if r["epoch"] == best]
    ring = {"markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.6}
    _line(ax, kept, f"validation_{quantity}", start, color=BLUE, **ring)


def _epoch_axes(ax: Axes, last: int, quantity: str) -> None:
    ax.set(xlim=(0.5, last + 0.5), xlabel="epoch")
    ax.margins(y=0.16)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    if quantity == "accuracy":
        percent_axis(ax.yaxis)
    ax.grid(visible=False, axis="x")
    legend(ax)


def _line(ax: Axes, rows: Sequence[Mapping], key: str, start: int, **style) -> None:
    """Draws `key` over the epochs, counted from `start`; without values draws nothing, and no legend."""
    values = [np.nan if number(r.get(key)) is None else r[key] for r in rows]
    if not np.isnan(values).all():
        ax.plot([start + r["epoch"] for r in rows], values, **({"marker": "o"} | style))


def class_bars(per_class: Sequence[Mapping]) -> str:
    """Draws F1 of each class as a bar, its recall as a dot and its number of examples as text.

    Args:
        per_class: rows of a `score` record, drawn from top to bottom; about 20 at most.
    """
    n = len(per_class)
    y, labels = np.arange(n), told_apart([c["name"] for c in per_class])
    margin = 12 + 7.6 * max(map(len, labels))
    with plot("classes", WIDTH, 26 * n + 58, (margin, 54, 30, 28)) as p:
        p.ax.barh(y, [c["f1"] for c in per_class], 0.62, color=SKY, label="F1")
        style = {"color": INK, "markerfacecolor": PAPER, "markersize": 7, "markeredgewidth": 1.8, "clip_on": False}
        p.ax.plot([c["recall"] for c in per_class], y, "o", label="recall", **style)
        for row, c in enumerate(per_class):
            beside = ("axes fraction", "data")
            note(p.ax, count(c["support"]), (1, row), (50, 0), beside, ha="right", va="center")
        note(p.ax, "examples", (1, 1), (50, 6), ha="right")
        p.ax.set(xlim=(0, 1), ylim=(n - 0.4, -0.6), yticks=y)
        p.ax.set_yticklabels(labels, color=INK)
        p.ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.1g}"))
        p.ax.grid(visible=False, axis="y")
        # Beside long names the axes are narrow: the legend begins above the names.
        legend(p.ax, reverse=True, left=min(-0.03, -(margin - 90) / (WIDTH - margin - 54)))
    return p.svg


def reliability(bins: Mapping[str, Sequence], name: str = "reliability") -> str:
    """Draws a reliability diagram: accuracy at each level of confidence, above the share of predictions there.

    Args:
        bins: `edges`, `count`, `confidence` and `accuracy` of a `score` record; None marks an empty bin.
        name: unique among the plots of a page.
    """
    filled = np.flatnonzero(bins["count"])
    confidence, accuracy, counts = (np.array(bins[k], float)[filled] for k in ("confidence", "accuracy", "count"))
    left, width = np.array(bins["edges"])[filled], 0.92 * np.diff(bins["edges"])[filled]
    both, shares = np.minimum(accuracy, confidence), counts / counts.sum()
    with plot(name, WIDTH, 450, (54, 20, 28, 124)) as p:
        p.ax.bar(left, both, width, align="edge", color=SKY, alpha=0.5)
        gap = {"bottom": both, "align": "edge", "alpha": 0.6}
        p.ax.bar(left, confidence - both, width, color=VERMILLION, label="too sure", **gap)
        p.ax.bar(left, accuracy - both, width, color=GREEN, label="too modest", **gap)
        p.ax.hlines(accuracy, left, left + width, color=INK, label="accuracy")
        p.ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1.5, linestyle=DASHES)
        p.ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", xticklabels=[], yticks=np.linspace(0.2, 1, 5))
        legend(p.ax)
        below = p.ax.inset_axes((0, -0.24, 1, 0.2))
        below.bar(left, shares, width, align="edge", color=GREY)
        below.set(xlim=(0, 1), xlabel="confidence", ylabel="share", yticks=[shares.max()])
        percent_axis(p.ax.yaxis)
        percent_axis(below.xaxis)
        below.yaxis.set_major_formatter(FuncFormatter(lambda x, _: percent(x, 0)))
        for ax in (p.ax, below):
            ax.yaxis.set_label_coords(-0.115, 0.5)
    return p.svg


def rate_search(rates: Sequence[float], losses: Sequence[float], suggestion: float | None, name: str = "rates") -> str:
    """Draws the loss over the learning rates that were tried, with the suggested rate marked.

    Args:
        rates: learning rates, ascending and positive.
        losses: the loss at each rate; values that are not finite are left out.
        suggestion: the rate to mark, if any.
        name: unique among the plots of a page.
    """
    tried = [(r, y) for r, y in zip(rates, losses, strict=True) if number(y) is not None]
    with plot(name, WIDTH, 260, (52, 14, 30, 42)) as p:
        p.ax.plot(*np.reshape(tried, (-1, 2)).T, color=BLUE)
        p.ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
        if number(suggestion):
            p.ax.axvline(suggestion, color=VERMILLION, linewidth=1.6, linestyle=DASHES)
            above = {"coords": ("data", "axes fraction"), "ha": "center", "color": VERMILLION, "weight": "bold"}
            note(p.ax, f"{suggestion:.2g}", (suggestion, 1), (0, 6), **above)
        p.ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        p.ax.xaxis.set_minor_formatter("")
    return p.svg


def l2_path(rows: Sequence[Mapping], chosen: float | None, name: str = "path") -> str:
    """Draws the accuracy over the L2 strengths of a solved head, with a ring around the chosen one.

    Args:
        rows: `path` records of one phase.
        chosen: the strength that validation chose.
        name: unique among the plots of a page.
    """
    with plot(name, WIDTH, 260, (52, 14, 30, 42)) as p:
        for key, color, label in (("train", ORANGE, "training"), ("validation", BLUE, "validation")):
            told = [(r["l2"], r[f"{key}_accuracy"]) for r in rows if number(r.get(f"{key}_accuracy")) is not None]
            if told:
                p.ax.plot(*np.transpose(told), "o-", color=color, label=label)
            ring = [y for l2, y in told if l2 == chosen and key == "validation"]
            style = {"markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.6, "color": color}
            p.ax.plot([chosen] * len(ring), ring, "o", **style)
        p.ax.set(xlabel="strength of L2, from strong to weak")
        if len({r["l2"] for r in rows}) > 1 and all(r["l2"] > 0 for r in rows):
            p.ax.set(xscale="log")
            p.ax.xaxis.set_minor_formatter("")
        p.ax.invert_xaxis()
        p.ax.margins(y=0.16)
        p.ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        percent_axis(p.ax.yaxis)
        legend(p.ax)
    return p.svg
