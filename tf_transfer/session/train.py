"""Trains one phase: from data and a plan to weights in the run directory."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tf_transfer import methods
from tf_transfer.config import Config, Training, pick
from tf_transfer.console import clock
from tf_transfer.data.training_data import TrainingData
from tf_transfer.machine import devices, signals
from tf_transfer.machine.strategy import barrier
from tf_transfer.modalities import backbones, base
from tf_transfer.models.classifier import Classifier
from tf_transfer.phases import catalogue
from tf_transfer.run import checkpoints
from tf_transfer.run.directory import RunDir
from tf_transfer.session import head as heads
from tf_transfer.session import plan as plans
from tf_transfer.session import race
from tf_transfer.session.log import Log
from tf_transfer.session.prepare import check_shares, method, prepare, source_of
from tf_transfer.session.resume import Resume
from tf_transfer.session.session import Session
from tf_transfer.training import loop, optimizers
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


def train(
    session: Session, phase: str, classifier: Classifier, data: TrainingData, statistics: str | None = None
) -> None:
    """Trains one phase from start to end, or from its checkpoint, and writes its model and records.

    Args:
        session: the command.
        phase: the phase.
        classifier: with the weights from which the phase begins.
        data: what trains and validates.
        statistics: policy for the BatchNorm statistics where it is in doubt; None: validation chooses.
    """
    legs = _legs(session, phase, classifier, data, statistics)
    plan = legs[0].plan
    if not plans.solved(plan.optimizer):
        check_shares(session, plan)
    groups = method(session, phase, classifier, data, plan).groups()
    trained = sum(int(np.prod(v.shape)) for group in groups for v in group.variables)
    counts = {"trained": trained, "total": classifier.parameters()}
    session.note_restart()

    def record_plan(leg: race.Leg) -> None:
        values = {"plan": dataclasses.asdict(leg.plan), "parameters": counts, "restart": session.restart_id}
        session.run.record("plan", phase=phase, **values)

    _record_start(session, phase, data, legs, counts, record_plan)
    fit = _solve if plans.solved(plan.optimizer) else _descend
    with devices.PeakMemory() as memory:
        leg, end = fit(session, phase, classifier, data, legs, record_plan)
    # Apart from the facts: arrays have a file of their own.
    each = end.pop("each")
    plan, log, resume = leg.plan, leg.log, leg.resume
    end["peak_bytes"] = memory.bytes
    end["seconds"] = seconds = resume.seconds
    end["validation_examples"] = len(data.validation) if data.validation is not None else 0
    # First, so that at no instant a result stands beside a model it was not made from.
    _remove_outdated(session, phase)
    facts = {**end, "class_names": data.class_names, "plan": dataclasses.asdict(plan)}
    # The --restart that began the phase, also where a command without --restart resumed it.
    begun = [r for r in session.run.records("plan") if r["phase"] == phase][-1]
    facts |= {"split_digest": data.facts["split_digest"], "restart": begun.get("restart")}
    if source := source_of(session, plan):
        facts["source_data"] = {"dataset": source.facts["dataset"], "split_digest": source.facts["split_digest"]}
    session.run.finish(phase, classifier, facts, log.history, each)
    # All workers go on from the files that the chief has written.
    barrier(session.strategy)
    note_end(session.run, phase)
    session.console.line(f"{phase}  done in {clock(seconds)}{_best(end, session.modality.many)}")


def _remove_outdated(session: Session, phase: str) -> None:
    """Removes what stands on the phase's old model, and says so."""
    gone = [name for name in catalogue.outdated(phase) if session.run.forget(name)]
    for name in catalogue.descendants(phase):
        checkpoints.forget(session.run, name)
    if gone:
        session.console.note(
            f"{', '.join(gone)} stood on the old {phase} and went with it; report.html tells of it until "
            "--phase=report writes it anew."
        )


def _best(end: Mapping, many: str) -> str:
    """Returns how the kept model validates, in words; nothing where it does not."""
    if (value := end["validation_accuracy"]) is None:
        value = end.get("validation_value")
    if value is None:
        return ""
    at = f"epoch {end['best_epoch']}" if end["best_epoch"] else f"l2 {end['l2']:.2g}"
    return f", validation {value:.4f} on {end['validation_examples']:,} {many} at {at}"


def _record_start(
    session: Session,
    phase: str,
    data: TrainingData,
    legs: Sequence[race.Leg],
    counts: Mapping[str, int],
    record_plan: Callable[[race.Leg], None],
) -> None:
    """Records that the phase begins, by the plan of the first leg, or that it goes on."""
    say = session.console.line
    if steps := [leg.resume.step for leg in legs if leg.resume.step is not None]:
        session.run.record("resume", phase=phase, step=max(steps), command=session.command)
        say(f"{phase}  goes on from step {max(steps):,}")
        return
    checkpoints.forget(session.run, phase)
    session.run.rewind(phase)
    session.datasets.record(data)
    if source := source_of(session, legs[0].plan):
        session.datasets.record(source)
    session.run.record(
        "start", phase=phase, command=session.command, **devices.facts(session.strategy, session.precision)
    )
    record_plan(legs[0])
    say(f"{phase}  {counts['trained']:,} of {counts['total']:,} parameters train; {_told(legs[0].plan)}")
    for leg in legs[1:]:
        say(f"{phase}  or, as validation chooses, rate {leg.plan.learning_rate:g}, BatchNorm {leg.plan.bn}")


def note_end(run: RunDir, phase: str) -> None:
    """Records the end of a finished phase, unless it is recorded already, and removes its checkpoints."""
    kept = [r for r in run.records() if r.get("phase") == phase and r["kind"] in ("plan", "phase_end")]
    done = run.done(phase)
    # A plan of a current --restart is newer than the finished phase, which is from before it.
    if not done or (kept and kept[-1]["kind"] == "plan" and kept[-1].get("restart") != done.get("restart")):
        return
    if kept and kept[-1]["kind"] == "plan":
        run.record("phase_end", phase=phase, **{name: done[name] for name in done if name not in _NO_OUTCOME})
    checkpoints.forget(run, phase)


def _legs(
    session: Session, phase: str, classifier: Classifier, data: TrainingData, statistics: str | None
) -> list[race.Leg]:
    """Returns the trainings between which validation chooses, as far as they have come; mostly there is one."""
    facts = session.facts_of(data, classifier)
    alone = session.plan(phase, facts)
    chosen = plans.candidates(session.config.training, phase, facts, alone)
    if statistics:
        chosen = tuple(plan for plan in chosen if plan.bn == statistics) or (alone,)
    if not session.restart and checkpoints.begun(session.run, phase):
        # An earlier version began it, whose plan was this one.
        chosen = (alone,)
    names = ["" if chosen == (alone,) else plan.bn for plan in chosen]
    if not session.restart and not any(names):
        race.refuse_others(phase, checkpoints.legs(session.run, phase))
    found = []
    for plan, name in zip(chosen, names, strict=True):
        log = Log(session, phase, name if len(chosen) > 1 else "")
        resume = Resume(session, phase, _identity(session, data, plan), log.history, name)
        found.append(race.Leg(dataclasses.replace(plan, **resume.kept), log, resume))
    return found


def _identity(session: Session, data: TrainingData, plan: Training) -> dict:
    """Returns everything that decides what a phase computes; the number of replicas does not."""
    config = session.config
    shared = dataclasses.asdict(config.model) | {"dataset": data.facts["dataset"], "seed": config.run.seed}
    shared |= {"precision": session.precision, "class_weights": config.data.class_weights}
    if source := source_of(session, plan):
        shared |= {"source of the method": source.facts["dataset"], "split of the source": source.facts["split_digest"]}
    return shared | dataclasses.asdict(plan) | {"split of the data": data.facts["split_digest"]}


def _told(plan: Training) -> str:
    if plans.solved(plan.optimizer):
        return f"{plan.feature_views} views, solved by {plan.optimizer}, {plan.regularizer}"
    rate = f"rate {plan.learning_rate:g}, {plan.optimizer}, BatchNorm {plan.bn}"
    return f"{plan.epochs:g} epochs, batch {plan.batch_size}, {rate}"


def _solve(session: Session, phase: str, classifier: Classifier, data: TrainingData, legs: Sequence[race.Leg], _):
    (leg,) = legs
    return leg, heads.solve(session, phase, classifier, data, leg.plan, leg.log, leg.resume)


def _descend(
    session: Session,
    phase: str,
    classifier: Classifier,
    data: TrainingData,
    legs: Sequence[race.Leg],
    record_plan: Callable[[race.Leg], None],
) -> tuple[race.Leg, dict]:
    """Trains in steps; returns the leg that was chosen, and the facts of the end of the phase."""
    begins, progress = classifier.state_values() if len(legs) > 1 else None, session.progress(phase)
    finish = []

    def make(leg: race.Leg) -> loop.Fit:
        if begins is not None:
            classifier.set_state(begins)
        ready = prepare(session, phase, classifier, data, leg.plan)
        finish[:], leg.set_up = [ready.finish], ready.set_up
        run, strategy, trial = session.config.run, session.strategy, ready.trial
        return loop.Fit(ready.method, ready.streams, leg.plan, run, strategy, leg.log, progress, leg.resume, trial)

    leg, told = legs[0], {}
    if len(legs) == 1:
        # May compute features, which a signal ends at once.
        leg.fit = make(leg)
    with signals.deferred():
        if len(legs) > 1:
            leg, choice = race.choose(session, phase, legs, make, record_plan)
            told = {race.RACE: choice}
        result = leg.fit.run()
    # Of the kept epoch, whose variables are back in place.
    score = leg.fit.method.score()
    finish[0]()
    return leg, {
        "each": score.each if score else {},
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "stopped_early": result.stopped_early,
        "validation_accuracy": result.best.get("accuracy"),
        "validation_loss": result.best.get("loss"),
    } | {f"validation_{name}": value for name, value in result.best.items()} | told
