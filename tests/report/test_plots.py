"""What the plots draw, read back from the figures, and what their SVG is made of."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from tf_transfer.report import confusion, figure, plots, summary, tables

SVG = "{http://www.w3.org/2000/svg}"


PATH = [
    {"l2": x, "train_accuracy": 0.9 - x, "validation_accuracy": 0.8 - 2 * abs(x - 0.001)} for x in (0.01, 1e-3, 1e-4)
]


def every_plot(records):
    """Each plot of a run, by name."""
    metrics = summary.evaluations(records)["full"]["metrics"]
    names = [c["name"] for c in metrics["per_class"]]
    search = summary.latest(records, "lr_find")
    return {
        "comparison": plots.model_comparison(tables.comparison_table(records)),
        "loss": plots.learning_curve(summary.epochs(records), "loss", {"head": 4, "full": 7}),
        "accuracy": plots.learning_curve(summary.epochs(records), "accuracy", {}),
        "classes": plots.class_bars(metrics["per_class"]),
        "reliability": plots.reliability(metrics["reliability"]),
        "rates": plots.rate_search(search["rates"], search["losses"], search["suggestion"]),
        "path": plots.l2_path(PATH, 0.001),
        "matrix": confusion.matrix(metrics["confusion"], names),
        "map": confusion.heat_map(metrics["confusion"]),
    }


@pytest.fixture(scope="module")
def run_plots(full_records):
    return every_plot(full_records)


def texts(svg):
    return [t.text for t in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.fixture
def axes(monkeypatch):
    """The axes of each figure that is rendered, in order."""
    drawn = []
    original = figure.to_svg

    def keep(fig, width, height):
        drawn.append(fig.axes[0])
        return original(fig, width, height)

    monkeypatch.setattr(figure, "to_svg", keep)
    return drawn


def lines(ax):
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


def test_svgs_are_repeatable(run_plots, full_records):
    assert every_plot(full_records) == run_plots


def test_svgs_are_well_formed_and_closed(run_plots):
    ids = []
    for name, svg in run_plots.items():
        root = ET.fromstring(svg)
        assert root.tag == f"{SVG}svg", name
        ids += [e.get("id") for e in root.iter() if e.get("id")]
        addresses = re.findall(r"[a-z]+://[^\"'\s<]+", svg)
        assert addresses == ["http://www.w3.org/2000/svg"], name  # the namespace, which no one fetches
        assert all(v.startswith(("#", "data:image/png")) for v in re.findall(r'href="([^"]*)', svg))
        assert not re.search(r"\b20\d\d-\d\d-\d\d|[Mm]atplotlib v", svg)
    assert len(ids) == len(set(ids))  # all of them stand in one page


def test_svgs_follow_the_theme_of_the_page(run_plots):
    for svg in run_plots.values():
        assert "var(--ink," in svg or "var(--muted," in svg
        assert not any(stand_in in svg for stand_in in (figure.INK, figure.MUTED, figure.LINE, figure.PAPER))


def test_hostile_names_are_text(build_records, hostile_names):
    for name, svg in every_plot(build_records(hostile_names, phases=("head", "full"), n=100)).items():
        root = ET.fromstring(svg)
        assert not list(root.iter(f"{SVG}script")), name
        assert not [a for e in root.iter() for a in e.attrib if a.startswith("on")], name
        if name in ("classes", "matrix"):
            assert {"<script>…script>", "(no name)", "$\\frac{1…%s {0}"} <= set(texts(svg))


def test_comparison_bars_are_the_accuracies(full_records, axes):
    rows = tables.comparison_table(full_records)
    svg = plots.model_comparison(rows)
    values = [r["accuracy"]["value"] for r in rows]
    assert [bar.get_width() for bar in axes[0].patches] == pytest.approx(values)
    assert axes[0].get_xlim() == (0, 1)
    whiskers = [line.get_xdata() for line in axes[0].get_lines()]
    np.testing.assert_allclose(whiskers, [(r["accuracy"]["low"], r["accuracy"]["high"]) for r in rows])
    assert {"source", "head", "full", "scratch", f"{100 * values[2]:.1f}\N{NO-BREAK SPACE}%"} <= set(texts(svg))


def test_comparison_leaves_out_what_was_not_measured(axes):
    rows = [{"model": "a", "accuracy": None}, {"model": "b", "accuracy": {"value": 0.5}}]
    assert "a" not in texts(plots.model_comparison(rows))
    assert len(axes[0].patches) == 1


def epochs_of(phase, *losses):
    return [{"epoch": i, "train_loss": y, "validation_loss": y + 1} for i, y in enumerate(losses, 1)]


def test_full_follows_head_and_scratch_starts_beside_them(axes):
    epochs = {"source": epochs_of("source", 7), "scratch": epochs_of("scratch", 4, 3, 2)}
    epochs |= {"head": epochs_of("head", 0.5, 0.4), "full": epochs_of("full", 0.3, float("nan"))}
    svg = plots.learning_curve(epochs, "loss", {"head": 1})
    drawn = [line.get_xydata() for line in axes[0].get_lines()]
    np.testing.assert_allclose(drawn[0], [(1, 0.5), (2, 0.4)])
    np.testing.assert_allclose(drawn[1], [(1, 1.5), (2, 1.4)])
    np.testing.assert_allclose(drawn[2], [(1, 1.5)])  # the ring
    np.testing.assert_allclose(drawn[3], [(3, 0.3), (4, np.nan)])
    np.testing.assert_allclose(drawn[-1], [(1, 5), (2, 4), (3, 3)])
    assert {"head", "full", "training", "validation", "scratch, validation"} <= set(texts(svg))
    assert "source" not in texts(svg)


def test_scratch_alone_and_no_validation(axes):
    rows = [{"epoch": 1, "train_accuracy": 0.5, "validation_accuracy": None}]
    svg = plots.learning_curve({"scratch": rows}, "accuracy", {"scratch": 1})
    assert list(lines(axes[0])) == ["training"]
    assert "validation" not in texts(svg)


def test_matrix_writes_counts_and_colours_errors(axes):
    counts = np.array([[9, 1], [0, 5]])
    written = texts(confusion.matrix(counts, ["cat", "dog"]))
    assert sorted(t for t in written if t.isdigit()) == ["1", "5", "9"]
    assert written.count("cat") == written.count("dog") == 2
    colours = {p.get_facecolor()[:3] for p in axes[0].patches if p.get_alpha() != 0.4}
    assert colours == {to_rgba(figure.BLUE)[:3], to_rgba(figure.VERMILLION)[:3]}
    opacity = [p.get_alpha() for p in axes[0].patches if p.get_facecolor()[:3] == to_rgba(figure.VERMILLION)[:3]]
    assert opacity == pytest.approx([(1 / 10) ** 0.5])


def test_map_shows_the_share_of_each_row(axes):
    confusion.heat_map([[3, 1], [0, 0]])
    image = axes[0].images[0].get_array()
    np.testing.assert_allclose(image[..., 3], np.sqrt([[0.75, 0.25], [0, 0]]))
    np.testing.assert_allclose(image[0, :, :3], [to_rgba(figure.BLUE)[:3], to_rgba(figure.VERMILLION)[:3]])


def test_most_confused_counts_errors_both_ways():
    counts = np.diag([50, 1, 1, 1])
    counts[1, 3] = 4
    counts[2, 3] = 2
    assert confusion.most_confused(counts, 2).tolist() == [1, 3]
    assert confusion.most_confused(counts, 99).tolist() == [0, 1, 2, 3]


def test_the_classes_of_the_most_confused_pairs_are_drawn():
    # Class 0 has the most errors, but spread over many classes; 5 and 7 are taken for each other.
    counts = np.diag([50] * 10)
    counts[0, 1:] = 3
    counts[5, 7], counts[7, 5], counts[2, 4] = 4, 3, 5
    assert confusion.of_pairs(counts, 4).tolist() == [2, 4, 5, 7]
    assert confusion.of_pairs(counts, 5).tolist() == [2, 4, 5, 7]
    assert confusion.of_pairs(np.diag([3, 2]), 4).tolist() == []


def test_long_names_keep_both_ends_and_stay_apart(axes):
    names = ["quercus alba leaf in spring", "quercus alba leaf in autumn", "oak"]
    rows = [{"name": name, "f1": 0.5, "recall": 0.5, "support": 9} for name in names]
    written = texts(plots.class_bars(rows))
    assert {"quercus…spring", "quercus…autumn", "oak"} <= set(written)
    written = texts(confusion.matrix(np.eye(3, dtype=int), names))
    assert written.count("quercus…spring") == 2 and max(map(len, written)) <= 16


def test_class_bars_show_f1_recall_and_support(axes):
    rows = [
        {"name": "cat", "f1": 0.5, "recall": 0.25, "support": 1234},
        {"name": "dog", "f1": 0, "recall": 0, "support": 0},
    ]
    written = texts(plots.class_bars(rows))
    assert [bar.get_width() for bar in axes[0].patches] == [0.5, 0]
    np.testing.assert_allclose(lines(axes[0])["recall"], [(0.25, 0), (0, 1)])
    assert {"cat", "dog", "1,234", "0"} <= set(written)
    assert axes[0].get_ylim()[0] > axes[0].get_ylim()[1]  # the first row is on top


def test_reliability_bars_end_at_accuracy_and_confidence(axes):
    bins = {
        "edges": [0, 0.5, 0.75, 1],
        "count": [0, 30, 10],
        "confidence": [None, 0.6, 0.9],
        "accuracy": [None, 0.7, 0.8],
    }
    plots.reliability(bins)
    accuracy, sure, modest = axes[0].containers[0], axes[0].containers[1], axes[0].containers[2]
    assert [bar.get_height() for bar in accuracy] == pytest.approx([0.6, 0.8])
    assert [bar.get_height() for bar in sure] == pytest.approx([0, 0.1])
    assert [bar.get_height() for bar in modest] == pytest.approx([0.1, 0])
    assert [bar.get_x() for bar in accuracy] == [0.5, 0.75]
    shares = axes[0].child_axes[0].patches
    assert [bar.get_height() for bar in shares] == pytest.approx([0.75, 0.25])


def test_rate_search_marks_its_suggestion_and_skips_what_diverged(axes):
    svg = plots.rate_search([0.001, 0.01, 0.1], [2.0, 1.0, float("nan")], 0.0123)
    curve, mark = axes[0].get_lines()
    np.testing.assert_allclose(curve.get_xydata(), [(0.001, 2), (0.01, 1)])
    assert mark.get_xdata()[0] == 0.0123
    assert axes[0].get_xscale() == "log"
    assert "0.012" in texts(svg)
    assert "0.012" not in texts(plots.rate_search([0.001, 0.01], [2.0, 1.0], None))


def test_the_path_goes_from_strong_to_weak_and_rings_what_was_kept(axes):
    svg = plots.l2_path(PATH, 0.001)
    training, _, validation, ring = axes[0].lines
    np.testing.assert_allclose(training.get_ydata(), [r["train_accuracy"] for r in PATH])
    np.testing.assert_allclose(validation.get_ydata(), [r["validation_accuracy"] for r in PATH])
    assert ring.get_xydata().tolist() == [[0.001, 0.8]]
    assert axes[0].get_xscale() == "log" and axes[0].get_xlim()[0] > axes[0].get_xlim()[1]
    assert {"training", "validation"} <= set(texts(svg))
    # One strength, of zero, without validation.
    plots.l2_path([{"l2": 0.0, "train_accuracy": 1.0}], 0.0)
