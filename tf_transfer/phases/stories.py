"""The story of a run: one short function a phase, read from the top down."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tf_transfer.assess import assessment
from tf_transfer.config import TRAINING_PHASES, Training, pick
from tf_transfer.errors import LostWorkerError, UserError, one_line
from tf_transfer.evaluation import classification
from tf_transfer.export import targets
from tf_transfer.machine import cluster
from tf_transfer.machine.strategy import barrier, several_hosts
from tf_transfer.phases import evaluate as scoring
from tf_transfer.phases import evaluate_artefact, export_targets
from tf_transfer.phases import export as exporting
from tf_transfer.registry import Registry
from tf_transfer.report import page, plots, summary
from tf_transfer.run.directory import finished_runs
from tf_transfer.session import plan as plans
from tf_transfer.session import train as fitting
from tf_transfer.session.session import Session
from tf_transfer.training import lr_finder

# What TensorFlow raises where another worker has gone.
_LOST = (
    tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError, tf.errors.CancelledError,
    tf.errors.InternalError,
)  # fmt: skip

# Functions of a Session by the name `--phase` gives them.
PHASES = Registry("--phase")


@PHASES.register("source")
def source(session: Session) -> None:
    """Trains a source model from random weights on `--source_dataset`."""
    dataset = session.config.data.source_dataset
    if not dataset:
        raise UserError(
            "--phase=source trains a source model: say on what with --source_dataset, such as rendered_digits."
        )
    if not _already_done(session, "source"):
        data = session.datasets.training(dataset)
        classifier = session.pretrained(len(data.class_names), source="random")
        fitting.train(session, "source", classifier, data)


@PHASES.register("head")
def head(session: Session) -> None:
    """Trains a new head on the frozen pretrained backbone."""
    if not _already_done(session, "head"):
        data = session.datasets.training()
        fitting.train(session, "head", session.pretrained(len(data.class_names)), data)


@PHASES.register("full")
def full(session: Session) -> None:
    """Unfreezes the network, or the part `--unfreeze` names, and goes on from what `head` left."""
    if not session.run.done("head"):
        raise UserError(f"--phase=full {_no_head(session)}")
    if not _already_done(session, "full"):
        data = session.datasets.training()
        classifier = session.trained("head", data.class_names)
        session.check_unchanged(data, "head")
        fitting.train(session, "full", classifier, data)
    _compare_with_head(session)


@PHASES.register("scratch")
def scratch(session: Session) -> None:
    """The control: the same network from random weights on the same labels."""
    if not _already_done(session, "scratch"):
        data = session.datasets.training()
        fitting.train(session, "scratch", session.pretrained(len(data.class_names), source="random"), data)


@PHASES.register("lr_find")
def lr_find(session: Session) -> None:
    """Proposes a learning rate for the next phase: full where a head is there, else the head."""
    phase = "full" if session.run.done("head") else "head"
    data = session.datasets.training()
    names = data.class_names
    classifier = session.trained("head", names) if phase == "full" else session.pretrained(len(names))
    plan = session.plan(phase, data, classifier)
    if solved := plans.solved(plan.optimizer):
        # As the head would train if it were given a rate.
        plan = session.plan(phase, data, classifier, optimizer="sgd", regularizer=None)
    task, batches, _ = fitting.prepare(session, phase, classifier, data, plan)
    found = lr_finder.find_learning_rate(
        task, batches, fitting.loop_config(session, plan), session.strategy, progress=session.progress("lr_find")
    )
    if solved:
        session.console.note("by default the head is solved and has no rate: this one is for --optimizer=head:sgd.")
    session.run.record("lr_find", phase=phase, **found)
    picture = session.run.write_text(
        "lr_find.svg", plots.rate_search(found["rates"], found["losses"], found["suggestion"])
    )
    session.console.line(
        f"lr_find  --learning_rate={phase}:{found['suggestion']:.2g} is proposed; the curve: {one_line(picture)}"
    )


@PHASES.register("evaluate")
def evaluate(session: Session) -> None:
    """Scores every model of the run, or an artefact, on the test split, which `assess` alone reads beside it."""
    if session.artefact:
        evaluate_artefact.evaluate(session)
    else:
        scoring.evaluate(session)


@PHASES.register("assess")
def assess(session: Session) -> None:
    """Tells how well the network adapts, at what cost, and what to do."""
    assessment.assess(session)


@PHASES.register("export")
def export(session: Session) -> None:
    """Writes the artefacts of the last trained phase and holds each to what was measured of that model."""
    phase = next((p for p in ("full", "head") if session.run.done(p)), None)
    if phase is None:
        raise UserError(f"--phase=export {_no_head(session)}")
    exporting.export(session, phase)
    export_targets.export(session, phase)


@PHASES.register("report")
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
    stories = [PHASES.factory(name) for name in names]
    fitting.check_specs(session.config)
    for name in set(names) & set(TRAINING_PHASES):
        plans.check(session.config.training, name, session.modality)
    if "assess" in names:
        assessment.check(session.config)
    if "export" in names:
        targets.parse(session.config.run.export_targets, session.modality)
    if names[:1] == ["source"] and names[1:]:
        # A wrong target is told now, not when the source model has been trained.
        session.datasets.open(session.config.data.dataset)
    # Workers come together before anything is computed.
    hosts = several_hosts(session.strategy) if cluster.is_multiworker(session.config.run.strategy) else False
    session.phases = names
    for name in TRAINING_PHASES:
        # A crash may have come between the end of a phase and what follows it.
        fitting.note_end(session.run, name)
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


def _compare_with_head(session: Session) -> None:
    done = session.run.done("full")
    head, full = session.run.done("head")["validation_accuracy"], done["validation_accuracy"]
    if head is None or full is None:
        return
    if full < head - classification.standard_error(head, done["validation_examples"]):
        text = (
            f"the whole network validates worse than the head it began from ({full:.3f} against {head:.3f}). With few "
            "labels, --bn=full:frozen, a lower --learning_rate=full:... or --unfreeze of the last stage may do better."
        )
        recorded = session.run.records()
        since = max((i for i, r in enumerate(recorded) if (r["kind"], r.get("phase")) == ("plan", "full")), default=0)
        # A crash may have come between the end of the phase and this.
        if not any(r.get("text") == text for r in recorded[since:]):
            session.run.record("warning", phase="full", text=text)
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
    if phase != "head" or done["plan"]["bn"] != "frozen":
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


def _no_head(session: Session) -> str:
    others = [str(p) for p in finished_runs(session.run.path.parent, "head")][:3]
    hint = f" Runs with a head: {one_line(', '.join(others))}." if others else ""
    return (
        f"goes on from what --phase=head left, and {one_line(session.run.path)} has none. "
        f"Run --phase=head with the same options first, or give its --run_dir.{hint}"
    )
