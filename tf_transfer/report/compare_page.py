"""The page of a comparison: several runs on the same test examples, self-contained like a run's report."""

from collections.abc import Mapping

from tf_transfer.errors import one_line
from tf_transfer.report import control, page, plots
from tf_transfer.report.assessment_parts import table
from tf_transfer.report.formats import count, decimals, duration, p_value, percent, shares, signed
from tf_transfer.report.sections import figure


def render(found: Mapping, many: str = "examples") -> str:
    """Returns the page as HTML.

    Args:
        found: what `phases.compare` measured: `n`, `runs`, `pairs`, the `leading` metric, and `control`, a sentence on
            the blind guess or None.
        many: the word for several examples.
    """
    first, *second = control.columns(found["leading"], found["control"] is not None)
    rows = [{"model": r["name"], first: r[first]} for r in found["runs"]]
    told = ", ".join(f"{one_line(r['name'], 40)} {percent(r[first]['value'])}" for r in found["runs"])
    told = f"Bar chart of {control.named(first)}: {told}."
    drawn = figure(plots.model_comparison(rows, "runs", first), told, "Whiskers: 95 % intervals.")
    runs = [
        (f"{r['name']} ({r['model']})", *(shares(r[name]) for name in (first, *second)), decimals(r["nll"]),
         decimals(r["adaptive_ece"]), r["backbone"], r["weights"], f"{r['seed']}", count(r["trained_parameters"]),
         duration(r["seconds"]))
        for r in found["runs"]
    ]  # fmt: skip
    names = map(control.named, (first, *second))
    header = ("run", *names, "NLL", "adaptive ECE", "backbone", "weights", "seed", "trained parameters", "time")
    pairs = [
        (f"{p['a']} - {p['b']}", signed(p["difference"]), p_value(p["p_value"]), p_value(p["p_holm"]))
        for p in found["pairs"]
    ]
    context = {
        "n": found["n"],
        "many": many,
        "control": found["control"],
        "dataset": found["runs"][0]["dataset"],
        "figure": drawn,
        "tables_": [
            table("Runs", header, runs),
            table(f"Pair by pair, on the same {many}", ("", "points of accuracy", "McNemar", "Holm"), pairs),
        ],
    }
    return page.environment().get_template("compare.html").render(context)
