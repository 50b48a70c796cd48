"""The scorecard of an assessment: its verdict and its main numbers, each with its interval."""

from collections.abc import Mapping

from tf_transfer.report.assessment_blocks import BLOCKS, TOLD
from tf_transfer.report.formats import DASH, count, decimal, decimals, p_value, percent, points, shares, signed

# What a verdict means for the one who asked, below its name.
_MEANS = {
    "fine-tune fully": "head, then the whole network",
    "train the head only": "a new head on the frozen network is as good, and cheaper",
    "collect more labels": "labels bring more than training differently",
    "do not transfer": "this network does not help on this target",
    "undecided": "the intervals do not separate",
}


def scorecard(record: Mapping) -> dict | None:
    """Returns what the page shows of an assessment; None without one.

    Args:
        record: of kind `assessment`.
    """
    if not record.get("blocks"):
        return None
    blocks = [make(record, record["blocks"]) for make in BLOCKS]
    return {
        "advice": record["verdict"]["advice"],
        "means": _MEANS.get(record["verdict"]["advice"], ""),
        "rule": record["verdict"]["rule"],
        "numbers": _numbers(record),
        "cards": _cards(record, record["blocks"]),
        "blocks": [b for b in blocks if b],
        "left_out": record.get("left_out") or [],
        "split": record["split"],
        "n": record["n"].get(record["split"]),
        "seconds": record.get("seconds"),
    }


def _numbers(record: Mapping) -> list[str]:
    told = record["verdict"]
    lines = [f"{name}: {signed(e)} points" for name, e in told["numbers"].items()]
    if told.get("labels"):
        needed, low, high = (count(told["labels"].get(k)) for k in ("value", "low", "high"))
        beyond = f"more than {count(told['labels'].get('beyond'))}"
        lines.append(
            f"half of the errors gone at about {needed} labels a class ({low} to {high if high != DASH else beyond})"
            if needed != DASH
            else f"half of the errors would be gone at {beyond} labels a class"
        )
    if told.get("examples"):
        lines.append(f"about {count(told['examples'])} test pictures would decide, if it is as measured")
    return lines


def _cards(record: Mapping, blocks: Mapping) -> list[dict]:
    kinds, split = blocks["outcome"]["kinds"], record["split"]
    best = next((k for k in ("full", "head") if k in kinds), None)
    cards = [_card(f"Accuracy, {best}", shares(kinds[best]["accuracy"][split]), TOLD[best])] if best else []
    pairs = {(p["a"], p["b"]): p for p in blocks["outcome"]["pairs"]}
    for a, b, title in (("head", "full", "Full over head"), ("full", "scratch", "Full over scratch")):
        if pair := pairs.get((a, b)) or pairs.get((b, a)):
            difference = pair["difference"] if pair["a"] == "full" else _turned(pair["difference"])
            cards.append(_card(f"{title}, points", signed(difference), f"McNemar, Holm: {p_value(pair['p_holm'])}"))
    law = (blocks["gain"] or {}).get("forecast")
    if law:
        cards.append(_card("Twice the labels, points", signed(law["doubling"]), "by the power law of the curve"))
    apart = (blocks["distance"] or {}).get("distances", {}).get("source")
    if apart:
        cards.append(
            _card("Distance to the source", decimals(apart["proxy_a_distance"], 2), "proxy A-distance, 0 to 2")
        )
    corrupted = ((blocks["shift"] or {}).get("corruptions") or {}).get("kinds", {}).get(best)
    if corrupted:
        keeps = f"keeps {percent(corrupted['relative_robustness'], 0)} of the clean accuracy"
        cards.append(_card("Under corruption", shares(corrupted["mean"]), keeps))
    trust = blocks["trust"]
    sets = (trust or {}).get("sets", {}).get(split)
    if sets:
        after = (
            f"{decimal(sets['after']['ece']['value'])} after temperature {trust['temperature']:.2f}"
            if sets.get("after")
            else ""
        )
        cards.append(_card("Calibration error", decimals(sets["before"]["ece"]), after))
    if trust and trust.get("estimate_error"):
        cards.append(
            _card(
                "Accuracy without labels",
                f"off by {points(trust['estimate_error']['value']).lstrip('+')} points",
                "mean over shifts",
            )
        )
    lost = ((blocks["drift"] or {}).get("retention") or {}).get("lost")
    if lost:
        cards.append(_card("Forgotten of the source, points", signed(lost), "under the source's own head"))
    speed = blocks.get("latency", {}).get("1")
    if speed:
        cards.append(_card("One picture", f"{1000 * speed['value']:.1f} ms", "in this process"))
    return cards


def _card(title: str, value: str, note: str = "") -> dict:
    return {"title": title, "value": value, "note": note}


def _turned(estimate: Mapping) -> dict:
    return {**estimate, "value": -estimate["value"], "low": -estimate["high"], "high": -estimate["low"]}
