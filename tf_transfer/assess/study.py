"""The study of an assessment: the target, the candidates, the trained models and their predictions."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tf_transfer.assess import plan, subsample
from tf_transfer.assess.clock import Clock
from tf_transfer.assess.networks import Network, Pool, open_network, open_pool
from tf_transfer.assess.plan import Trial
from tf_transfer.assess.scorer import Scorer
from tf_transfer.assess.trials import TrialResult
from tf_transfer.config import Model
from tf_transfer.data.splits import Split
from tf_transfer.data.training_data import TrainingData
from tf_transfer.errors import UserError, one_line
from tf_transfer.evaluation import right
from tf_transfer.modalities import backbones
from tf_transfer.phases.catalogue import on_target
from tf_transfer.session.session import Session

# Candidates are left out until the time allows the features of this number of training examples.
_ENOUGH = 300
# Share of the budget that building candidates may take.
_BUILDING = 0.3


@dataclass
class Study:
    """The models of an assessment, and their data.

    Attributes:
        session: the command.
        clock: of the budget.
        data: the examples that train and validate.
        pools: candidates by spec; None is the key of the run's own network.
        points: label budgets of the curve, ascending, None for all.
        ran: trained models by trial.
        scale: factor on the epochs of whole networks.
        measured: labelled sets that nothing trained on, by name: `validation` and, once it is read, `test`.
        logits: by trial and set.
        reserved: seconds kept for what follows the trainings.
    """

    session: Session
    clock: Clock
    data: TrainingData
    pools: dict[str | None, Pool]
    points: list[int | None]
    ran: dict[Trial, TrialResult] = field(default_factory=dict)
    scale: float = 1.0
    measured: dict[str, Split] = field(default_factory=dict)
    logits: dict[Trial, dict[str, np.ndarray]] = field(default_factory=dict)
    scorers: dict[str | None, Scorer] = field(default_factory=dict)
    reserved: float = 0.0

    @property
    def many(self) -> str:
        """The word for examples in messages."""
        return self.session.modality.many

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.session.config.run.seed

    @property
    def top(self) -> int | None:
        """The largest label budget of the trainings; None for all labels."""
        return self.points[-1]

    @property
    def split(self) -> str:
        """Name of the set that tells the outcome: `test` where there is one, else `validation`."""
        return "test" if "test" in self.measured else "validation"

    def measure_on(self, name: str, split: Split) -> None:
        """Adds a set to measure on, or as much of it as the time allows."""
        self.measured[name] = self.limited(name, split)

    def limited(self, name: str, split: Split, sets: int = 1) -> Split:
        """Returns a set, or as much of it as the time allows when `sets` sets share it."""
        found = subsample.measurable(split, sets * self.pools[None].seconds, self.clock.seconds, self.seed)
        if found is not split:
            self.clock.leave_out(
                f"all but {len(found):,} of the {len(split):,} {one_line(name, 40)} {self.many}",
                "predicting takes long",
            )
        return found

    def scorer(self, backbone: str | None = None) -> Scorer:
        """Returns the scorer of a candidate."""
        if backbone not in self.scorers:
            self.scorers[backbone] = Scorer(self.pools[backbone], self.data.validation)
        return self.scorers[backbone]

    def labels_per_class(self, point: int | None) -> float:
        """Labels a class of a budget; the mean over the classes for all labels."""
        if point is not None:
            return float(point)
        held = len(self.data.validation) if self.data.validation is not None else 0
        return (len(self.data.train) + held) / len(self.data.class_names)

    def correct(self, kind: str, point: int | None, split: str | None = None, backbone: str | None = None):
        """Returns bool `[S, N]`: whether training s of a kind is right on example i of a set; None without any."""
        split = split or self.split
        found = [
            t
            for t in sorted(self.ran, key=lambda t: t.seed)
            if (t.kind, t.labels, t.backbone) == (kind, point, backbone)
        ]
        if not found or split not in self.measured:
            return None
        labels = self.measured[split].labels
        return np.stack([right(self.logits[t][split], labels) for t in found])


def begin(session: Session, clock: Clock, candidates: Sequence[str]) -> Study:
    """Opens the target and runs every candidate over it once.

    Raises:
        UserError: a candidate cannot be built; the examples cannot be split, or none is left to measure on; a trained
            phase saw other examples.
    """
    data = session.datasets.training()
    if data.validation is None and "test" not in session.datasets.open(session.config.data.dataset).splits:
        many = session.modality.many
        raise UserError(
            f"--dataset={one_line(session.config.data.dataset)!r} has neither test nor validation {many} to measure "
            "on: give more labels, or a data set with a test split."
        )
    for phase in on_target():
        if session.run.done(phase):
            session.check_classes(phase, data.class_names)
            session.check_unchanged(phase)
    session.datasets.record(data)
    networks = open_networks(session, clock, data, candidates)
    data = _affordable(session, clock, data, sum(n.seconds for n in networks.values()))
    pools: dict[str | None, Pool] = {}
    for spec, network in networks.items():
        clock.say(f"features of {one_line(spec or session.config.model.backbone, 60)}")
        pools[spec] = clock.spend("features", lambda network=network: open_pool(network, data))
    counts = np.bincount(data.train.labels)
    study = Study(session, clock, data, pools, plan.budgets(counts[counts > 0].tolist()))
    if len(study.points) == 1:
        clock.leave_out(
            "the label-budget curve",
            f"the rarest class has {counts[counts > 0].min()} training {session.modality.many}",
        )
    if data.validation is not None:
        study.measure_on("validation", data.validation)
    return study


def open_networks(
    session: Session, clock: Clock, data: TrainingData, candidates: Sequence[str]
) -> dict[str | None, Network]:
    """Builds and times the run's network and the candidates; the slowest are left out where time is short.

    Returns:
        The networks by spec; None is the key of the run's own.
    """

    def opened(own: Session) -> Network:
        held = 0 if data.validation is None else len(data.validation)
        counts, some = (len(data.train), held), data.train.inputs
        work = functools.partial(open_network, own, data.class_names, counts, some, now=clock.now)
        return clock.spend("building networks", work)

    found = {None: opened(session)}
    keep = (1 - _BUILDING) * clock.left()
    for spec in candidates:
        # A candidate takes about as long to build as the run's own network.
        if clock.affords(f"the candidate {one_line(spec, 60)}", found[None].start, keep):
            other = session.branch("assess", model=candidate(session.config.model, spec, session.input_size))
            found[spec] = opened(other)

    def share(networks: Sequence[Network]) -> float:
        return subsample.share(subsample.passes_of(data), sum(n.seconds for n in networks), clock.seconds)

    # As many examples as the run's own network alone has time for, or enough.
    wanted = min(share([found[None]]), _ENOUGH / len(data.train))
    while len(found) > 1 and share(list(found.values())) < wanted:
        slowest = max((spec for spec in found if spec is not None), key=lambda spec: found[spec].seconds)
        seconds = found.pop(slowest).seconds * subsample.passes_of(data)
        clock.leave_out(f"the candidate {one_line(slowest, 60)}", f"its features would take about {seconds:.0f} s")
    return found


def _affordable(session: Session, clock: Clock, data: TrainingData, seconds: float) -> TrainingData:
    weighing = session.config.data.class_weights
    found = subsample.affordable(data, seconds, clock.seconds, weighing, session.config.run.seed)
    if found is not data:
        clock.leave_out(
            f"all but {len(found.train):,} of the {len(data.train):,} training {session.modality.many}",
            f"their features would take about {2 * seconds * len(data.train):.0f} s",
        )
    return found


def candidate(model: Model, spec: str, size: int) -> Model:
    """Returns the model options of another candidate, at the same input size.

    Raises:
        UserError: an unknown network, a size it does not take, or weights that are not its own.
    """
    if model.weights == "random":
        raise UserError(
            f"--backbones={one_line(spec)!r}: a forecast tells what pretrained features promise, and with "
            "--weights=random nothing was pretrained; compare candidates with --weights=imagenet."
        )
    if model.weights != backbones.PUBLISHED:
        raise UserError(
            f"--backbones={one_line(spec)!r}: candidates come with the same kind of weights as the run's, which are "
            f"{one_line(model.weights)!r}; compare candidates with --weights=imagenet."
        )
    found = backbones.find_backbone(spec)
    if found.modality != (own := backbones.find_backbone(model.backbone).modality):
        raise UserError(
            f"--backbones={one_line(spec)!r} takes examples of the modality {found.modality}, and --backbone of {own}."
        )
    backbones.check_size(found, size)
    return dataclasses.replace(model, backbone=spec, input_size=size)


def predict(study: Study) -> None:
    """Predicts with every model on every measured set."""
    for trial, ran in study.ran.items():
        scorer = study.scorer(trial.backbone)
        known = study.logits.setdefault(trial, {})
        for name, split in study.measured.items():
            if name not in known:
                known[name] = scorer.logits(ran, split, keep=True)
