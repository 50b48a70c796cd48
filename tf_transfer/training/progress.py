"""Where a fit is, which epoch it keeps, and when it validates."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tf_transfer.evaluation.classification import standard_error
from tf_transfer.training.method import Score


@dataclass
class FitResult:
    """The outcome of a fit: epochs run, the epoch that was kept, the measures of its score, steps and seconds."""

    epochs: int = 0
    best_epoch: int = 0
    best: dict = field(default_factory=dict)
    stopped_early: bool = False
    steps: int = 0
    seconds: float = 0.0


@dataclass
class Progress:
    """The state of a fit without its arrays: plain numbers, which JSON keeps exactly.

    Attributes:
        losses, measures, epoch_seconds: of the current epoch; measures by name.
        kept: value and loss of the score of the kept epoch; empty without one.
        top, top_error: the best value so far, and its standard error.
        scale: factor on the rate, after rollbacks.
    """

    result: dict = field(default_factory=lambda: dataclasses.asdict(FitResult()))
    losses: list = field(default_factory=list)
    measures: dict = field(default_factory=dict)
    epoch_seconds: float = 0.0
    first_loss: float | None = None
    kept: dict = field(default_factory=dict)
    top: float = -math.inf
    top_error: float = 0.0
    scale: float = 1.0
    rollbacks: int = 0

    @classmethod
    def of(cls, facts: Mapping) -> "Progress":
        """Reads the facts of a checkpoint, also of version 0.1.0, whose only measure was the accuracy."""
        facts = dict(facts)
        if "hits" in facts:
            best, top = facts["result"]["best"], facts["top"]
            facts["measures"] = {"accuracy": facts.pop("hits")}
            facts["kept"] = {"value": best["accuracy"], "loss": best["loss"]} if best else {}
            facts["top_error"] = standard_error(top, best["examples"]) if best else 0.0
        return cls(**facts)


def epoch_ends(epochs: float, steps: Callable[[float], int], most: int = 20) -> dict[int, int]:
    """Maps the epochs after which to validate to their last step; of many short epochs, every k-th and the last."""
    last = max(1, math.ceil(epochs))
    stride = math.ceil(last / most)
    epoch_at = {steps(min(e, epochs)): e for e in range(1, last + 1) if e % stride == 0 or e == last}
    # Keyed by step: several epochs of less than a batch may end at the same step, and the last of them counts.
    return {epoch: step for step, epoch in epoch_at.items()}


def to_be_kept(score: Score | None, kept: Mapping, least: float) -> bool:
    """Says whether this epoch replaces the kept one; without a score every epoch does.

    It does where its value is within one standard error of the best value so far and its loss is lower, or where
    the kept epoch is no longer within (after the one-standard-error rule; Breiman et al., Classification and
    Regression Trees, 1984, 3.4.3): on twenty examples the highest accuracy alone is luck. Only one epoch is kept at a
    time, so an epoch that was not kept cannot be chosen later.

    Args:
        score: of this epoch, or None.
        kept: `value` and `loss` of the epoch kept so far, or nothing.
        least: the best value so far, this epoch's included, less its standard error.
    """
    if score is None or not kept:
        return True
    return kept["value"] < least or (score.value >= least and score.loss < kept["loss"])


def challenges(one: Progress, other: Progress) -> bool:
    """Says whether the epoch that `one` keeps is better than that of `other`, by the rule of `to_be_kept`.

    Args:
        one: where a training is that has kept an epoch.
        other: where another one is, on the same validation examples.
    """
    first = max((other, one), key=lambda at: at.top)
    score = Score(one.kept["value"], one.top_error, one.kept["loss"])
    return to_be_kept(score, other.kept, first.top - first.top_error)
