"""The scorecard of an assessment: its verdict and its main numbers, each with its interval."""

from collections.abc import Mapping

from tf_transfer.phases.catalogue import SOURCE
from tf_transfer.report.assessment_blocks import BLOCKS, TOLD
from tf_transfer.report.assessment_parts import pretrained
from tf_transfer.report.formats import DASH, count, decimals, p_value, percent, points, shares, signed

# Explanation below the name of each verdict.
_MEANS = {
    "fine-tune fully": "head, then the whole network",
    "train the head only": "a new head on the frozen network is as good, and cheaper",
    "collect more labels": "labels bring more than training differently",
    "do not transfer": "this network does not help on this target",
    "undecided": "the intervals do not separate",
}


def scorecard(record: Mapping, one: str = "example", many: str = "examples") -> dict | None:
    """Returns the content of an assessment's part of the page; None without an assessment.

    Args:
        record: the record of kind `assessment`.
        one: the word for an example.
        many: the word for several.
    """
    if not record.get("blocks"):
        return None
    record = {**record, "one": one, "many": many}
    blocks = [make(record, record["blocks"]) for make in BLOCKS]
    return {
        "advice": record["verdict"]["advice"],
        "means": _MEANS.get(record["verdict"]["advice"], "") if pretrained(record) else "these weights are random",
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
    outcome = record["blocks"]["outcome"]
    if not outcome.get("all", True):
        lines.append(f"on {count(outcome['labels'])} labels a class, not all there are: there was no time for more")
    if outcome["scale"] < 1:
        lines.append(f"trained for {outcome['scale']:g} of the epochs of a full run, which costs scratch most")
    if told.get("labels"):
        needed, low, high = (count(told["labels"].get(k)) for k in ("value", "low", "high"))
        beyond = f"more than {count(told['labels'].get('beyond'))}"
        lines.append(
            f"half of the errors gone at about {needed} labels a class ({low} to {high if high != DASH else beyond})"
            if needed != DASH
            else f"half of the errors would be gone at {beyond} labels a class"
        )
    if told.get("examples"):
        lines.append(f"about {count(told['examples'])} test {record['many']} would decide, if it is as measured")
    return lines


def _cards(record: Mapping, blocks: Mapping) -> list[dict]:
    outcome, split, best = blocks["outcome"], record["split"], (blocks["gain"] or {}).get("kind")
    cards = []
    if best in outcome["kinds"]:
        cards.append(_card(f"Accuracy, {best}", shares(outcome["kinds"][best]["accuracy"][split]), TOLD[best]))
    pairs = {frozenset((p["a"], p["b"])): p for p in outcome["pairs"]}
    for name, difference in outcome.get("differences", {}).items():
        full, _, other = name.partition(" - ")
        tested = pairs[frozenset((full, other))]["p_holm"]
        cards.append(
            _card(f"{full.capitalize()} over {other}, points", signed(difference), f"McNemar, Holm: {p_value(tested)}")
        )
    law = (blocks["gain"] or {}).get("forecast")
    if law:
        cards.append(_card("Twice the labels, points", signed(law["doubling"]), "by the power law of the curve"))
    apart = (blocks["distance"] or {}).get("distances", {}).get(SOURCE)
    if apart:
        told = "proxy A-distance, 0 to 2"
        cards.append(_card("Distance to the source", decimals(apart["proxy_a_distance"], 2), told))
    cards += _shifted(blocks, best) + _trusted(blocks["trust"], split)
    lost = ((blocks["drift"] or {}).get("retention") or {}).get("lost")
    if lost:
        cards.append(_card("Forgotten of the source, points", signed(lost), "under the source's own head"))
    speed = blocks.get("latency", {}).get("1")
    if speed:
        time = f"{1000 * speed['value']:.1f} ms ({1000 * speed['low']:.1f} to {1000 * speed['high']:.1f})"
        cards.append(_card(f"One {record['one']}", time, "median and quartiles, in this process"))
    return cards


def _shifted(blocks: Mapping, best: str | None) -> list[dict]:
    found = ((blocks["shift"] or {}).get("corruptions") or {}).get("kinds", {}).get(best)
    if not found:
        return []
    kept = found["relative_robustness"]
    ends = " to ".join(percent(kept[end], 0) for end in ("low", "high"))
    keeps = f"keeps {percent(kept['value'], 0)} ({ends}) of the clean accuracy"
    return [_card("Under corruption", shares(found["mean"]), keeps)]


def _trusted(trust: Mapping | None, split: str) -> list[dict]:
    sets, cards = (trust or {}).get("sets", {}).get(split), []
    if sets:
        after = ""
        if sets.get("after"):
            after = f"{decimals(sets['after']['ece'])} after temperature {trust['temperature']:.2f}"
        cards.append(_card("Calibration error", decimals(sets["before"]["ece"]), after))
    if trust and trust.get("estimate_error"):
        error = trust["estimate_error"]
        off, low, high = (points(error[end]).lstrip("+") for end in ("value", "low", "high"))
        told = f"mean over {count(error['n'])} shifts"
        cards.append(_card("Accuracy without labels, off by, points", f"{off} ({low} to {high})", told))
    return cards


def _card(title: str, value: str, note: str = "") -> dict:
    return {"title": title, "value": value, "note": note}
