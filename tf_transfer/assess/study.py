"""What an assessment trains, and what its models say of the validation and the test pictures."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tf_transfer.assess import pictures, plan
from tf_transfer.assess.clock import Clock
from tf_transfer.assess.plan import Trial
from tf_transfer.assess.scorer import Scorer
from tf_transfer.assess.trials import Network, Pool, Ran, Trials, open_network, open_pool
from tf_transfer.config import Model
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData
from tf_transfer.errors import UserError, one_line
from tf_transfer.models import backbones
from tf_transfer.session import Session

# Share of the budget that is kept for what is done with the networks when they are trained.
_RESERVED = 0.4
# Seeds of heads, which take no time.
_HEAD_SEEDS = 5
# A training takes about so many passes of the frozen network a picture, and so many times as long to start.
_PASSES, _STARTS = 4.0, 3.0


@dataclass
class Study:
    """The models of an assessment and what they were made from.

    Attributes:
        session: the command.
        clock: its budget.
        data: what trains and validates.
        pools: candidates by spec, None for the run's own.
        points: label budgets of the curve, ascending, None for all.
        ran: trials that were made.
        scale: factor on the epochs of whole networks.
        measured: sets of labelled pictures that nothing trained on, by name: `validation` and, once it is read, `test`.
        logits: by trial and set.
    """

    session: Session
    clock: Clock
    data: TrainingData
    pools: dict[str | None, Pool]
    points: list[int | None]
    ran: dict[Trial, Ran] = field(default_factory=dict)
    scale: float = 1.0
    measured: dict[str, Split] = field(default_factory=dict)
    logits: dict[Trial, dict[str, np.ndarray]] = field(default_factory=dict)
    scorers: dict[str | None, Scorer] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The run's."""
        return self.session.config.run.seed

    @property
    def top(self) -> int | None:
        """The largest label budget on which everything was trained."""
        return self.points[-1]

    @property
    def split(self) -> str:
        """The set that tells the outcome: the test pictures where there are any."""
        return "test" if "test" in self.measured else "validation"

    def measure_on(self, name: str, split: Split) -> None:
        """Adds a set to measure on, or as much of it as there is time for."""
        found = pictures.measurable(split, self.pools[None].seconds, self.clock.seconds, self.seed)
        if found is not split:
            self.clock.leave_out(
                f"all but {len(found):,} of the {len(split):,} {name} pictures", "predicting takes long"
            )
        self.measured[name] = found

    def scorer(self, backbone: str | None = None) -> Scorer:
        """Returns what predicts with a candidate."""
        if backbone not in self.scorers:
            self.scorers[backbone] = Scorer(self.pools[backbone], self.data.validation)
        return self.scorers[backbone]

    def labels_per_class(self, point: int | None) -> float:
        """Returns the labels a class of a budget; of all labels their mean."""
        if point is not None:
            return float(point)
        held = len(self.data.validation) if self.data.validation is not None else 0
        return (len(self.data.train) + held) / len(self.data.class_names)

    def correct(self, kind: str, point: int | None, split: str | None = None, backbone: str | None = None):
        """Returns bool `[S, N]`: whether each training of a kind is right on each picture of a set; None without."""
        split = split or self.split
        found = [
            t
            for t in sorted(self.ran, key=lambda t: t.seed)
            if (t.kind, t.labels, t.backbone) == (kind, point, backbone)
        ]
        if not found or split not in self.measured:
            return None
        labels = self.measured[split].labels
        return np.stack([self.logits[t][split].argmax(1) == labels for t in found])


def begin(session: Session, clock: Clock, candidates: Sequence[str]) -> Study:
    """Opens the target and runs every candidate over it once.

    Raises:
        UserError: a candidate that cannot be built; pictures that cannot be split, or of which none is left to measure
            on; a trained phase of other pictures.
    """
    data = session.training_data()
    if data.validation is None and "test" not in session.open(session.config.data.dataset).splits:
        raise UserError(
            f"--dataset={one_line(session.config.data.dataset)!r} has neither test nor validation pictures to measure "
            "on: give more labels, or a data set with a test split."
        )
    for phase in ("head", "full", "scratch"):
        if session.run.done(phase):
            session.check_classes(phase, data.class_names)
            session.check_unchanged(data, phase)
    session.record_data(data)
    networks: dict[str | None, Network] = {None: open_network(session, data)}
    for spec in candidates:
        other = session.branch("assess", model=candidate(session.config.model, spec, session.image_size))
        networks[spec] = open_network(other, data)
    data = _affordable(session, clock, data, sum(n.seconds for n in networks.values()))
    pools: dict[str | None, Pool] = {}
    for spec, network in networks.items():
        clock.say(f"features of {one_line(spec or session.config.model.backbone, 60)}")
        pools[spec] = clock.timed("features", lambda network=network: open_pool(network, data))
    counts = np.bincount(data.train.labels)
    study = Study(session, clock, data, pools, plan.budgets(counts[counts > 0].tolist()))
    if len(study.points) == 1:
        clock.leave_out("the label-budget curve", f"the rarest class has {counts[counts > 0].min()} training pictures")
    if data.validation is not None:
        study.measure_on("validation", data.validation)
    return study


def _affordable(session: Session, clock: Clock, data: TrainingData, seconds: float) -> TrainingData:
    weighing = session.config.data.class_weights
    found = pictures.affordable(data, seconds, clock.seconds, weighing, session.config.run.seed)
    if found is not data:
        clock.leave_out(
            f"all but {len(found.train):,} of the {len(data.train):,} training pictures",
            f"their features would take about {2 * seconds * len(data.train):.0f} s",
        )
    return found


def candidate(model: Model, spec: str, size: int) -> Model:
    """Returns the options of the model for another candidate, which sees the pictures at the same size.

    Raises:
        UserError: an unknown network, a size it does not take, or weights that are not its own.
    """
    if model.weights not in ("imagenet", "random"):
        raise UserError(
            f"--backbones={one_line(spec)!r}: candidates come with the same kind of weights as the run's, which are "
            f"{one_line(model.weights)!r}; compare candidates with --weights=imagenet."
        )
    found = backbones.find_backbone(spec)
    backbones.check_size(found, size)
    return dataclasses.replace(model, backbone=spec, image_size=size)


def train(study: Study) -> None:
    """Makes the trainings that the time allows; heads first, which take seconds."""
    trials = Trials(study.session, study.data, study.pools)
    others = [spec for spec in study.pools if spec is not None]
    chosen = _choose(study, trials, others)
    study.scale = chosen.scale
    for point in study.points:
        study.clock.say(f"heads on {_told(point)}")
        for seed in range(_HEAD_SEEDS if point is not None else 1):
            _add(study, trials.head(Trial("head", point, study.seed + seed)))
    for spec in others:
        _add(study, trials.head(Trial("head", study.top, study.seed, spec)))
    for what, seconds in _summed(chosen.dropped, study.seed).items():
        study.clock.leave_out(what, f"it would take about {seconds:.0f} s")
    _whole(study, trials, chosen.trials)


def _whole(study: Study, trials: Trials, chosen: Sequence[Trial]) -> None:
    """Trains whole networks as long as what follows has its time."""
    reserve, expected, taken = _RESERVED * study.clock.seconds, 0.0, 0.0
    for number, trial in enumerate(chosen):
        # Estimates are rough: those to come are off as those before were.
        estimated = _seconds(study, trials, trial, study.scale)
        needed = estimated * (max(1.0, taken / expected) if expected else 1.0)
        if number >= 2 and study.clock.left() - needed < reserve:
            study.clock.leave_out(str(trial), "trainings before took longer than expected")
            continue
        head = Trial("head", trial.labels, trial.seed, trial.backbone)
        if trial.kind == "full" and head not in study.ran:
            _add(study, trials.head(head))
        study.clock.say(f"training {number + 1} of {len(chosen)}: {trial}")
        before = study.clock.left()
        _add(
            study, study.clock.timed("training", lambda t=trial, h=head: trials.whole(t, study.scale, study.ran.get(h)))
        )
        expected, taken = expected + estimated, taken + before - study.clock.left()


def _choose(study: Study, trials: Trials, others: Sequence[str]) -> plan.Choice:
    """Chooses the trainings; where not even the first fit on all labels, on as many as they do."""
    seconds = max(0.0, study.clock.left() - _RESERVED * study.clock.seconds)
    while True:
        wanted = plan.wanted(study.points, study.seed, others)
        fixed = any(trials.made(t) for t in wanted[: len(plan.WHOLE)])
        chosen = plan.choose(wanted, seconds, lambda t, s: _seconds(study, trials, t, s), fixed)
        # Full with its control, or full alone where it is there already.
        needed = wanted[:1] if trials.there(wanted[0], 1.0) else wanted[:2]
        missing = [(t, s) for t, s in chosen.dropped if t in needed]
        if not missing or len(study.points) == 1:
            return chosen
        for what, would_take in _summed(missing, study.seed).items():
            study.clock.leave_out(what, f"it would take about {would_take:.0f} s")
        study.points.pop()


def _seconds(study: Study, trials: Trials, trial: Trial, scale: float) -> float:
    if trials.there(trial, scale):
        return 0.0
    pool = study.pools[trial.backbone]
    per_picture = _PASSES * pool.seconds
    return _STARTS * pool.start + scale * trials.epochs(trial) * trials.size(trial)[0] * per_picture


def _summed(dropped: Sequence[tuple[Trial, float]], seed: int) -> dict[str, float]:
    """Returns the seconds of trials that were dropped, by what they are; all further seeds in one."""
    found: dict[str, float] = {}
    for trial, seconds in dropped:
        name = f"{trial.backbone or trial.kind} on {_told(trial.labels)}" if trial.seed == seed else "other seeds"
        found[name] = found.get(name, 0.0) + seconds
    return found


def _told(point: int | None) -> str:
    return "all labels" if point is None else f"{point} labels a class"


def _add(study: Study, ran: Ran) -> None:
    study.ran[ran.trial] = ran


def predict(study: Study) -> None:
    """Predicts with every model on every measured set."""
    for trial, ran in study.ran.items():
        scorer = study.scorer(trial.backbone)
        known = study.logits.setdefault(trial, {})
        for name, split in study.measured.items():
            if name not in known:
                known[name] = scorer.logits(ran, split, keep=True)
