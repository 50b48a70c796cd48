"""Confusion matrices as SVG strings: with their counts, or as a map of many classes."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from tf_transfer.report.figure import BLUE, INK, LINE, VERMILLION, WIDTH, note, plot
from tf_transfer.report.formats import told_apart


def matrix(counts: np.ndarray, class_names: Sequence[str]) -> str:
    """Draws a confusion matrix with its counts; rows are true classes, shaded by their share of the row.

    Hits are blue and errors vermillion. Meant for up to about 20 classes, see `most_confused`.
    """
    counts = np.asarray(counts)
    n, cell = len(counts), 44 if len(counts) <= 10 else 36
    shares = _shares(counts)
    labels = told_apart(class_names)
    margin = 16 + 7.6 * max(map(len, labels))
    left = max(44, margin)  # Leaves room for the word "true".
    with plot("confusion", n * cell + left + 4, n * cell + margin + 26, (left, 4, margin + 22, 4)) as p:
        for row, column in np.ndindex(n, n):
            _cell(p.ax, row, column, counts[row, column], shares[row, column])
        p.ax.set(xlim=(0, n), ylim=(n, 0), xticks=np.arange(n) + 0.5, yticks=np.arange(n) + 0.5)
        p.ax.set_yticklabels(labels)
        p.ax.xaxis.tick_top()
        p.ax.set_xticklabels(labels, rotation=90, rotation_mode="anchor", ha="left", va="center")
        note(p.ax, "true", (0, 1), (-8, 8), ha="right", weight="bold")
        note(p.ax, "predicted", (0, 1), (2, margin + 4), weight="bold")
        p.ax.grid(visible=False)
        p.ax.spines[:].set_visible(False)
    return p.svg


def _cell(ax: Axes, row: int, column: int, count: int, share: float) -> None:
    """Draws one cell: a faint background, the colour of its share, and the count."""
    place, size = (column + 0.03, row + 0.03), (0.94, 0.94)
    ax.add_patch(Rectangle(place, *size, linewidth=0, facecolor=LINE, alpha=0.4))
    if count:
        colour = BLUE if row == column else VERMILLION
        ax.add_patch(Rectangle(place, *size, linewidth=0, facecolor=colour, alpha=_opacity(share)))
        style = {"color": "#ffffff" if share > 0.3 else INK, "fontsize": 11 if count < 10_000 else 9}
        ax.text(column + 0.5, row + 0.5, f"{count}", ha="center", va="center", **style)


def most_confused(counts: np.ndarray, k: int = 20) -> np.ndarray:
    """Returns the `k` classes with the most errors, as label or as prediction, in ascending order of class."""
    errors = np.asarray(counts) * (1 - np.eye(len(counts), dtype=int))
    return np.sort(np.argsort(-(errors.sum(0) + errors.sum(1)), kind="stable")[:k])


def of_pairs(counts: np.ndarray, k: int = 20) -> np.ndarray:
    """Returns the classes of the most confused pairs, `k` at most, in ascending order of class.

    Both directions of a pair count together. Among many classes those with the most errors are seldom confused with
    each other; these are.
    """
    counts = np.asarray(counts)
    both = np.triu(counts + counts.T, 1)
    found: list[int] = []
    for cell in np.argsort(-both, axis=None, kind="stable"):
        pair = divmod(int(cell), len(counts))
        more = [c for c in pair if c not in found]
        if not both[pair] or len(found) + len(more) > k:
            break
        found += more
    return np.sort(np.array(found, int))


def heat_map(counts: np.ndarray) -> str:
    """Draws a confusion matrix of many classes as a heat map of the shares of each row."""
    shares = _shares(np.asarray(counts))
    hit = np.eye(len(shares), dtype=bool)[..., None]
    colours = np.where(hit, *(matplotlib.colors.to_rgb(c) for c in (BLUE, VERMILLION)))
    with plot("confusion-map", WIDTH, WIDTH, (48, 4, 48, 4)) as p:
        p.ax.imshow(np.concatenate([colours, _opacity(shares)[..., None]], -1), interpolation="nearest")
        p.ax.set(xlabel="predicted class", ylabel="true class")
        p.ax.xaxis.tick_top()
        p.ax.xaxis.set_label_position("top")
        p.ax.grid(visible=False)
        p.ax.spines[:].set_visible(True)
    return p.svg


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def _opacity(share: np.ndarray) -> np.ndarray:
    """Returns the opacity for a share; the square root makes rare errors visible."""
    return np.sqrt(share)
