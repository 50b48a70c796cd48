"""One phase of training: from data and a plan to weights that are kept."""

import dataclasses
import time
from collections.abc import Callable, Mapping

import numpy as np

from tf_transfer import defaults, heads, runtime
from tf_transfer.board import Board
from tf_transfer.config import Training
from tf_transfer.console import clock
from tf_transfer.data import augment
from tf_transfer.data.batches import Batches
from tf_transfer.data.training_data import TrainingData
from tf_transfer.defaults import Plan
from tf_transfer.errors import UserError
from tf_transfer.features import extract
from tf_transfer.models.classifier import Classifier
from tf_transfer.session import Session
from tf_transfer.training import loop, optimizers, step, tasks
from tf_transfer.training.regularizers import REGULARIZERS
from tf_transfer.training.schedules import SCHEDULES

# What a phase makes out of date when it trains again.
_DOWNSTREAM = {
    "source": ("head", "full", "evaluate", "saved_model"),
    "head": ("full", "evaluate", "saved_model"),
    "full": ("evaluate", "saved_model"),
    "scratch": ("evaluate",),
}


def check_specs(training: Training) -> None:
    """Finds a wrong name in the options that are specs, before any data is read.

    Raises:
        UserError: an unknown name, or arguments that it does not take.
    """
    checks = {
        "optimizer": optimizers.check,
        "schedule": SCHEDULES.create,
        "regularizer": lambda spec: REGULARIZERS.create(spec, [], []),
        "augment": augment.parse,
    }
    for option, check in checks.items():
        value = getattr(training, option)
        for spec in value.values() if isinstance(value, Mapping) else [value]:
            if spec is not None:
                check(spec)


def train(session: Session, phase: str, classifier: Classifier, data: TrainingData) -> None:
    """Trains one phase from start to end and keeps what it left."""
    begun = time.perf_counter()
    plan = session.plan(phase, data, classifier)
    groups = trained_groups(phase, classifier, plan)
    counts = {
        "trained": sum(int(np.prod(v.shape)) for g in groups for v in g.variables),
        "total": classifier.parameters(),
    }
    session.record_data(data)
    session.run.record(
        "start", phase=phase, command=session.command, **runtime.facts(session.strategy, session.precision)
    )
    session.run.record("plan", phase=phase, plan=dataclasses.asdict(plan), parameters=counts)
    session.console.line(f"{phase}  {counts['trained']:,} of {counts['total']:,} parameters train; {_told(plan)}")
    log = _Log(session, phase)
    fit = heads.solve if defaults.solved(plan.optimizer) else _descend
    end = fit(session, phase, classifier, data, plan, log)
    end["seconds"] = seconds = time.perf_counter() - begun
    end["validation_examples"] = len(data.validation) if data.validation is not None else 0
    # First what goes out of date, so that nothing stands on a model that is no longer there.
    gone = [name for name in _DOWNSTREAM[phase] if session.run.forget(name)]
    if gone:
        session.console.line(
            f"note  {', '.join(gone)} stood on the old {phase} and went with it; report.html tells of it until "
            "--phase=report writes it anew."
        )
    facts = {**end, "class_names": data.class_names, "plan": dataclasses.asdict(plan)}
    facts["split_digest"] = data.facts["split_digest"]
    session.run.finish(phase, classifier, facts, log.history)
    session.run.record("phase_end", phase=phase, **end)
    best = ""
    if end["validation_accuracy"] is not None:
        at = f"epoch {end['best_epoch']}" if end["best_epoch"] else f"l2 {end['l2']:.2g}"
        best = f", validation {end['validation_accuracy']:.4f} on {end['validation_examples']:,} pictures at {at}"
    session.console.line(f"{phase}  done in {clock(seconds)}{best}")


class _Log:
    """Takes the records of a phase: to the run, the console, the board and the table of its history."""

    def __init__(self, session: Session, phase: str):
        self.session, self.phase, self.history = session, phase, []
        self.board = Board(session.run.path / "tensorboard" / phase)

    def __call__(self, record: dict) -> None:
        self.history.append({k: v for k, v in record.items() if k != "kind"})
        self.session.run.record(**record, phase=self.phase)
        if record["kind"] == "epoch":
            self.session.console.epoch(self.phase, record)
            self.board.epoch(record)
        else:
            self.session.console.path(self.phase, record)


def _told(plan: Plan) -> str:
    if defaults.solved(plan.optimizer):
        return f"{plan.feature_views} views, solved by {plan.optimizer}, {plan.regularizer}"
    rate = f"rate {plan.learning_rate:g}, {plan.optimizer}, BatchNorm {plan.bn}"
    return f"{plan.epochs:g} epochs, batch {plan.batch_size}, {rate}"


def _descend(session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Plan, log: _Log) -> dict:
    """Trains in steps; returns how it ended."""
    task, batches, finish = prepare(session, phase, classifier, data, plan)
    result = loop.fit(task, batches, loop_config(session, plan), session.strategy, log, session.progress(phase))
    finish()
    return {
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "stopped_early": result.stopped_early,
        "validation_accuracy": result.best.get("accuracy"),
        "validation_loss": result.best.get("loss"),
    }


def trained_groups(phase: str, classifier: Classifier, plan: Plan) -> list:
    """Returns the groups of parameters that a phase trains."""
    if phase == "head":
        return [classifier.head_group()]
    return classifier.groups(plan.unfreeze, plan.layer_decay) if phase == "full" else classifier.groups()


def prepare(
    session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Plan
) -> tuple[step.Task, Batches, Callable[[], None]]:
    """Returns the task and the batches of a phase, and what to call when it has been trained."""
    if plan.feature_views:
        return _on_features(session, classifier, data, plan)
    return *in_steps(session, phase, classifier, data, plan), lambda: None


def in_steps(session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Plan):
    """Returns the task and the batches of a phase in which the backbone runs in every step."""
    augmentation = augment.parse(plan.augment)
    batches = _batches(session, data.train, data.class_weights, plan, augmentation.mix_alpha)
    following = classifier.unfrozen(plan.unfreeze) if phase == "full" else None
    # A function compiled as a whole is differentiated as a whole: frozen stages would cost their backward pass.
    classifier.xla = classifier.xla and not (phase == "full" and plan.unfreeze)
    classifier.set_batchnorm(plan.bn, following, batches.steps(plan.epochs))
    predict = tasks.Predictor(classifier.logits, session.strategy, 2 * plan.batch_size)
    task = tasks.classification(
        classifier,
        trained_groups(phase, classifier, plan),
        augmentation,
        plan.label_smoothing,
        plan.regularizer,
        through_backbone=phase != "head" or plan.bn != "frozen",
        validate=tasks.validator(predict, data.validation),
    )
    return task, batches


def _on_features(session: Session, classifier: Classifier, data: TrainingData, plan: Plan):
    """The head on features that the frozen backbone makes once, instead of once an epoch."""
    train, validation = heads.features(session, classifier, data, plan)
    scale = extract.Standardizer(train.inputs)
    train, validation = scale(train), scale(validation) if validation is not None else None
    classifier.head.set_weights(scale.unfold(*classifier.head.get_weights()))
    predict = tasks.Predictor(classifier.classify, session.strategy, 4096)
    task = tasks.probe(classifier, plan.label_smoothing, plan.regularizer, tasks.validator(predict, validation))
    batches = _batches(session, train, data.class_weights, plan)

    def finish():
        classifier.head.set_weights(scale.fold(*classifier.head.get_weights()))

    return task, batches, finish


def _batches(session: Session, split, class_weights: np.ndarray, plan: Plan, mix_alpha: float = 0.0) -> Batches:
    replicas = session.strategy.num_replicas_in_sync
    if plan.batch_size % replicas:
        raise UserError(f"--batch_size={plan.batch_size} must be a multiple of the {replicas} replicas.")
    return Batches(split, plan.batch_size, session.config.run.seed, class_weights[split.labels], mix_alpha)


def loop_config(session: Session, plan: Plan) -> step.LoopConfig:
    """Returns the part of a plan that the loop wants."""
    names = [f.name for f in dataclasses.fields(step.LoopConfig) if f.name != "seed"]
    return step.LoopConfig(**{name: getattr(plan, name) for name in names}, seed=session.config.run.seed)
