"""The look of every plot: a matplotlib figure as an SVG that takes its colours and type from the page."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

# Wide enough for a column of a wide screen, legible where a phone scales it down.
WIDTH = 420

# Okabe and Ito's palette, distinguishable under every common colour blindness.
BLUE, SKY, ORANGE, VERMILLION = "#0072b2", "#56b4e9", "#e69f00", "#d55e00"
GREEN, PURPLE, GREY = "#009e73", "#cc79a7", "#8a929c"

DASHES = (0, (4, 2))

# Placeholder colours, replaced by CSS variables of the page, so that a plot follows its light and dark theme.
INK, MUTED, LINE, PAPER = "#010101", "#020202", "#030303", "#040404"
_THEME = {
    INK: "var(--ink, #16191d)",
    MUTED: "var(--muted, #59626d)",
    LINE: "var(--line, #dde1e6)",
    PAPER: "var(--paper, #ffffff)",
    # The only colour of the palette that needs a lighter variant on a dark background.
    BLUE: f"var(--blue, {BLUE})",
}

_STYLE = {
    # Text stays text, drawn in the reader's fonts, which have the letters of any class name.
    # The layout is measured in DejaVu Sans, which is wider than the usual ones.
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 1,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "lines.linewidth": 2,
    "lines.markersize": 5,
}


class Plot:
    """One axes of a given size on a transparent background; `svg` is set when the `plot` block ends."""

    def __init__(self, ax: Axes):
        self.ax = ax
        self.svg = ""


@contextmanager
def plot(name: str, width: float, height: float, margins: tuple[float, float, float, float]) -> Iterator[Plot]:
    """Opens a plot, to be drawn on in a `with` block, and renders it at the end of the block.

    Args:
        name: unique among the plots of a page, as ids in the SVG are derived from it.
        width: of the whole picture, in CSS pixels; so are all sizes of type and lines.
        height: the same.
        margins: px to the left, right, top and bottom of the axes.
    """
    left, right, top, bottom = margins
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
        drawn = Plot(figure.add_axes(box))
        yield drawn
        drawn.svg = to_svg(figure, width, height)


def to_svg(figure: Figure, width: float, height: float) -> str:
    """Renders an SVG without times, machine facts or links to other places."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the reader's fonts have it
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r"<svg[^>]*>", _opening_tag(width, height), svg, count=1)
    svg = re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", svg).replace("xlink:href", "href")
    # Not the full stack of fonts at every label; the `href` above is SVG 2, which all browsers read.
    svg = re.sub(r" ?font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    for stand_in, variable in _THEME.items():
        svg = svg.replace(stand_in, variable)
    return svg.strip()


def _opening_tag(width: float, height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" '
        # As wide as its container, within limits; in a narrower one the box scrolls, and the text does not shrink.
        f'style="width: 100%; height: auto; min-width: {0.7 * width:g}px; max-width: {1.3 * width:g}px; '
        'font-family: var(--font, system-ui, sans-serif); stroke-linejoin: round; stroke-linecap: butt">'
    )


def percent_axis(axis: Axis) -> None:
    """Labels the ticks of an axis of shares in per cent."""
    axis.set_major_formatter(PercentFormatter(1, symbol="\N{NO-BREAK SPACE}%"))


def legend(ax: Axes, reverse: bool = False, columns: int = 3, left: float = -0.03) -> None:
    """Puts the legend above the axes, from `left` in widths of the axes, in one line or in `columns` columns."""
    handles, labels = ax.get_legend_handles_labels()
    step = -1 if reverse else 1
    above = {"loc": "lower left", "bbox_to_anchor": (left, 1.0), "borderaxespad": 0.2}
    ax.legend(handles[::step], labels[::step], ncols=columns, columnspacing=1.4, handlelength=1.5, **above)


def note(ax: Axes, text: str, at: tuple[float, float], shift: tuple[float, float], coords=None, **style) -> None:
    """Writes a note `shift` pixels away from `at`, by default in fractions of the axes."""
    style = {"color": MUTED} | style
    ax.annotate(text, at, shift, xycoords=coords or "axes fraction", textcoords="offset points", **style)
