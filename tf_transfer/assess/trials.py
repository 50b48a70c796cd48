"""The trials of an assessment: trainings on a part of the labels with a seed, by the engine that trains a run."""

import dataclasses
import functools
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tf_transfer.assess.networks import FOLDER, Pool
from tf_transfer.assess.plan import Trial
from tf_transfer.config import ALIASES, Data, Model, Training
from tf_transfer.data import splits
from tf_transfer.data.training_data import TrainingData
from tf_transfer.features import extract
from tf_transfer.machine.devices import PeakMemory
from tf_transfer.phases.catalogue import FULL, HEAD, SCRATCH
from tf_transfer.run.directory import RunDir
from tf_transfer.session import head as heads
from tf_transfer.session import train as fitting
from tf_transfer.session.session import Session

# The phase that trains each kind, and what its folder's name adds to the label budget and the seed.
_PHASES = {FULL: (FULL, ""), "random head": (FULL, "-random-head"), SCRATCH: (SCRATCH, "")}
# The options of version 0.1.0 by its names, in its order: a digest holds every one of them, and of options that came
# later those that are not at their default. So a folder is found again by later versions.
_FIRST_OPTIONS = {
    "Data": (
        "dataset", "source_dataset", "data_dir", "validation_fraction", "examples_per_class", "class_weights",
        "max_unreadable",
    ),
    "Model": ("backbone", "weights", "image_size", "dropout"),
    "Training": (
        "epochs", "batch_size", "accumulate", "learning_rate", "optimizer", "schedule", "warmup", "layer_decay",
        "unfreeze", "bn", "regularizer", "label_smoothing", "augment", "feature_views", "ema", "patience", "clip_norm",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class TrialResult:
    """A trained model.

    Attributes:
        trial: the training that made it.
        run: the run directory that holds its weights; None for a head.
        phase: their folder in it.
        head: kernel and bias on plain features; None for a whole network.
        cost: `seconds`, `peak_bytes`, `trained_parameters`, `epochs`, `examples`.
    """

    trial: Trial
    run: RunDir | None = None
    phase: str = ""
    head: tuple[np.ndarray, np.ndarray] | None = None
    cost: dict = field(default_factory=dict)


class Trials:
    """Runs trials. Those of whole networks are kept in the run directory, so that an interrupted one goes on.

    Args:
        session: the assessment's.
        data: all training and validation examples.
        pools: candidates by their spec; None is the key of the run's own network.
    """

    def __init__(self, session: Session, data: TrainingData, pools: dict[str | None, Pool]):
        self.session, self.data, self.pools = session, data, pools

    @functools.cache  # noqa: B019, as it lives as long as the assessment
    def _rows(self, labels: int, seed: int) -> splits.SplitPlan:
        """Splits a label budget, drawn from all training examples, into training and validation rows."""
        train, fraction = self.data.train, self.session.config.data.validation_fraction
        classes = len(self.data.class_names)
        return self.session.problem.split(train.labels, classes, fraction, seed, labels, keys=train.keys)

    def size(self, trial: Trial) -> tuple[int, int]:
        """Number of examples that train, and that validate."""
        if trial.labels is None:
            return len(self.data.train), len(self.data.validation) if self.data.validation is not None else 0
        plan = self._rows(trial.labels, trial.seed)
        return len(plan.train), len(plan.validation)

    def subset(self, trial: Trial) -> TrainingData:
        """Returns the examples that a trial trains and validates on.

        A label budget counts all labels that are used: its validation examples are carved out of it. A trial on all
        labels takes the run's own split.
        """
        data = self.data
        if trial.labels is None:
            return data
        plan = self._rows(trial.labels, trial.seed)
        train = data.train.take(plan.train)
        validation = data.train.take(plan.validation) if len(plan.validation) else None
        facts = {**data.facts, "splits": {"train": len(train)}, "split_digest": plan.facts["digest"], "notes": {}}
        return TrainingData(train, validation, data.class_names, facts=facts, **self._weighing(train.labels))

    def _weighing(self, labels: np.ndarray) -> dict[str, np.ndarray | None]:
        of = labels, len(self.data.class_names), self.session.config.data.class_weights
        return {"class_weights": splits.class_weights(*of), "class_offsets": splits.class_offsets(*of)}

    def epochs(self, trial: Trial) -> float:
        """Epochs of a trial at scale 1: those of full for every kind, so that all are trained equally long.

        Where the run has a full phase, those that it had.
        """
        done = self.session.run.done(FULL)
        if (
            done
            and done.get("split_digest") == self.data.facts["split_digest"]
            and trial.labels is None
            and trial.backbone is None
        ):
            return done["plan"]["epochs"]
        return self._plan(self.pools[trial.backbone].session, FULL, trial).epochs

    def statistics(self, trial: Trial) -> str:
        """Returns the policy for the BatchNorm statistics: what validation chose in the run's full phase, else `train`.

        Trials are to be compared: a race in each would give some one policy and some the other.
        """
        done = None if trial.kind == SCRATCH or trial.backbone else self.session.run.done(FULL)
        return done["plan"]["bn"] if done and done.get("race") else "train"

    def _plan(self, session: Session, phase: str, trial: Trial) -> Training:
        """Resolves the options of a phase; it needs the numbers of examples alone."""
        train, held = self.size(trial)
        classifier = self.pools[trial.backbone].classifier
        return session.plan(phase, session.facts(train, held, self.data.class_names, classifier))

    def made(self, trial: Trial) -> TrialResult | None:
        """Returns a phase of the run that is this trial: all labels, the run's seed, equally long; None without one."""
        own = trial.labels is None and trial.backbone is None and trial.seed == self.session.config.run.seed
        done = self.session.run.done(trial.kind) if own and trial.kind in _PHASES else None
        # A phase on all examples is another training than a trial on a subsample.
        same = done and done.get("split_digest") == self.data.facts["split_digest"]
        if not same or done["plan"]["epochs"] != self.epochs(trial):
            return None
        return _result(trial, self.session.run, trial.kind, done)

    def head(self, trial: Trial) -> TrialResult:
        """Solves a head on features of the pool."""
        begun, pool = time.perf_counter(), self.pools[trial.backbone]
        train, validation, data = pool.train, pool.validation, self.data
        if trial.labels is not None:
            rows = self._rows(trial.labels, trial.seed)
            views = len(pool.train) // len(self.data.train)
            train = pool.train.take(np.concatenate([rows.train + v * len(self.data.train) for v in range(views)]))
            validation = pool.train.take(rows.validation) if len(rows.validation) else None
            data = dataclasses.replace(data, **self._weighing(train.labels))
        plan = self._plan(pool.heading, HEAD, trial)
        with PeakMemory() as memory:
            scale = extract.Standardizer(train.inputs)
            best = heads.solve_on(train, validation, scale, data, plan)
        pass_seconds = pool.seconds * (len(train) + (len(validation) if validation is not None else 0))
        cost = {
            "seconds": time.perf_counter() - begun + pass_seconds,
            "peak_bytes": memory.bytes,
            "trained_parameters": best.kernel.size + best.bias.size,
            "examples": self.size(trial)[0],
        }
        return TrialResult(trial, head=scale.fold(best.kernel, best.bias), cost=cost)

    def there(self, trial: Trial, scale: float) -> bool:
        """Whether a trial is finished, as a phase of the run or by an earlier assessment."""
        if self.made(trial):
            return True
        return self._session(trial, scale).run.done(_PHASES[trial.kind][0]) is not None

    def whole(self, trial: Trial, scale: float, head: TrialResult | None) -> TrialResult:
        """Trains a whole network, `full` from the head given; an interrupted one goes on."""
        if made := self.made(trial):
            return made
        phase, session = _PHASES[trial.kind][0], self._session(trial, scale)
        session.run.sweep()
        if (done := session.run.done(phase)) is None:
            data = self.subset(trial)
            classifier = session.pretrained(len(data.class_names), "random" if phase == SCRATCH else None)
            if trial.kind == FULL:
                classifier.head.set_weights(head.head)
            fitting.train(session, phase, classifier, data, self.statistics(trial))
            done = session.run.done(phase)
        return _result(trial, session.run, phase, done)

    def _session(self, trial: Trial, scale: float) -> Session:
        """Returns a session on the trial's folder, whose name holds a digest of all that decides the training."""
        parent, epochs = self.pools[trial.backbone].session, max(self.epochs(trial) * scale, 1.0)
        training = dataclasses.replace(parent.config.training, epochs={FULL: epochs, SCRATCH: epochs})
        if training.patience is None:
            # All kinds are trained equally long: none stops early.
            training = dataclasses.replace(training, patience=0)
        if trial.labels is not None:
            # Batches of a few labels may be too small to be accumulated in parts.
            training = dataclasses.replace(training, accumulate=1)
        split = (
            self._rows(trial.labels, trial.seed).facts["digest"] if trial.labels else self.data.facts["split_digest"]
        )
        options = training, parent.config.model, parent.config.data
        # Earlier versions trained all statistics.
        policy = "" if (statistics := self.statistics(trial)) == "train" else statistics
        digest = digest_of(options, parent.precision, split, self.pools[trial.backbone].digest + policy)
        name = f"{trial.labels or 'all'}-{trial.seed}{_PHASES[trial.kind][1]}-{digest}"
        return parent.branch(f"{FOLDER}/trials/{name}", seed=trial.seed, training=training)


def digest_of(options: Sequence[Training | Model | Data], precision: str, split: str, pool: str) -> str:
    """Digest of all that decides a training, in 12 hexadecimal digits, the same as version 0.1.0 computed.

    Args:
        options: the options of some stages.
        precision: of the computation.
        split: digest of the training and validation rows.
        pool: see `networks.Pool.digest`.
    """
    deciding = f"({', '.join([*map(_written, options), repr(precision), repr(split)])})"
    return hashlib.sha256(f"{deciding}{pool}".encode()).hexdigest()[:12]


def _written(options: Training | Model | Data) -> str:
    """Returns the options of a stage as version 0.1.0 wrote them, followed by later ones that are not at default."""
    stage, fields = type(options).__name__, {f.name: f.default for f in dataclasses.fields(options)}
    first = {ALIASES.get(old, old): old for old in _FIRST_OPTIONS[stage]}
    later = {name: name for name in fields if name not in first and getattr(options, name) != fields[name]}
    told = [f"{old}={getattr(options, name)!r}" for name, old in (first | later).items()]
    return f"{stage}({', '.join(told)})"


def _result(trial: Trial, run: RunDir, phase: str, done: dict) -> TrialResult:
    planned = [r["parameters"] for r in run.records("plan") if r["phase"] == phase]
    cost = {
        "seconds": done["seconds"],
        "peak_bytes": done.get("peak_bytes"),
        "trained_parameters": planned[-1]["trained"],
        "epochs": done["plan"]["epochs"],
    }
    return TrialResult(trial, run, phase, cost=cost)
