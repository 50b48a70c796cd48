"""Assessments for docs/results.md: four targets, each in a fresh process, and what their records say."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.runner import ROOT, table
from tf_transfer.machine.timing import timed

# The networks of which real ImageNet weights are in the shared data.
_CANDIDATES = "--backbones=mobilenet_v2(alpha=0.35)|mobilenet_v2"
_TITLES = {
    "assess_digits": "Assessed: digits drawn from fonts to handwritten digits (the quickstart)",
    "assess_usps": "Assessed: MNIST to USPS",
    "assess_cifar10": "Assessed: ImageNet to CIFAR-10, three networks",
    "assess_flowers": "Assessed: ImageNet to flowers, three networks",
    "assess_default": "Assessed: flowers by default, in the time it may take",
}


def digits(shared: Path, work: Path) -> dict:
    """The quickstart, whose phases hold a short assessment."""
    return _run(work / "digits", "--flagfile=flags/quickstart.flags")


def usps(shared: Path, work: Path) -> dict:
    """A small network from MNIST to the other post office's digits; MNIST's own test pictures as a shifted set."""
    return _run(
        work / "usps", "--phase=source,assess", f"--data_dir={shared / 'tfds'}", "--source_dataset=mnist",
        f"--dataset=folder(path={shared / 'usps'})", "--backbone=small_resnet", "--weights=source",
        "--epochs=source:1", "--shifted=mnist:mnist", "--assess_budget=5",
    )  # fmt: skip


def cifar10(shared: Path, work: Path) -> dict:
    """CIFAR-10 at 64 px, the three networks with real weights, all of which are trained on all labels."""
    return _run(
        work / "cifar10", "--phase=assess", f"--data_dir={shared / 'tfds'}", "--dataset=cifar10",
        "--backbone=mobilenet(alpha=0.25)", "--image_size=64", _CANDIDATES, "--assess_budget=40",
    )  # fmt: skip


def flowers(shared: Path, work: Path) -> dict:
    """Flowers at 112 px, the same networks."""
    return _run(
        work / "flowers", "--phase=assess", f"--dataset=folder(path={shared / 'flowers'})",
        "--backbone=mobilenet(alpha=0.25)", "--image_size=112", _CANDIDATES, "--assess_budget=12",
    )  # fmt: skip


def default(shared: Path, work: Path) -> dict:
    """Flowers at 96 px with the default budget."""
    source = f"--dataset=folder(path={shared / 'flowers'})"
    return _run(work / "default", "--flagfile=flags/own_folder.flags", "--phase=assess", source)


SECTIONS = {
    "assess_digits": digits,
    "assess_usps": usps,
    "assess_cifar10": cifar10,
    "assess_flowers": flowers,
    "assess_default": default,
}


def _run(folder: Path, *flags: str) -> dict:
    command = [sys.executable, "run.py", *flags, f"--run_dir={folder}"]
    (seconds,) = timed(lambda: subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr))
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    found = next(r for r in reversed(records) if r["kind"] == "assessment")
    # Paths of the machine are no results.
    del found["asked"]
    for facts in ((found["blocks"]["shift"]["corruptions"] or {}).get("kinds") or {}).values():
        del facts["cells"]
    # Curves of reliability and single estimates are for the page of the run.
    for facts in found["blocks"]["trust"].get("sets", {}).values():
        for when in ("before", "after"):
            facts.get(when, {}).pop("reliability", None)
    return {"seconds": seconds, "assessment": found}


def render(name: str, record: Mapping) -> list[str]:
    """Returns the lines of one section."""
    found = record["assessment"]
    blocks, verdict = found["blocks"], found["verdict"]
    numbers = "; ".join(f"{n} {_points(e)} points" for n, e in verdict["numbers"].items())
    return [
        f"## {_TITLES[name]}",
        "",
        f"{record['seconds']:.0f} s in all. {record['date']}, {found['device']['cores']} CPU cores, TensorFlow "
        f"{found['versions']['tensorflow']}. Intervals at 95 %, on {found['n'][found['split']]:,} {found['split']} "
        "pictures, read once, after all training.",
        "",
        f"**Verdict: {verdict['advice']}.** {verdict['rule'].capitalize()}: {numbers}.",
        "",
        *_outcome(found, blocks["outcome"]),
        "",
        *_curve(blocks["gain"]),
        *_forecast(blocks["forecast"]),
        *_distance(blocks["distance"]),
        *_shift(blocks["shift"]),
        "",
        *_surprises(found),
        *([f"- Left out: {'; '.join(o['what'] for o in found['left_out'])}."] if found["left_out"] else []),
    ]


def _points(e: Mapping) -> str:
    return f"{100 * e['value']:+.1f} ({100 * e['low']:+.1f} to {100 * e['high']:+.1f})"


def _share(e: Mapping | None) -> str:
    return f"{100 * e['value']:.1f} % ({100 * e['low']:.1f} to {100 * e['high']:.1f})" if e else "–"


def _outcome(found: Mapping, outcome: Mapping) -> list[str]:
    rows = []
    for kind, facts in outcome["kinds"].items():
        accuracy, cost = facts["accuracy"][found["split"]], facts.get("cost", {})
        seconds = f"{cost['seconds']:.0f}" if "seconds" in cost else "–"
        rows.append(
            (kind, _share(accuracy), _share(facts["accuracy"].get("validation")), f"{accuracy['seeds']}", seconds)
        )
    header = (f"{outcome['labels']:,.0f} labels a class", "test accuracy", "validation", "seeds", "seconds")
    return table(header, rows)


def _curve(gain: Mapping) -> list[str]:
    if len(gain["labels"]) < 2:
        return []
    rows = [
        (kind, *(_share(e) for e in estimates))
        for kind, estimates in gain["curves"].items()
        if any(estimates)
    ]  # fmt: skip
    rows.append(("gain of transfer over scratch", *(f"{_points(g)}, {g['kind']}" if g else "–" for g in gain["gain"])))
    return [*table(("labels a class", *(f"{x:,.0f}" for x in gain["labels"])), rows), ""]


def _forecast(forecast: Mapping) -> list[str]:
    candidates = forecast["candidates"]
    if len(candidates) < 2:
        return []
    names = list(next(iter(candidates.values()))["forecasts"])
    names = [n for n in names if all(n in c["forecasts"] for c in candidates.values())]
    rows = [
        (name, f"{c['parameters']:,}", *(f"{c['forecasts'][n]['value']:.3g}" for n in names),
         *(_plain((e or {}).get("value")) for e in (c["probe"], c["outcome"]["head"], c["outcome"]["full"])))
        for name, c in candidates.items()
    ]  # fmt: skip
    for outcome, told in (forecast.get("agreement") or {}).items():
        taus = told["tau"]
        shown = (_plain(taus.get(n), 2) for n in (*names, "probe"))
        rows.append((f"tau with the outcome of {outcome}", _plain(taus["size"], 2), *shown, "", ""))
    return [*table(("", "parameters", *names, "probe", "head", "full"), rows), ""]


def _plain(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _distance(found: Mapping) -> list[str]:
    rows = [
        (name, f"{d['proxy_a_distance']['value']:.2f} ({d['proxy_a_distance']['low']:.2f} to "
         f"{d['proxy_a_distance']['high']:.2f})", f"{d['mmd']['value']:.4f}, p {d['mmd']['p_value']:.3f}",
         f"{d['coral']['value']:.2e}", f"{d['frechet']['value']:.1f}")
        for name, d in found.get("distances", {}).items()
    ]  # fmt: skip
    if len(rows) < 2:
        return []
    return [*table(("target against", "proxy A-distance", "MMD²", "CORAL", "Fréchet"), rows), ""]


def _shift(found: Mapping) -> list[str]:
    corrupted, lines = found["corruptions"], []
    if corrupted:
        rows = [
            (k, f"{100 * c['clean']:.1f} %", _share(c["mean"]), f"{100 * c['relative_robustness']['value']:.0f} %",
             _plain((c.get("mce") or {}).get("value"), 2))
            for k, c in corrupted["kinds"].items()
        ]  # fmt: skip
        against = f"error against {corrupted['reference']}"
        header = (f"15 corruptions, 5 severities, {corrupted['n']} pictures", "clean", "corrupted", "kept", against)
        lines += [*table(header, rows), ""]
    for name, s in found["sets"].items():
        lines += [
            f"On {name} ({s['n']:,}): " + ", ".join(f"{k} {_share(e)}" for k, e in s["accuracy"].items()) + ".",
            "",
        ]
    return lines


def _surprises(found: Mapping) -> list[str]:
    """Returns what one would not have expected, as far as the records show it."""
    blocks, lines = found["blocks"], []
    pairs = {(p["a"], p["b"]): p for p in blocks["outcome"]["pairs"]}
    if pair := pairs.get(("full", "random head")):
        better = pair["difference"]["value"] > 0
        sure = "" if pair["p_holm"] < 0.05 else ", which Holm's test does not hold for real"
        lines.append(
            f"The head first {'was worth' if better else 'cost'} {abs(100 * pair['difference']['value']):.1f} points "
            f"against a random head{sure}."
        )
    if corrupted := blocks["shift"]["corruptions"]:
        kind, told = next(iter(corrupted["kinds"].items()))
        means = [
            (sum(row) / len(row), n.replace("_", " "))
            for n, row in zip(corrupted["names"], told["accuracy"], strict=True)
        ]
        (low, worst), (high, mildest) = min(means), max(means)
        lines.append(
            f"Of the corruptions {worst} costs {kind} most ({100 * low:.0f} % are left right), {mildest} least "
            f"({100 * high:.0f} %)."
        )
    trust = blocks["trust"]
    if trust.get("temperature") and "corrupted" in trust["sets"]:
        before, after = (trust["sets"]["corrupted"][when]["ece"]["value"] for when in ("before", "after"))
        lines.append(
            f"Temperature {trust['temperature']:.2f}, fitted on validation, takes the calibration error under "
            f"corruption from {before:.3f} to {after:.3f}; accuracy estimated without labels is off by "
            f"{100 * trust['estimate_error']['value']:.1f} points in the mean."
        )
    drift = blocks["drift"]
    if drift:
        least = min(drift["stages"], key=lambda s: s["cka"]["value"])
        lines.append(
            f"Features changed most in stage {least['stage']} of {len(drift['stages'])} (CKA "
            f"{least['cka']['value']:.2f})."
        )
        if between := drift.get("interpolation"):
            lines.append(f"On the line from head to full, validation chose {between['chosen']:g} of the way.")
        if kept := drift.get("retention"):
            lines.append(f"Of the source, {_points(kept['lost'])} points were forgotten under its own head.")
    for outcome, told in (blocks["forecast"].get("agreement") or {}).items():
        better = ", ".join(told["better_than_size"]) or "none"
        lines.append(f"Better than the size order for the outcome of {outcome}: {better}.")
    return [f"- {line}" for line in lines]


def sections(records: Mapping) -> Sequence[str]:
    """Returns the lines of all sections that have been run."""
    return [line for name in SECTIONS if name in records for line in (*render(name, records[name]), "")]
