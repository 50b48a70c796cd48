"""Trains one phase: from data and a plan to weights in the run directory."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from tf_transfer import methods
from tf_transfer.config import Config, Training, pick
from tf_transfer.console import clock
from tf_transfer.data.streams import Streams
from tf_transfer.data.training_data import TrainingData
from tf_transfer.errors import UserError, one_line
from tf_transfer.features import extract
from tf_transfer.machine import devices, signals, xla
from tf_transfer.machine.strategy import barrier
from tf_transfer.modalities import backbones, base
from tf_transfer.models.classifier import Classifier
from tf_transfer.phases import catalogue
from tf_transfer.run import checkpoints
from tf_transfer.run.directory import RunDir
from tf_transfer.run.tensorboard import Board
from tf_transfer.session import head as heads
from tf_transfer.session import plan as plans
from tf_transfer.session.resume import Resume
from tf_transfer.session.session import Session
from tf_transfer.training import loop, optimizers
from tf_transfer.training.method import Method, Setting
from tf_transfer.training.regularizers import REGULARIZERS
from tf_transfer.training.schedules import SCHEDULES

# Entries of `done.json` that the record `phase_end` leaves out.
_NO_OUTCOME = ("class_names", "plan", "split_digest", "restart", "source_data")


def check_specs(config: Config) -> None:
    """Refuses wrong specs among the options, before any data is read.

    Raises:
        UserError: an unknown name, or arguments that it does not take.
    """
    checks = {
        "optimizer": optimizers.check,
        "schedule": SCHEDULES.create,
        "regularizer": lambda spec: REGULARIZERS.create(spec, [], []),
        "augment": base.find(backbones.find_backbone(config.model.backbone).modality).augmentation,
    }
    for option, check in checks.items():
        value = getattr(config.training, option)
        for spec in value.values() if isinstance(value, Mapping) else [value]:
            if spec is not None:
                check(spec)
    for phase in catalogue.TRAINED:
        if (spec := pick(config.training.method, phase)) is not None:
            methods.check(spec, pick(config.training.accumulate, phase) or 1)
    checkpoints.parse_every(config.run.checkpoint_every)


class Prepared(NamedTuple):
    """A phase ready to train in steps: the method, its streams, and `finish`, to be called after training.

    `trial` decides whether the network is compiled by XLA; None: that is decided, or no network runs in the steps.
    """

    method: Method
    streams: Streams
    finish: Callable[[], None]
    trial: xla.Trial | None = None


def train(session: Session, phase: str, classifier: Classifier, data: TrainingData) -> None:
    """Trains one phase from start to end, or from its checkpoint, and writes its model and records."""
    plan = session.plan(phase, session.facts_of(data, classifier))
    if not plans.solved(plan.optimizer):
        _check_shares(session, plan)
    groups = method(session, phase, classifier, data, plan).groups()
    trained = sum(int(np.prod(v.shape)) for group in groups for v in group.variables)
    counts = {"trained": trained, "total": classifier.parameters()}
    log = _Log(session, phase)
    resume = Resume(session, phase, _identity(session, data, plan), log.history)
    plan = dataclasses.replace(plan, **resume.kept)
    session.note_restart()
    if resume.step is None:
        session.run.rewind(phase)
        session.datasets.record(data)
        if source := _source(session, plan):
            session.datasets.record(source)
        session.run.record(
            "start", phase=phase, command=session.command, **devices.facts(session.strategy, session.precision)
        )
        session.run.record(
            "plan", phase=phase, plan=dataclasses.asdict(plan), parameters=counts, restart=session.restart_id
        )
        session.console.line(f"{phase}  {counts['trained']:,} of {counts['total']:,} parameters train; {_told(plan)}")
    else:
        session.run.record("resume", phase=phase, step=resume.step, command=session.command)
        session.console.line(f"{phase}  goes on from step {resume.step:,}")
    fit = heads.solve if plans.solved(plan.optimizer) else _descend
    with devices.PeakMemory() as memory:
        end = fit(session, phase, classifier, data, plan, log, resume)
    # Apart from the facts: arrays have a file of their own.
    each = end.pop("each")
    end["peak_bytes"] = memory.bytes
    end["seconds"] = seconds = resume.seconds
    end["validation_examples"] = len(data.validation) if data.validation is not None else 0
    # First remove what goes out of date, so that at no instant a result stands beside a model it was not made from.
    gone = [name for name in catalogue.outdated(phase) if session.run.forget(name)]
    for name in catalogue.descendants(phase):
        session.run.forget(f"{checkpoints.FOLDER}/{name}")
    if gone:
        session.console.note(
            f"{', '.join(gone)} stood on the old {phase} and went with it; report.html tells of it until "
            "--phase=report writes it anew."
        )
    facts = {**end, "class_names": data.class_names, "plan": dataclasses.asdict(plan)}
    # The --restart that began the phase, also where a command without --restart resumed it.
    begun = [r for r in session.run.records("plan") if r["phase"] == phase][-1]
    facts |= {"split_digest": data.facts["split_digest"], "restart": begun.get("restart")}
    if source := _source(session, plan):
        facts["source_data"] = {"dataset": source.facts["dataset"], "split_digest": source.facts["split_digest"]}
    session.run.finish(phase, classifier, facts, log.history, each)
    # All workers go on from the files that the chief has written.
    barrier(session.strategy)
    note_end(session.run, phase)
    best = ""
    if (value := end["validation_accuracy"]) is None:
        value = end.get("validation_value")
    if value is not None:
        at = f"epoch {end['best_epoch']}" if end["best_epoch"] else f"l2 {end['l2']:.2g}"
        held = f"{end['validation_examples']:,} {session.modality.many}"
        best = f", validation {value:.4f} on {held} at {at}"
    session.console.line(f"{phase}  done in {clock(seconds)}{best}")


def note_end(run: RunDir, phase: str) -> None:
    """Records the end of a finished phase, unless it is recorded already, and removes its checkpoints."""
    kept = [r for r in run.records() if r.get("phase") == phase and r["kind"] in ("plan", "phase_end")]
    done = run.done(phase)
    # A plan of a current --restart is newer than the finished phase, which is from before it.
    if not done or (kept and kept[-1]["kind"] == "plan" and kept[-1].get("restart") != done.get("restart")):
        return
    if kept and kept[-1]["kind"] == "plan":
        run.record("phase_end", phase=phase, **{name: done[name] for name in done if name not in _NO_OUTCOME})
    run.forget(f"{checkpoints.FOLDER}/{phase}")


def _identity(session: Session, data: TrainingData, plan: Training) -> dict:
    """Returns everything that decides what a phase computes; the number of replicas does not."""
    config = session.config
    shared = dataclasses.asdict(config.model) | {"dataset": data.facts["dataset"], "seed": config.run.seed}
    shared |= {"precision": session.precision, "class_weights": config.data.class_weights}
    if source := _source(session, plan):
        shared |= {"source of the method": source.facts["dataset"], "split of the source": source.facts["split_digest"]}
    return shared | dataclasses.asdict(plan) | {"split of the data": data.facts["split_digest"]}


class _Log:
    """Passes the records of a phase to the run, the console, TensorBoard and the phase's history."""

    def __init__(self, session: Session, phase: str):
        self.session, self.phase, self.history = session, phase, []
        self.board = Board(session.run.path / "tensorboard" / phase if session.run.writes else None)

    def __call__(self, record: dict) -> None:
        console = self.session.console
        if record["kind"] == "rollback":
            back = f"back to step {record['back_to_step']:,}, rates times {record['factor']:g}"
            record |= {"text": f"{self.phase} diverged: {record['what']} at step {record['step']:,}; {back}"}
            console.note(record["text"])
        self.session.run.record(**record, phase=self.phase)
        if record["kind"] == "rollback":
            return
        self.history.append({k: v for k, v in record.items() if k != "kind"})
        if record["kind"] == "epoch":
            console.epoch(self.phase, record)
            self.board.epoch(record)
        else:
            console.path(self.phase, record)


def _told(plan: Training) -> str:
    if plans.solved(plan.optimizer):
        return f"{plan.feature_views} views, solved by {plan.optimizer}, {plan.regularizer}"
    rate = f"rate {plan.learning_rate:g}, {plan.optimizer}, BatchNorm {plan.bn}"
    return f"{plan.epochs:g} epochs, batch {plan.batch_size}, {rate}"


def _descend(
    session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Training, log, resume
) -> dict:
    """Trains in steps; returns the facts of the end of the phase."""
    ready, progress = prepare(session, phase, classifier, data, plan), session.progress(phase)
    with signals.deferred():
        result = loop.fit(
            ready.method,
            ready.streams,
            plan,
            session.config.run,
            session.strategy,
            log,
            progress,
            resume,
            ready.trial,
        )
    # Of the kept epoch, whose variables are back in place.
    score = ready.method.score()
    ready.finish()
    return {
        "each": score.each if score else {},
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "stopped_early": result.stopped_early,
        "validation_accuracy": result.best.get("accuracy"),
        "validation_loss": result.best.get("loss"),
    } | {f"validation_{name}": value for name, value in result.best.items()}


def method(
    session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Training, on_features: bool = False
) -> Method:
    """Makes the method that the plan names."""
    row, problem = catalogue.PHASES[phase], session.problem
    source = _source(session, plan)
    if not row.labelled:
        held = data.validation and data.validation.unlabelled
        data = dataclasses.replace(data, train=data.train.unlabelled, validation=held)
    setting = Setting(classifier, data, plan, row, session.modality, problem, session.strategy, on_features, source)
    with session.strategy.scope():
        # Variables of its own, a head or a teacher, are mirrored too.
        return methods.create(plan.method, setting)


def _source(session: Session, plan: Training) -> TrainingData | None:
    """Reads the source data set where the method reads it; None where it does not.

    Raises:
        UserError: the method reads it, and none is given.
    """
    if not methods.says(plan.method, "of_source"):
        return None
    if not (dataset := session.config.data.source_dataset):
        raise UserError(f"--method={one_line(plan.method)} reads a second data set: name it with --source_dataset.")
    return session.datasets.training(dataset)


def prepare(session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Training) -> Prepared:
    """Prepares a phase to train in steps, on features where the plan has feature views."""
    make = _on_features if plan.feature_views else in_steps
    return make(session, phase, classifier, data, plan)


def in_steps(session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Training) -> Prepared:
    """Prepares a phase in which the backbone runs in every step."""
    made, row = method(session, phase, classifier, data, plan), catalogue.PHASES[phase]
    streams = _streams(session, made, plan)
    partly = not row.head_only and row.begins != catalogue.RANDOM
    # XLA compiles, and differentiates, the backbone as a whole: frozen stages would cost a backward pass.
    classifier.xla = classifier.xla and not (partly and plan.unfreeze)
    following = classifier.unfrozen(plan.unfreeze) if partly else None
    classifier.set_batchnorm(plan.bn, following, streams.steps(plan.epochs))
    return Prepared(made, streams, lambda: None, _trial(session, row, classifier, plan, streams))


def _trial(
    session: Session, row: catalogue.Phase, classifier: Classifier, plan: Training, streams: Streams
) -> xla.Trial | None:
    """Returns the trial of the step; None where XLA is decided, or cannot compile the step or would slow it down."""
    partly = not row.head_only and row.begins != catalogue.RANDOM and plan.unfreeze
    across = plan.bn == "train" and session.strategy.num_replicas_in_sync > 1 and bool(classifier.batchnorms)
    if partly or (across and not row.head_only):
        return None
    trained = "frozen network" if row.head_only else f"network with BatchNorm {plan.bn}"
    return classifier.trial(f"training step of the {trained}", streams.steps(plan.epochs), streams.size)


def _on_features(session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Training) -> Prepared:
    """Prepares a head to train on features that the frozen backbone computes once."""
    train, validation = heads.features(session, classifier, data, plan)
    scale = extract.Standardizer(train.inputs)
    train, validation = scale(train), scale(validation) if validation is not None else None
    classifier.head.set_weights(scale.unfold(*classifier.head.get_weights()))
    data = dataclasses.replace(data, train=train, validation=validation)
    made = method(session, phase, classifier, data, plan, on_features=True)

    def finish():
        classifier.head.set_weights(scale.fold(*classifier.head.get_weights()))

    return Prepared(made, _streams(session, made, plan), finish)


def _streams(session: Session, method: Method, plan: Training) -> Streams:
    streams = Streams(method.streams(), session.config.run.seed)
    _check_shares(session, plan, streams.sizes.values())
    return streams


def _check_shares(session: Session, plan: Training, sizes: Iterable[int] = ()) -> None:
    """Refuses batch sizes that the replicas cannot share evenly, or with fewer examples than parts."""
    replicas = session.strategy.num_replicas_in_sync
    for size in (plan.batch_size, *sizes):
        share = size // replicas
        if size % replicas:
            near = " or ".join(f"{n * replicas}" for n in (share, share + 1) if n)
            raise UserError(f"--batch_size={size}: expected a multiple of the {replicas} replicas, such as {near}.")
    share = min((plan.batch_size, *sizes)) // replicas
    if plan.accumulate > share:
        raise UserError(
            f"--accumulate={plan.accumulate}: expected at most the {share} examples that a replica has of "
            f"--batch_size={plan.batch_size}."
        )
