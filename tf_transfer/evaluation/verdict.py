"""The advice: what to do with a pretrained network and the labels at hand, by rules that are written down.

The first rule that fires gives the advice. Rules compare intervals; where those overlap the verdict is "undecided".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tf_transfer.phases import catalogue

# Smallest gain in accuracy worth its cost: below it the cheaper way is as good.
MARGIN = 0.01
# Smallest gain of twice the labels for "collect more labels".
WORTH_LABELLING = 0.02

FINE_TUNE_FULLY, TRAIN_HEAD_ONLY, LABELS, NOTHING, UNDECIDED = (
    "fine-tune fully",
    "train the head only",
    "collect more labels",
    "do not transfer",
    "undecided",
)


@dataclass(frozen=True)
class Verdict:
    """What to do, and why.

    Attributes:
        advice: one of the five.
        rule: the rule that fired, in words.
        numbers: its estimates by name, each with `value`, `low` and `high`.
        examples: for "undecided": test examples that would decide, if the difference is as measured.
        labels: for "collect more labels": labels a class at which half of the errors would be gone, with its interval.
    """

    advice: str
    rule: str
    numbers: Mapping[str, Mapping] = field(default_factory=dict)
    labels: Mapping | None = None
    examples: int | None = None


def decide(
    estimates: Mapping[str, Mapping],
    preferred: str | None = None,
    budget: Mapping | None = None,
    pretrained: bool = True,
) -> Verdict:
    """Applies the rules, in their order.

    0. Do not transfer: nothing was pretrained, so there is nothing to transfer.
    1. Do not transfer: the network from scratch is more accurate than the transferred one, or that brings less than
       `MARGIN` over the blind guess that always names the most frequent class. Undecided where it may bring nothing.
    2. Collect more labels: twice the labels would bring `WORTH_LABELLING` at the least, and at the least more than
       fine-tuning fully brings over the head at the most. With one training a budget the effect of another choice of
       labels is unknown, and the rule does not apply.
    3. Train the head only: fine-tuning fully gains less than `MARGIN` at the most.
    4. Fine-tune fully: it gains something at the least, and validation prefers it, too.
    5. Undecided.

    Args:
        estimates: differences of accuracy with `low` and `high`, on examples that chose nothing: `full - head`; and
            where they were measured `best - scratch` and `best - blind`, best being what validation prefers.
        preferred: `head` or `full`, whichever validates better; None without validation.
        budget: of `curve.label_budget`, or None.
        pretrained: whether the network was; False where its weights are random.
    """
    if not pretrained:
        return Verdict(NOTHING, "nothing was pretrained, the weights are random: there is nothing to transfer")
    gain, scratch, blind = (estimates.get(name) for name in ("full - head", "best - scratch", "best - blind"))
    if scratch and scratch["high"] < 0:
        rule = "the network from scratch, on the same labels, is more accurate"
        return Verdict(NOTHING, rule, {"best - scratch": scratch})
    if blind and blind["high"] < MARGIN:
        rule = f"the transferred network brings less than {MARGIN:.0%} over always naming the most frequent class"
        return Verdict(NOTHING, rule, {"best - blind": blind})
    if blind and blind["low"] <= 0:
        rule = "whether the transferred network brings anything over always naming the most frequent class is open"
        return Verdict(UNDECIDED, rule, {"best - blind": blind}, examples=examples_to_decide(blind))
    doubling = (budget or {}).get("doubling")
    if doubling and budget["seeds"] > 1 and doubling["low"] >= max(WORTH_LABELLING, gain["high"]):
        rule = f"twice the labels would bring {WORTH_LABELLING:.0%} at the least, and more than full fine-tuning brings"
        return Verdict(LABELS, rule, {"twice the labels": doubling, "full - head": gain}, budget["halving"])
    if gain["high"] < MARGIN:
        rule = f"fine-tuning fully gains less than {MARGIN:.0%} over the head"
        return Verdict(TRAIN_HEAD_ONLY, rule, {"full - head": gain})
    if gain["low"] > 0 and preferred in (catalogue.FULL, None):
        rule = "fine-tuning fully is more accurate than the head alone"
        return Verdict(FINE_TUNE_FULLY, rule, {"full - head": gain})
    if gain["low"] > 0:
        rule = "on the test examples fine-tuning fully is more accurate, but validation prefers the head"
        return Verdict(UNDECIDED, rule, {"full - head": gain})
    rule = "the interval of what fine-tuning fully gains over the head holds both nothing and something"
    return Verdict(UNDECIDED, rule, {"full - head": gain}, examples=examples_to_decide(gain))


def examples_to_decide(difference: Mapping) -> int | None:
    """Number of test examples that would separate a difference from 0 at 95 %, if its true value is the measured one.

    Args:
        difference: of `comparison.accuracy_difference`.

    Returns:
        None where the difference is 0, which no number separates, and where the interval covers several seeds, whose
        spread more examples do not narrow.
    """
    half = (difference["high"] - difference["low"]) / 2
    if not difference["value"] or not half or difference.get("seeds", 1) > 1:
        return None
    needed = int(-(-difference["n"] * (half / abs(difference["value"])) ** 2 // 1))
    # The interval is not quite symmetric: at its edge the formula may ask for no more than are there.
    return needed if needed > difference["n"] else None
