"""Chooses the trainings of an assessment by their cost and the time: pure arithmetic, no model and no data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tf_transfer.phases.catalogue import FULL, SCRATCH

# Labels a class at the points of the curve; its last point takes all labels.
BUDGETS = (1, 5, 20, 100, 500)
# Factors on the epochs, tried in this order before trainings are dropped.
SCALES = (1.0, 0.7, 0.5, 0.35, 0.25)
# Largest number of points on the curve; the largest budgets stay.
_POINTS = 5
# Seeds of every training, where the time allows them.
_SEEDS = 3
# What follows the trainings keeps at most this share of the budget; in it, seconds for the forecasts and the drift of
# each network, and for the distances to each other set.
_RESERVED, _EACH_NETWORK, _EACH_SET = 0.4, 25.0, 25.0
# Seconds of a training: its network's start times the first factor, and its steps' seconds times the second.
_STARTS, _BESIDE = 3.0, 1.15
# Kinds that train the whole network: the answer, then its two controls.
WHOLE = (FULL, SCRATCH, "random head")


@dataclass(frozen=True, order=True)
class Trial:
    """One training: its kind, labels, seed and network.

    Attributes:
        kind: `head` (a new head on the frozen network), `full` (that, then the whole network), `random head` (the
            whole network at once, under a random head) or `scratch` (from random weights).
        labels: labels a class; None for all.
        seed: seed of the choice of labels, the head, the order and the augmentation.
        backbone: spec of another candidate; None for the run's.
    """

    kind: str
    labels: int | None = None
    seed: int = 0
    backbone: str | None = None

    def __str__(self) -> str:
        labels = "all labels" if self.labels is None else f"{self.labels} a class"
        return f"{self.kind}, {labels}, seed {self.seed}" + (f", {self.backbone}" if self.backbone else "")


@dataclass(frozen=True)
class Choice:
    """The trainings that fit, their length, and those that do not fit.

    Attributes:
        trials: those that fit, in the order in which they run.
        scale: factor on the epochs of all of them.
        dropped: those that do not fit, with the seconds each would take.
    """

    trials: tuple[Trial, ...]
    scale: float
    dropped: tuple[tuple[Trial, float], ...] = ()


def budgets(per_class: Sequence[int]) -> list[int | None]:
    """Returns the label budgets of the curve, ascending, None last for all labels.

    Args:
        per_class: training examples of each class that has any.
    """
    below = [k for k in BUDGETS if k <= 0.7 * min(per_class)]
    return [*below[-(_POINTS - 1) :], None]


def wanted(points: Sequence[int | None], seed: int, backbones: Sequence[str]) -> list[Trial]:
    """Lists the trainings of whole networks for an assessment with time to spare, in order of their importance.

    All kinds on the most labels come first, then the other candidates, then the curve from its largest budget down,
    then more seeds.
    """
    first = [Trial(kind, points[-1], seed) for kind in WHOLE]
    curve = [Trial(kind, k, seed) for k in reversed(points[:-1]) for kind in (FULL, SCRATCH)]
    others = [Trial(FULL, points[-1], seed, backbone) for backbone in backbones]
    more = [
        Trial(kind, k, seed + s)
        for s in range(1, _SEEDS)
        for k in reversed(points)
        for kind in (WHOLE if k == points[-1] else WHOLE[:2])
    ]
    return [*first, *others, *curve, *more]


def choose(trials: Sequence[Trial], seconds: float, cost: Callable[[Trial, float], float], fixed: bool) -> Choice:
    """Chooses the trainings that fit, shortened to a quarter of their epochs before one of the first seed is dropped.

    Args:
        trials: as `wanted` lists them.
        seconds: time for all of them.
        cost: seconds of a training at a scale of its epochs; 0 for a finished one.
        fixed: some are finished at full length, and the others must have the same length.
    """
    essential = [t for t in trials if t.seed == trials[0].seed]
    scales = SCALES[:1] if fixed else SCALES
    scale = next((s for s in scales if sum(cost(t, s) for t in essential) <= seconds), scales[-1])
    kept, dropped = [], []
    for trial in trials:
        needed = cost(trial, scale)
        if needed <= seconds:
            kept.append(trial)
            seconds -= needed
        else:
            dropped.append((trial, needed))
    return Choice(tuple(kept), scale, tuple(dropped))


def fit(
    points: Sequence[int | None],
    seed: int,
    backbones: Sequence[str],
    seconds: float,
    cost: Callable[[Trial, float], float],
    made: Callable[[Trial], bool] = lambda trial: False,
) -> tuple[list[int | None], Choice, list[tuple[Trial, float]]]:
    """Chooses the trainings on the largest label budget on which full and its control, scratch, fit.

    Where both fit on no budget, it is the largest on which full fits alone.

    Args:
        points: label budgets, ascending.
        seed: seed of the run.
        backbones: other candidates.
        seconds: time for all of them.
        cost: see `choose`.
        made: whether a phase of the run is this training, at full length.

    Returns:
        The budgets that are left, the choice, and the trainings that did not fit on larger budgets, with their seconds.
    """
    # A finished training costs nothing.
    alone = cost(Trial(WHOLE[0], points[-1], seed), 1.0) == 0
    for needed in (1,) if alone else (2, 1):
        missed: list[tuple[Trial, float]] = []
        for last in range(len(points), 0, -1):
            trials = wanted(points[:last], seed, backbones)
            chosen = choose(trials, seconds, cost, any(made(t) for t in trials[: len(WHOLE)]))
            missing = [(t, s) for t, s in chosen.dropped if t in trials[:needed]]
            if not missing:
                return list(points[:last]), chosen, missed
            missed += missing
    # No network fits on any budget: heads take all labels.
    return list(points), choose(wanted(points, seed, backbones), 0.0, cost, fixed=True), []


def reserved(budget: float, corruptions: float, predictions: float, networks: int, sets: int) -> float:
    """Seconds to keep for what follows the trainings: as many as it can use, at most a share of the budget.

    Args:
        budget: seconds of the assessment.
        corruptions: seconds that must be left for corruptions of the largest number of examples.
        predictions: seconds of the predictions on clean examples.
        networks: number of candidates and the run's own network.
        sets: number of data sets that the target is compared with.
    """
    return min(_RESERVED * budget, corruptions + predictions + networks * _EACH_NETWORK + sets * _EACH_SET)


def training_seconds(start: float, each: float, examples: float) -> float:
    """Estimates the seconds of training a whole network.

    Args:
        start: seconds in which the network is built and traced.
        each: seconds of an example in a training step.
        examples: examples over all epochs.
    """
    return _STARTS * start + _BESIDE * each * examples


def summed(dropped: Sequence[tuple[Trial, float]], seed: int) -> dict[str, float]:
    """Sums the seconds of dropped trials by kind or candidate and label budget; all further seeds are one entry."""
    found: dict[str, float] = {}
    for trial, seconds in dropped:
        name = f"{trial.backbone or trial.kind} on {told(trial.labels)}" if trial.seed == seed else "other seeds"
        found[name] = found.get(name, 0.0) + seconds
    return found


def told(point: int | None) -> str:
    """A label budget in words."""
    return "all labels" if point is None else f"{point} labels a class"
