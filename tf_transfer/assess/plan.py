"""Which trainings an assessment makes in the time there is: pure arithmetic, no model and no data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Labels a class on the curve, below all that there are.
BUDGETS = (1, 5, 20, 100, 500)
# How much shorter trainings may become before fewer of them are made.
SCALES = (1.0, 0.7, 0.5, 0.35, 0.25)
# Budgets that the curve has at the most, the largest.
_POINTS = 5
# Seeds of everything, where the time is there.
_SEEDS = 3
# Share of the budget that is kept at most for what is done with the networks when they are trained; seconds of it for
# forecasts and drift of each network, and for distances to each other set.
_RESERVED, _EACH_NETWORK, _EACH_SET = 0.4, 25.0, 25.0
# A training takes so many times as long to start as the network, and so many times as long as its steps.
_STARTS, _BESIDE = 3.0, 1.15
# Trainings of the whole network on the same labels: the answer and its two controls.
WHOLE = ("full", "scratch", "random head")


@dataclass(frozen=True, order=True)
class Trial:
    """One training: what kind, on how many labels, with which seed, of which network.

    Attributes:
        kind: `head` (a new head on the frozen network), `full` (that, then the whole network), `random head` (the
            whole network at once under a head that knows nothing) or `scratch` (from random weights).
        labels: a class; None for all.
        seed: of the choice of labels, the head, the order and the augmentation.
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
    """What is trained, how long, and what not.

    Attributes:
        trials: in the order in which they are made.
        scale: factor on the epochs of all of them.
        dropped: those the time does not allow, with the seconds each would take.
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
    """Returns the trainings of the whole network that would be made with time to spare, the most telling first.

    First all kinds on the most labels, then the curve from its ends, then the other candidates, then more seeds.
    """
    first = [Trial(kind, points[-1], seed) for kind in WHOLE]
    curve = [Trial(kind, k, seed) for k in reversed(points[:-1]) for kind in ("full", "scratch")]
    others = [Trial("full", points[-1], seed, backbone) for backbone in backbones]
    more = [
        Trial(kind, k, seed + s)
        for s in range(1, _SEEDS)
        for k in reversed(points)
        for kind in (WHOLE if k == points[-1] else WHOLE[:2])
    ]
    return [*first, *others, *curve, *more]


def choose(trials: Sequence[Trial], seconds: float, cost: Callable[[Trial, float], float], fixed: bool) -> Choice:
    """Chooses what fits: all trainings of the first seed as long as they need not be cut below a quarter.

    Args:
        trials: of `wanted`.
        seconds: what there is.
        cost: seconds of a training at a scale of its epochs; 0 for one that is there already.
        fixed: some are there already, at full length: the others must be of that length, too.
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
    """Chooses the trainings; where full and its control do not fit on all labels, on as many as they do.

    Where they fit on none, on as many as full fits on alone.

    Args:
        points: label budgets, ascending.
        seed: the run's.
        backbones: other candidates.
        seconds: what there is.
        cost: see `choose`.
        made: whether the run has made a training, at full length.

    Returns:
        The budgets that are left, the choice, and the trainings that did not fit on larger ones, with their seconds.
    """
    # What is there already costs nothing.
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
    # Nothing fits anywhere: heads take all labels that there are.
    return list(points), choose(wanted(points, seed, backbones), 0.0, cost, fixed=True), []


def reserved(budget: float, corruptions: float, predictions: float, networks: int, sets: int) -> float:
    """Returns the seconds that are kept for what follows the trainings: what it can use, and of the budget a share.

    Args:
        budget: in seconds.
        corruptions: seconds in which as many pictures are corrupted as ever are.
        predictions: seconds of those on clean pictures.
        networks: candidates, the run's own among them.
        sets: that the target is compared with.
    """
    return min(_RESERVED * budget, corruptions + predictions + networks * _EACH_NETWORK + sets * _EACH_SET)


def training_seconds(start: float, each: float, pictures: float) -> float:
    """Returns about what the training of a whole network takes.

    Args:
        start: seconds in which it is built and traced.
        each: seconds of a picture in a training step.
        pictures: over all epochs.
    """
    return _STARTS * start + _BESIDE * each * pictures


def summed(dropped: Sequence[tuple[Trial, float]], seed: int) -> dict[str, float]:
    """Returns the seconds of trials that were dropped, by what they are; all further seeds in one."""
    found: dict[str, float] = {}
    for trial, seconds in dropped:
        name = f"{trial.backbone or trial.kind} on {told(trial.labels)}" if trial.seed == seed else "other seeds"
        found[name] = found.get(name, 0.0) + seconds
    return found


def told(point: int | None) -> str:
    """Returns what a label budget is called."""
    return "all labels" if point is None else f"{point} labels a class"
