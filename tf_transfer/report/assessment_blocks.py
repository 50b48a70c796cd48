"""The blocks of an assessment on the page: each a sentence, figures and tables of one kind of evidence."""

from collections.abc import Mapping, Sequence

from tf_transfer.errors import one_line
from tf_transfer.phases.catalogue import FULL, HEAD, SCRATCH
from tf_transfer.report import assessment_plots as plots
from tf_transfer.report.assessment_parts import block, pretrained, table
from tf_transfer.report.assessment_robustness import drift, shift, trust
from tf_transfer.report.formats import (
    DASH,
    byte_size,
    count,
    decimal,
    decimals,
    duration,
    estimate,
    p_value,
    percent,
    shares,
    signed,
    significant,
    significants,
)
from tf_transfer.report.plots import model_comparison
from tf_transfer.report.sections import figure

TOLD = {
    "blind guess": "always the most frequent class",
    HEAD: "a new head on the frozen backbone",
    FULL: "the head, then the whole network",
    "random head": "the whole network at once, under a random head",
    SCRATCH: "the same network from random weights",
}
_FORECASTS = {
    "knn": "kNN, leave one out",
    "logme": "LogME",
    "h_score": "H-score",
    "gbc": "GBC",
    "transrate": "TransRate",
    "leep": "LEEP",
    "nce": "NCE",
    "probe": "linear probe",
    "size": "number of parameters (control)",
}


def _outcome(record: Mapping, blocks: Mapping) -> dict:
    found, split = blocks["outcome"], record["split"]
    rows = [{"model": k, "accuracy": f["accuracy"].get(split)} for k, f in found["kinds"].items()]
    told = ", ".join(f"{r['model']} {percent((r['accuracy'] or {}).get('value'))}" for r in rows)
    costs = [
        (
            f"{kind} ({TOLD.get(kind, '')})",
            shares(f["accuracy"].get(split)),
            shares(f["accuracy"].get("validation")),
            f"{f['accuracy'][split]['seeds']}",
            _worst(f["worst_class"]) if "worst_class" in f else DASH,
            decimal(f.get("cost", {}).get("epochs"), 1),
            duration(f.get("cost", {}).get("seconds")),
            byte_size(f.get("cost", {}).get("peak_bytes")),
            count(f.get("cost", {}).get("trained_parameters")),
        )
        for kind, f in found["kinds"].items()
    ]
    header = (
        "",
        f"{split} accuracy",
        "validation",
        "seeds",
        "worst class",
        "epochs",
        "time",
        "peak memory",
        "trained parameters",
    )
    pairs = [
        (f"{p['a']} - {p['b']}", signed(p["difference"]), p_value(p["p_value"]), p_value(p["p_holm"]))
        for p in found["pairs"]
    ]
    shorter = "" if found["scale"] == 1 else f" Epochs are {found['scale']:g} times those of a full run, for all kinds."
    epochs = {f["cost"]["epochs"] for f in found["kinds"].values() if f.get("cost", {}).get("epochs")}
    same = " and for as many epochs" if len(epochs) == 1 else ""
    lead = (
        f"Every kind of training on the same {count(found['labels'])} labels a class{same}, beside the blind guess. "
        f"The {count(record['n'].get(split))} {split} {record['many']} chose nothing.{shorter}"
        if split == "test"
        else f"There is no test split: validation {record['many']}, which chose epochs and L2, tell the outcome."
    )
    drawn = figure(model_comparison(rows, "outcome"), f"Bar chart of accuracy: {told}.", "Whiskers are 95 % intervals.")
    return block(
        "outcome", "What it reaches", lead, [drawn],
        [table("Accuracy and cost", header, costs),
         table("Pair by pair, one training of each", ("", "points", "McNemar", "Holm"), pairs), _classes(found),
         *_latency(record, blocks)],
    )  # fmt: skip


def _worst(found: Mapping) -> str:
    return f"{one_line(found['name'], 30)} {shares(found)}"


def _latency(record: Mapping, blocks: Mapping) -> list[dict]:
    """Returns a table of latencies, one row a batch size, with quartiles."""
    rows = [
        (size, f"{1000 * t['value']:.1f} ms ({1000 * t['low']:.1f} to {1000 * t['high']:.1f})", count(t["n"]))
        for size, t in blocks["latency"].items()
    ]
    caption = "Latency of the model that validation prefers, in this process: median and quartiles"
    return [table(caption, (record["many"], "time", "calls"), rows)] if rows else []


def _classes(found: Mapping) -> dict:
    kinds = [k for k, f in found["kinds"].items() if "per_class" in f]
    rows = [
        (name, *(shares(found["kinds"][k]["per_class"][i]) for k in kinds))
        for i, name in enumerate(found["class_names"])
    ]
    return table("Accuracy by class, one training of each", ("class", *kinds), rows)


def _gain(record: Mapping, blocks: Mapping) -> dict | None:
    found = blocks["gain"]
    kinds = {k: e for k, e in found["curves"].items() if any(e)}
    if len(found["labels"]) < 2:
        return None
    drawn = figure(
        plots.label_budget(found["labels"], kinds),
        f"Line chart of accuracy over labels a class for {', '.join(kinds)}.",
        f"On {count(record['n'].get(found['split']))} {found['split']} {record['many']}. "
        f"Each budget holds its own validation. Whiskers are 95 % intervals over {record['many']} and seeds.",
    )
    rows = [
        (count(x), *(shares(kinds[k][i]) for k in kinds), f"{signed(g)} {g['kind']}" if g else DASH)
        for i, (x, g) in enumerate(zip(found["labels"], found["gain"], strict=True))
    ]
    needed = [(n["goal"], *(_budget(n.get(k)) for k in kinds)) for n in found["needed"]]
    negative = [count(x) for x, g in zip(found["labels"], found["gain"], strict=True) if g and g["negative"]]
    law = found["forecast"]
    lead = "How accuracy grows with labels." + _unless_pretrained(record, "the gain over scratch is none of transfer")
    if law:
        lead += f" Twice as many would bring {signed(law['doubling'])} points, by a power law through the last three."
    if negative:
        lead += f" Negative transfer at {', '.join(negative)} labels a class: scratch is better."
    tables = [
        table("Accuracy by labels a class", ("labels", *kinds, "gain over scratch, points"), rows),
        table("Labels a class needed, between budgets measured", ("to reach", *kinds), needed),
    ]
    return block("gain", "What labels bring", lead, [drawn], tables)


def _budget(needed: Mapping | None) -> str:
    """Returns the number of labels needed with its interval, whose upper end may be unknown."""
    if not needed or needed["value"] is None:
        return DASH
    return f"{count(needed['value'])} ({count(needed['low'])} to {count(needed['high'])})"


def _forecast(record: Mapping, blocks: Mapping) -> dict:
    found = blocks["forecast"]
    candidates = found["candidates"]
    names = list(dict.fromkeys(n for c in candidates.values() for n in c["forecasts"]))
    rows = [
        (name, *(decimals(c["forecasts"].get(f)) for f in names), shares(c["probe"]), count(c["parameters"]),
         shares(c["outcome"][HEAD]), shares(c["outcome"][FULL]))
        for name, c in candidates.items()
    ]  # fmt: skip
    header = ("", *(_FORECASTS[n] for n in names), "probe, validation", "parameters", "outcome: head", FULL)
    tables = [table("Forecasts and outcomes", header, rows)]
    figures = []
    lead = f"Scores of {count(found['n'])} training {record['many']}, before any training; "
    lead += "they rank networks on one target."
    for outcome, told in (found.get("agreement") or {}).items():
        known = told.get("intervals", {})
        taus = [(_FORECASTS.get(n, n), _tau(tau, known.get(n))) for n, tau in told["tau"].items()]
        caption = (
            f"Weighted tau with the outcome of {outcome}, {count(told.get('n'))} {record['split']} {record['many']}"
        )
        tables.append(table(caption, ("forecast", "tau"), taus))
        size, knn = (
            ", ".join(_FORECASTS.get(n, n) for n in told[f"better_than_{c}"]) or "none" for c in ("size", "knn")
        )
        lead += f" For the outcome of {outcome}, better than the size order: {size}; better than kNN: {knn}."
    if found.get("ranks"):
        drawn = plots.ranks(found["ranks"])
        told = f"Intervals over halves of the {record['many']}."
        figures = [figure(drawn, "Dot plot of the candidates' ranks by forecast.", told)]
        rows = [
            (f"{_FORECASTS.get(n, n)}: {c}", f"{r['median']:g} ({r['low']:g} to {r['high']:g})", percent(r["first"], 0))
            for n, ranked in found["ranks"].items()
            for c, r in ranked.items()
        ]
        tables.append(table("Ranks", ("forecast: network", "rank", "first in"), rows))
    lead += _unless_pretrained(record, "these are scores of random features")
    if len(candidates) == 1:
        lead += " Alone, one network's scores say little: give others with --backbones."
    return block("forecast", "What was to be expected", lead, figures, tables)


def _tau(tau: float | None, interval: Sequence[float] | None) -> str:
    return decimals(estimate(tau, interval), 2) if interval else decimal(tau, 2)


def _unless_pretrained(record: Mapping, then: str) -> str:
    return "" if pretrained(record) else f" Nothing was pretrained, the weights are random: {then}."


def _distance(record: Mapping, blocks: Mapping) -> dict | None:
    found = blocks["distance"]
    if not found:
        return None
    rows = [
        (name, decimals(d["proxy_a_distance"], 2),
         f"{d['mmd']['value']:.2e} (one domain: {d['mmd']['null_low']:.1e} to {d['mmd']['null_high']:.1e})",
         p_value(d["mmd"]["p_value"]), significants(d["coral"]), significants(d["frechet"]),
         _floor(d.get("frechet_floor")))
        for name, d in found["distances"].items()
    ]  # fmt: skip
    header = ("target against", "proxy A", "MMD²", "one domain", "CORAL", "Fréchet", "source against itself")
    told = ", ".join(f"{n} {d['proxy_a_distance']['value']:.2f}" for n, d in found["distances"].items())
    drawn = figure(
        plots.distances(found["distances"]),
        f"Proxy A-distances: {told}.",
        "0: a classifier cannot tell the two apart; 2: always. The grey square is the control, within the target.",
    )
    lead = (
        f"How far apart {count(found['n'])} training {record['many']} of each lie in the pretrained network's features."
    )
    lead += _unless_pretrained(record, "these are random features")
    return block("distance", "How far the domains are apart", lead, [drawn], [table("Distances", header, rows)])


def _floor(found: Mapping | None) -> str:
    """Returns the mean and the largest distance between parts of the source itself."""
    return f"{significant(found['value'])} (at most {significant(found['largest'])})" if found else DASH


# In the order of the page.
BLOCKS = (_outcome, _gain, _forecast, _distance, shift, trust, drift)
