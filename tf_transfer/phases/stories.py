"""The story of a run: one short function a phase, read from the top down."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from tf_transfer.assess import assessment
from tf_transfer.config import Training, pick
from tf_transfer.data.training_data import TrainingData
from tf_transfer.errors import LostWorkerError, UserError, one_line
from tf_transfer.evaluation import classification
from tf_transfer.export import targets
from tf_transfer.machine import cluster
from tf_transfer.machine.strategy import barrier, several_hosts
from tf_transfer.models.classifier import Classifier
from tf_transfer.phases import catalogue, evaluate_artefact, export_targets
from tf_transfer.phases import evaluate as scoring
from tf_transfer.phases import export as exporting
from tf_transfer.phases.catalogue import PHASES, TRAINED
from tf_transfer.registry import Registry, unknown_name
from tf_transfer.report import page, plots, summary
from tf_transfer.run.directory import finished_runs
from tf_transfer.session import plan as plans
from tf_transfer.session import train as training
from tf_transfer.session.session import Session
from tf_transfer.training import lr_finder

# What TensorFlow raises where another worker has gone.
_LOST = (
    tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError, tf.errors.CancelledError,
    tf.errors.InternalError,
)  # fmt: skip

# Functions of a Session, by name, of the phases that train nothing; `train` serves those that do.
STORIES = Registry("--phase")


def train(session: Session, name: str) -> None:
    """Trains a phase of the catalogue from what it begins from, unless it is done, and keeps what it left."""
    row = PHASES[name]
    if row.data == catalogue.SOURCE and not session.config.data.source_dataset:
        raise UserError(
            f"--phase={name} trains a source model: say on what with --source_dataset, such as rendered_digits."
        )
    if row.begins in PHASES and not session.run.done(row.begins):
        raise UserError(f"--phase={name} {_not_begun(session, row.begins)}")
    if not _already_done(session, name):
        data = session.datasets.training(session.config.data.source_dataset if row.data == catalogue.SOURCE else None)
        training.train(session, name, _begun(session, name, data), data)
    if row.begins in PHASES:
        _compare(session, name)


def _begun(session: Session, name: str, data: TrainingData) -> Classifier:
    """Builds the classifier that a phase begins with.

    Raises:
        UserError: it goes on from a phase that was trained on other data.
    """
    begins = PHASES[name].begins
    if begins in PHASES:
        classifier = session.trained(begins, data.class_names)
        session.check_unchanged(data, begins)
        return classifier
    return session.pretrained(len(data.class_names), None if begins == catalogue.PRETRAINED else begins)


@STORIES.register("lr_find")
def lr_find(session: Session) -> None:
    """Proposes a learning rate for the next phase: the one that goes on from the last one that is done."""
    phase = _next(session)
    data = session.datasets.training()
    classifier = _begun(session, phase, data)
    facts = session.facts_of(data, classifier)
    plan = session.plan(phase, facts)
    if solved := plans.solved(plan.optimizer):
        # As the head would train if it were given a rate.
        plan = session.plan(phase, facts, optimizer="sgd", regularizer=None)
    ready = training.prepare(session, phase, classifier, data, plan)
    found = lr_finder.find_learning_rate(
        ready.method,
        ready.streams,
        plan,
        session.config.run,
        session.strategy,
        progress=session.progress("lr_find"),
    )
    if solved:
        session.console.note("by default the head is solved and has no rate: this one is for --optimizer=head:sgd.")
    session.run.record("lr_find", phase=phase, **found)
    curve = session.run.write_text(
        "lr_find.svg", plots.rate_search(found["rates"], found["losses"], found["suggestion"])
    )
    session.console.line(
        f"lr_find  --learning_rate={phase}:{found['suggestion']:.2g} is proposed; the curve: {one_line(curve)}"
    )


def _next(session: Session) -> str:
    """Returns the phase that would train next: the furthest one of `--phase=all` whose beginning is there."""
    ready = [name for name in catalogue.ALL if name in catalogue.TRAINED]
    return [n for n in ready if PHASES[n].begins not in PHASES or session.run.done(PHASES[n].begins)][-1]


@STORIES.register("evaluate")
def evaluate(session: Session) -> None:
    """Scores every model of the run, or an artefact, on the test split, which `assess` alone reads beside it."""
    if session.artefact:
        evaluate_artefact.evaluate(session)
    else:
        scoring.evaluate(session)


@STORIES.register("assess")
def assess(session: Session) -> None:
    """Tells how well the network adapts, at what cost, and what to do."""
    assessment.assess(session)


@STORIES.register("export")
def export(session: Session) -> None:
    """Writes the artefacts of the last trained phase and holds each to what was measured of that model."""
    phase = next((p for p in catalogue.exported() if session.run.done(p)), None)
    if phase is None:
        raise UserError(f"--phase=export {_not_begun(session, catalogue.exported()[-1])}")
    exporting.export(session, phase)
    export_targets.export(session, phase)


@STORIES.register("report")
def report(session: Session) -> None:
    """Writes the run's page, `report.html`."""
    records, config = session.run.records(), session.config
    if not any(r.get("kind") in ("phase_end", "assessment") for r in records):
        raise UserError(
            f"--phase=report: nothing has been trained in {one_line(session.run.path)} yet; run --phase=head first."
        )
    html = page.render(records, config.to_dict(), f"{config.data.dataset} \N{EN DASH} {config.model.backbone}")
    found = summary.evaluations(records)
    told = ", ".join(f"{m} {r['metrics']['accuracy']['value']:.3f}" for m, r in found.items())
    told = f": {summary.main_split(records)} accuracy {told}" if found else ""
    session.console.line(f"report  {one_line(session.run.write_text('report.html', html))}{told}")


def run(session: Session, names: Sequence[str]) -> None:
    """Runs phases in the order given.

    Raises:
        UserError: a wrong name, before anything is read or trained; what each phase finds wrong.
    """
    stories = [_story(name) for name in names]
    training.check_specs(session.config)
    for name in set(names) & set(TRAINED):
        plans.check(session.config.training, name, session.modality)
    if "assess" in names:
        assessment.check(session.config)
    if "export" in names:
        targets.parse(session.config.run.export_targets, session.modality)
    if names[1:] and names[0] in TRAINED and PHASES[names[0]].data == catalogue.SOURCE:
        # A wrong target is told now, not when the source model has been trained.
        session.datasets.open(session.config.data.dataset)
    # Workers come together before anything is computed.
    hosts = several_hosts(session.strategy) if cluster.is_multiworker(session.config.run.strategy) else False
    session.phases = names
    for name in TRAINED:
        # A crash may have come between the end of a phase and what follows it.
        training.note_end(session.run, name)
    for story in stories:
        try:
            story(session)
            if hosts:
                # What the chief has written is what the next phase reads.
                barrier(session.strategy)
        except _LOST as e:
            if not hosts:
                raise
            # TensorFlow begins with the operation that waited.
            reason = one_line(e.message.rpartition("}} ")[2].partition("\n")[0], 120)
            raise LostWorkerError(
                f"a worker no longer answers ({reason}). Start all of them again with the same command: the "
                "run goes on from its last checkpoint."
            ) from e
    session.end()


def _story(name: str) -> Callable[[Session], None]:
    """Returns what a phase does, a function of the session.

    Raises:
        UserError: there is no such phase.
    """
    if name not in (*TRAINED, *STORIES.names()):
        raise unknown_name("--phase", name, sorted([*TRAINED, *STORIES.names()]))
    return functools.partial(train, name=name) if name in TRAINED else STORIES.factory(name)


def _compare(session: Session, phase: str) -> None:
    """Warns where a phase validates worse, by more than a standard error, than the one that it began from."""
    done, begins = session.run.done(phase), PHASES[phase].begins
    before, now = session.run.done(begins)["validation_accuracy"], done["validation_accuracy"]
    if before is None or now is None:
        return
    if now < before - classification.standard_error(before, done["validation_examples"]):
        text = (
            f"the whole network validates worse than the {begins} it began from ({now:.3f} against {before:.3f}). With "
            f"few labels, --bn={phase}:frozen, a lower --learning_rate={phase}:... or --unfreeze of the last stage may "
            "do better."
        )
        recorded = session.run.records()
        since = max((i for i, r in enumerate(recorded) if (r["kind"], r.get("phase")) == ("plan", phase)), default=0)
        # A crash may have come between the end of the phase and this.
        if not any(r.get("text") == text for r in recorded[since:]):
            session.run.record("warning", phase=phase, text=text)
            session.console.note(text)


def _already_done(session: Session, phase: str) -> bool:
    """True when the phase has ended here with what is asked for now.

    Raises:
        UserError: it has ended with other options.
    """
    done = session.run.done(phase)
    if not done or session.begins_anew(phase):
        return False
    asked = {f.name: pick(getattr(session.config.training, f.name), phase) for f in dataclasses.fields(Training)}
    asked = {k: v for k, v in asked.items() if k in session.given and v is not None and v != done["plan"].get(k, v)}
    if not plans.on_features(PHASES[phase], {"method": PHASES[phase].method} | done["plan"]):
        # Only a head on a frozen backbone heeds it.
        asked.pop("feature_views", None)
    views = done["plan"]["feature_views"]
    if views and "augment" in asked and _shown(session, asked["augment"], views) == done["plan"]["augment"]:
        # On features made beforehand, the views say what is augmented.
        del asked["augment"]
    if plans.solved(done["plan"]["optimizer"]) and plans.solved(asked.get("optimizer", "lbfgs")):
        asked = {k: v for k, v in asked.items() if k not in (*plans.OF_STEPS, "accumulate")}
    if asked:
        differ = one_line(", ".join(f"--{k} was {done['plan'][k]!r}, now {v!r}" for k, v in asked.items()))
        raise UserError(
            f"--phase={phase} has already ended in {one_line(session.run.path)} with other options ({differ}). "
            "Use another --run_dir, or --restart to train it again."
        )
    session.console.line(f"{phase}  already done in {one_line(session.run.path)} (--restart trains it again)")
    return True


def _shown(session: Session, augment: str, views: int) -> str:
    return session.modality.augmentation(augment).shown(views)


def _not_begun(session: Session, phase: str) -> str:
    """Says that what `phase` leaves is missing, as the rest of a sentence."""
    others = [str(p) for p in finished_runs(session.run.path.parent, phase)][:3]
    hint = f" Runs with a {phase}: {one_line(', '.join(others))}." if others else ""
    return (
        f"goes on from what --phase={phase} left, and {one_line(session.run.path)} has none. "
        f"Run --phase={phase} with the same options first, or give its --run_dir.{hint}"
    )
