"""Plots of an assessment as SVG strings: curves, heat map, scatter, ranks."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from tf_transfer.errors import one_line
from tf_transfer.phases.catalogue import FULL, HEAD, SCRATCH
from tf_transfer.report import figure as look
from tf_transfer.report.formats import told_apart

# Kinds differ in their marks too, not only in colour.
_KINDS = {FULL: (look.BLUE, "o"), HEAD: (look.SKY, "s"), SCRATCH: (look.ORANGE, "^")}
_OTHERS = (
    (look.BLUE, "o"),
    (look.VERMILLION, "s"),
    (look.GREEN, "^"),
    (look.PURPLE, "D"),
    (look.ORANGE, "v"),
    (look.SKY, "P"),
    (look.GREY, "X"),
)


def label_budget(labels: Sequence[float], curves: Mapping[str, Sequence[Mapping | None]]) -> str:
    """Draws accuracy over labels a class, a line a kind of training, with intervals.

    Args:
        labels: labels a class.
        curves: estimates at each by kind; None where it was not trained.
    """
    with look.plot("label-budget", look.WIDTH, 300, (46, 14, 30, 42)) as p:
        for kind, estimates in curves.items():
            told = [(x, e) for x, e in zip(labels, estimates, strict=True) if e]
            if told:
                colour, mark = _KINDS[kind]
                x, y = [x for x, _ in told], [e["value"] for _, e in told]
                error = np.abs([[e["value"] - e["low"], e["high"] - e["value"]] for _, e in told]).T
                p.ax.errorbar(x, y, error, color=colour, marker=mark, capsize=3, linewidth=2, elinewidth=1, label=kind)
        p.ax.set(xscale="log", xlabel="labels a class")
        p.ax.xaxis.set_major_locator(FixedLocator(list(labels)))
        p.ax.xaxis.set_minor_locator(NullLocator())
        p.ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        look.percent_axis(p.ax.yaxis)
        look.legend(p.ax)
    return p.svg


def corruption_map(names: Sequence[str], accuracy: Sequence[Sequence[float]], clean: float) -> str:
    """Draws the accuracy under each corruption and severity, shaded by the loss against clean examples.

    Args:
        names: of the corruptions.
        accuracy: `[K, 5]`.
        clean: accuracy on the same examples, uncorrupted.
    """
    rows, columns, height = len(names), len(accuracy[0]), 24
    with look.plot("corruptions", look.WIDTH, height * rows + 52, (138, 4, 44, 6)) as p:
        for (row, column), value in np.ndenumerate(np.array(accuracy)):
            lost = min(1.0, max(0.0, clean - value) / max(clean, 1e-9))
            p.ax.add_patch(
                Rectangle(
                    (column + 0.02, row + 0.04), 0.96, 0.92, linewidth=0, facecolor=look.VERMILLION, alpha=0.9 * lost
                )
            )
            style = {"color": "#ffffff" if lost > 0.6 else look.INK, "fontsize": 11, "ha": "center", "va": "center"}
            p.ax.text(column + 0.5, row + 0.5, f"{100 * value:.0f}", **style)
        p.ax.set(xlim=(0, columns), ylim=(rows, 0), xticks=np.arange(columns) + 0.5, yticks=np.arange(rows) + 0.5)
        p.ax.set_yticklabels([name.replace("_", " ") for name in names], color=look.INK)
        p.ax.xaxis.tick_top()
        p.ax.set_xticklabels(range(1, columns + 1))
        look.note(p.ax, "severity", (0.5, 1), (0, 24), ha="center")
        p.ax.grid(visible=False)
        p.ax.spines[:].set_visible(False)
    return p.svg


def estimates(found: Sequence[Mapping]) -> str:
    """Draws the accuracy estimated without labels over the true one, a dot a shifted set.

    Args:
        found: records with `estimate` and `accuracy`.
    """
    with look.plot("estimates", look.WIDTH, 340, (72, 20, 12, 44)) as p:
        p.ax.plot([0, 1], [0, 1], color=look.MUTED, linewidth=1.5, linestyle=look.DASHES)
        style = {
            "color": look.BLUE,
            "markerfacecolor": look.PAPER,
            "markersize": 6,
            "markeredgewidth": 1.4,
            "linestyle": "none",
        }
        p.ax.plot([e["accuracy"] for e in found], [e["estimate"] for e in found], "o", **style)
        p.ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="true accuracy", ylabel="estimated without labels")
        look.percent_axis(p.ax.xaxis)
        look.percent_axis(p.ax.yaxis)
    return p.svg


def stages(rows: Sequence[Mapping]) -> str:
    """Draws similarity of features and distance of weights, stage by stage."""
    x = [r["stage"] for r in rows]
    alike = [r["cka"]["value"] if r["cka"] else np.nan for r in rows]
    with look.plot("stages", look.WIDTH, 260, (46, 14, 30, 42)) as p:
        p.ax.plot(x, alike, "o-", color=look.BLUE, label="similarity of features (CKA)")
        p.ax.plot(x, [r["weight_distance"] for r in rows], "s--", color=look.ORANGE, label="weights moved")
        p.ax.set(xticks=x, xlabel="stage, from the input up", ylim=(0, None), xlim=(min(x) - 0.4, max(x) + 0.4))
        p.ax.grid(visible=False, axis="x")
        look.legend(p.ax)
    return p.svg


def interpolation(alphas: Sequence[float], accuracy: Mapping[str, Sequence[Mapping]], chosen: float | None) -> str:
    """Draws the accuracy of models between the head-only one (0) and the fine-tuned one (1), a line a set."""
    with look.plot("interpolation", look.WIDTH, 280, (46, 14, 30, 42)) as p:
        for i, (name, told) in enumerate(accuracy.items()):
            colour, mark = _OTHERS[i % len(_OTHERS)]
            y = [e["value"] for e in told]
            p.ax.plot(alphas, y, f"{mark}-", color=colour, label=one_line(name, 14), markersize=4)
        if chosen is not None:
            p.ax.axvline(chosen, color=look.MUTED, linewidth=1.4, linestyle=look.DASHES)
        p.ax.set(xlabel="share of the fine-tuned weights")
        p.ax.margins(y=0.12)
        look.percent_axis(p.ax.yaxis)
        look.legend(p.ax)
    return p.svg


def distances(rows: Mapping[str, Mapping]) -> str:
    """Draws the proxy A-distance of each set with its interval; 0 is indistinguishable, 2 wholly apart."""
    names = list(rows)
    labels = told_apart(names, 20)
    margin = 16 + 7.6 * max(map(len, labels))
    with look.plot("distances", look.WIDTH, 34 * len(names) + 44, (margin, 16, 6, 36)) as p:
        for y, name in enumerate(names):
            e = rows[name]["proxy_a_distance"]
            control = name == "within the target"
            p.ax.plot([e["low"], e["high"]], [y, y], "-", color=look.GREY if control else look.BLUE, linewidth=3)
            p.ax.plot(
                [e["value"]], [y], "s" if control else "o", color=look.GREY if control else look.BLUE, markersize=8
            )
        p.ax.set(xlim=(-0.6, 2.05), ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
        p.ax.set_yticklabels(labels, color=look.INK)
        p.ax.set_xlabel("proxy A-distance")
        p.ax.grid(visible=False, axis="y")
    return p.svg


def ranks(found: Mapping[str, Mapping[str, Mapping]]) -> str:
    """Draws the rank of every candidate by every forecast, with its interval.

    Args:
        found: forecast, then candidate, to `median`, `low` and `high`.
    """
    forecasts = list(found)
    candidates = list(next(iter(found.values())))
    top = 16 + 19 * len(candidates)
    with look.plot("ranks", look.WIDTH, 42 * len(forecasts) + 40 + top, (86, 16, top, 40)) as p:
        for i, candidate in enumerate(candidates):
            colour, mark = _OTHERS[i % len(_OTHERS)]
            shift = 0.22 * (i - (len(candidates) - 1) / 2)
            for y, name in enumerate(forecasts):
                e = found[name][candidate]
                p.ax.plot([e["low"], e["high"]], [y + shift] * 2, "-", color=colour, linewidth=2)
                label = one_line(candidate, 40) if not y else None
                p.ax.plot([e["median"]], [y + shift], mark, color=colour, markersize=7, linestyle="none", label=label)
        p.ax.set(ylim=(len(forecasts) - 0.4, -0.6), yticks=range(len(forecasts)), xlabel="rank, 1 is best")
        p.ax.set(xticks=range(1, len(candidates) + 1), xlim=(0.7, len(candidates) + 0.3))
        p.ax.set_yticklabels(forecasts, color=look.INK)
        p.ax.grid(visible=False, axis="y")
        look.legend(p.ax, columns=1)
    return p.svg
