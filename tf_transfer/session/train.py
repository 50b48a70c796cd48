"""One phase of training: from data and a plan to weights that are kept."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from tf_transfer.config import TRAINING_PHASES, Config
from tf_transfer.console import clock
from tf_transfer.data.batches import Batches
from tf_transfer.data.training_data import TrainingData
from tf_transfer.errors import UserError
from tf_transfer.features import extract
from tf_transfer.machine import devices, signals
from tf_transfer.machine.strategy import barrier
from tf_transfer.methods import supervised
from tf_transfer.modalities import backbones, base
from tf_transfer.models import inference
from tf_transfer.models.classifier import Classifier
from tf_transfer.run import checkpoints
from tf_transfer.run.directory import RunDir
from tf_transfer.run.tensorboard import Board
from tf_transfer.session import head as heads
from tf_transfer.session import plan as plans
from tf_transfer.session.plan import Plan
from tf_transfer.session.resume import Resume
from tf_transfer.session.session import Session
from tf_transfer.training import loop, optimizers, step
from tf_transfer.training.regularizers import REGULARIZERS
from tf_transfer.training.schedules import SCHEDULES

# What a phase makes out of date when it trains again.
_DOWNSTREAM = {
    "source": ("head", "full", "evaluate", "saved_model", "artefacts"),
    "head": ("full", "evaluate", "saved_model", "artefacts"),
    "full": ("evaluate", "saved_model", "artefacts"),
    "scratch": ("evaluate",),
}
# What `done.json` holds beside what the phase came to.
_NO_OUTCOME = ("class_names", "plan", "split_digest", "restart")


def check_specs(config: Config) -> None:
    """Finds a wrong name in the options that are specs, before any data is read.

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
    checkpoints.parse_every(config.run.checkpoint_every)


def train(session: Session, phase: str, classifier: Classifier, data: TrainingData) -> None:
    """Trains one phase from start to end and keeps what it left."""
    plan = session.plan(phase, data, classifier)
    if not plans.solved(plan.optimizer):
        _check_shares(session, plan)
    groups = trained_groups(phase, classifier, plan)
    counts = {
        "trained": sum(int(np.prod(v.shape)) for g in groups for v in g.variables),
        "total": classifier.parameters(),
    }
    log = _Log(session, phase)
    resume = Resume(session, phase, _identity(session, data, plan), log.history)
    plan = dataclasses.replace(plan, **resume.kept)
    session.note_restart()
    if resume.step is None:
        session.run.rewind(phase)
        session.datasets.record(data)
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
    end["peak_bytes"] = memory.bytes
    end["seconds"] = seconds = resume.seconds
    end["validation_examples"] = len(data.validation) if data.validation is not None else 0
    # First what goes out of date, so that nothing stands on a model that is no longer there.
    gone = [name for name in _DOWNSTREAM[phase] if session.run.forget(name)]
    for name in set(_DOWNSTREAM[phase]) & set(TRAINING_PHASES):
        session.run.forget(f"{checkpoints.FOLDER}/{name}")
    if gone:
        session.console.note(
            f"{', '.join(gone)} stood on the old {phase} and went with it; report.html tells of it until "
            "--phase=report writes it anew."
        )
    facts = {**end, "class_names": data.class_names, "plan": dataclasses.asdict(plan)}
    # Of the --restart that it was begun by, if any, also where it went on without one.
    begun = [r for r in session.run.records("plan") if r["phase"] == phase][-1]
    facts |= {"split_digest": data.facts["split_digest"], "restart": begun.get("restart")}
    session.run.finish(phase, classifier, facts, log.history)
    # What the chief has written is what all go on from.
    barrier(session.strategy)
    note_end(session.run, phase)
    best = ""
    if end["validation_accuracy"] is not None:
        at = f"epoch {end['best_epoch']}" if end["best_epoch"] else f"l2 {end['l2']:.2g}"
        best = f", validation {end['validation_accuracy']:.4f} on {end['validation_examples']:,} pictures at {at}"
    session.console.line(f"{phase}  done in {clock(seconds)}{best}")


def note_end(run: RunDir, phase: str) -> None:
    """Records the end of a phase that has ended, unless it is recorded, and removes its checkpoints."""
    kept = [r for r in run.records() if r.get("phase") == phase and r["kind"] in ("plan", "phase_end")]
    done = run.done(phase)
    # A --restart under way has a plan, and what is done is of before.
    if not done or (kept and kept[-1]["kind"] == "plan" and kept[-1].get("restart") != done.get("restart")):
        return
    if kept and kept[-1]["kind"] == "plan":
        run.record("phase_end", phase=phase, **{name: done[name] for name in done if name not in _NO_OUTCOME})
    run.forget(f"{checkpoints.FOLDER}/{phase}")


def _identity(session: Session, data: TrainingData, plan: Plan) -> dict:
    """Everything that decides how a phase trains; how many replicas share the work does not."""
    config = session.config
    shared = dataclasses.asdict(config.model) | {"dataset": data.facts["dataset"], "seed": config.run.seed}
    shared |= {"precision": session.precision, "class_weights": config.data.class_weights}
    return shared | dataclasses.asdict(plan) | {"split of the data": data.facts["split_digest"]}


class _Log:
    """Takes the records of a phase: to the run, the console, the board and the table of its history."""

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


def _told(plan: Plan) -> str:
    if plans.solved(plan.optimizer):
        return f"{plan.feature_views} views, solved by {plan.optimizer}, {plan.regularizer}"
    rate = f"rate {plan.learning_rate:g}, {plan.optimizer}, BatchNorm {plan.bn}"
    return f"{plan.epochs:g} epochs, batch {plan.batch_size}, {rate}"


def _descend(session: Session, phase: str, classifier: Classifier, data: TrainingData, plan: Plan, log, resume) -> dict:
    """Trains in steps; returns how it ended."""
    task, batches, finish = prepare(session, phase, classifier, data, plan)
    config, progress = loop_config(session, plan), session.progress(phase)
    with signals.deferred():
        result = loop.fit(task, batches, config, session.strategy, log, progress, resume)
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
    augmentation = session.modality.augmentation(plan.augment)
    batches = _batches(session, data.train, data.class_weights, plan, augmentation.mix_alpha)
    following = classifier.unfrozen(plan.unfreeze) if phase == "full" else None
    # A function compiled as a whole is differentiated as a whole: frozen stages would cost their backward pass.
    classifier.xla = classifier.xla and not (phase == "full" and plan.unfreeze)
    classifier.set_batchnorm(plan.bn, following, batches.steps(plan.epochs))
    predict = inference.Predictor(classifier.logits, session.strategy, 2 * plan.batch_size)
    task = supervised.classification(
        classifier,
        trained_groups(phase, classifier, plan),
        augmentation,
        plan.label_smoothing,
        plan.regularizer,
        through_backbone=phase != "head" or plan.bn != "frozen",
        validate=supervised.validator(predict, data.validation),
    )
    return task, batches


def _on_features(session: Session, classifier: Classifier, data: TrainingData, plan: Plan):
    """The head on features that the frozen backbone makes once, instead of once an epoch."""
    train, validation = heads.features(session, classifier, data, plan)
    scale = extract.Standardizer(train.inputs)
    train, validation = scale(train), scale(validation) if validation is not None else None
    classifier.head.set_weights(scale.unfold(*classifier.head.get_weights()))
    predict = inference.Predictor(classifier.classify, session.strategy, 4096)
    task = supervised.probe(
        classifier, plan.label_smoothing, plan.regularizer, supervised.validator(predict, validation)
    )
    batches = _batches(session, train, data.class_weights, plan)

    def finish():
        classifier.head.set_weights(scale.fold(*classifier.head.get_weights()))

    return task, batches, finish


def _batches(session: Session, split, class_weights: np.ndarray, plan: Plan, mix_alpha: float = 0.0) -> Batches:
    _check_shares(session, plan)
    return Batches(split, plan.batch_size, session.config.run.seed, class_weights[split.labels], mix_alpha)


def _check_shares(session: Session, plan: Plan) -> None:
    replicas = session.strategy.num_replicas_in_sync
    share = plan.batch_size // replicas
    if plan.batch_size % replicas:
        near = " or ".join(f"{n * replicas}" for n in (share, share + 1) if n)
        raise UserError(
            f"--batch_size={plan.batch_size}: expected a multiple of the {replicas} replicas, such as {near}."
        )
    if plan.accumulate > share:
        raise UserError(
            f"--accumulate={plan.accumulate}: expected at most the {share} examples that a replica has of "
            f"--batch_size={plan.batch_size}."
        )


def loop_config(session: Session, plan: Plan) -> step.LoopConfig:
    """Returns the part of a plan that the loop wants."""
    run = {"seed": session.config.run.seed, "on_nan": session.config.run.on_nan}
    names = [f.name for f in dataclasses.fields(step.LoopConfig) if f.name not in run]
    return step.LoopConfig(**{name: getattr(plan, name) for name in names}, **run)
