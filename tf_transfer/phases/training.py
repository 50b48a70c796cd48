"""The phases that train, by their rows of the catalogue: from what a phase begins with to what it leaves."""

import dataclasses
from collections.abc import Mapping

from tf_transfer.config import Training, pick
from tf_transfer.data.training_data import TrainingData
from tf_transfer.errors import UserError, one_line
from tf_transfer.evaluation import classification, selection
from tf_transfer.models.classifier import Classifier
from tf_transfer.phases import catalogue
from tf_transfer.phases.catalogue import PHASES, Phase
from tf_transfer.run.directory import finished_runs
from tf_transfer.session import plan as plans
from tf_transfer.session import train as fitting
from tf_transfer.session.session import Session


def train(session: Session, name: str) -> None:
    """Trains a phase of the catalogue from where it begins, unless it has ended, and writes its model."""
    row = PHASES[name]
    if row.data == catalogue.SOURCE and not session.config.data.source_dataset:
        raise UserError(
            f"--phase={name} trains a source model: say on what with --source_dataset, such as rendered_digits."
        )
    if row.begins in PHASES and not session.run.done(row.begins):
        raise UserError(f"--phase={name} {not_begun(session, row.begins)}")
    if not _already_done(session, name):
        data = session.datasets.training(_dataset(session, row))
        fitting.train(session, name, begun(session, name, data), data)
    if row.begins in PHASES and PHASES[row.begins].data == row.data:
        warn_if_worse(session, name)


def _dataset(session: Session, row: Phase) -> str | None:
    """Returns the spec of the data set that a phase reads; None for the target."""
    return session.config.data.source_dataset if row.data == catalogue.SOURCE else None


def begun(session: Session, name: str, data: TrainingData) -> Classifier:
    """Builds the classifier with which a phase begins.

    Raises:
        UserError: it begins from a phase that was trained on other data.
    """
    begins = PHASES[name].begins
    if begins in PHASES:
        classifier = session.trained(begins, data.class_names)
        if PHASES[begins].data == PHASES[name].data:
            session.check_unchanged(begins, _dataset(session, PHASES[name]))
        return classifier
    return session.pretrained(len(data.class_names), None if begins == catalogue.PRETRAINED else begins)


def warn_if_worse(session: Session, phase: str) -> None:
    """Warns where a phase validates worse than the phase it began from, by the criterion that chooses between them."""
    done, begins = session.run.done(phase), PHASES[phase].begins
    before, now = session.run.done(begins)["validation_accuracy"], done["validation_accuracy"]
    # On other validation examples, such as of a data set that has grown, accuracies do not compare.
    if before is None or now is None or session.run.done(begins).get("split_digest") != done.get("split_digest"):
        return
    each = [session.run.validated(name) for name in (begins, phase)]
    if all(each) and len(each[0]["right"]) != len(each[1]["right"]):
        # Of the same split, other files were left out as unreadable.
        return
    if all(each):
        worse = selection.lead(each[0]["right"], each[1]["right"]).clear
    else:
        # A phase of version 0.1.0 kept no results of single examples.
        worse = now < before - classification.standard_error(before, done["validation_examples"])
    if worse:
        recorded = session.run.records()
        since = max((i for i, r in enumerate(recorded) if (r["kind"], r.get("phase")) == ("plan", phase)), default=0)
        parameters = recorded[since].get("parameters", {}) if recorded else {}
        text = warning(PHASES[phase], before, now, done["plan"], parameters)
        # After a crash just before this, the same command warns; it must not warn twice.
        if not any(r.get("text") == text for r in recorded[since:]):
            session.run.record("warning", phase=phase, text=text)
            session.console.note(text)


def warning(row: Phase, before: float, now: float, plan: Mapping, parameters: Mapping[str, int]) -> str:
    """Returns the warning that a phase validates worse than the phase it began from, and what may do better.

    Args:
        row: of the phase.
        before: validation accuracy of the phase that it began from.
        now: its own.
        plan: its options.
        parameters: numbers of `trained` and `total` parameters, as far as recorded.
    """
    supervised = plan.get("method", row.method) == plans.SUPERVISED
    most = 2 * parameters.get("trained", 0) > parameters.get("total", 0)
    told = f"validates worse than the {row.begins} it began from ({now:.3f} against {before:.3f})."
    if not row.head_only and (supervised or most):
        return (
            f"the whole network {told} With few labels, --bn={row.name}:frozen, a lower --learning_rate={row.name}:... "
            "or --unfreeze of the last stage may do better."
        )
    rate = f" A lower --learning_rate={row.name}:... may do better." if plan.get("learning_rate") else ""
    return f"{row.name} {told}{rate}"


def _already_done(session: Session, phase: str) -> bool:
    """Says whether the phase has ended in this run with the options of this command.

    Raises:
        UserError: it has ended with other options.
    """
    done = session.run.done(phase)
    if not done or session.begins_anew(phase):
        return False
    # Version 0.1.0 knew no other method than the phase's own.
    plan = {"method": PHASES[phase].method} | done["plan"]
    asked = {f.name: pick(getattr(session.config.training, f.name), phase) for f in dataclasses.fields(Training)}
    asked = {k: v for k, v in asked.items() if k in session.given and v is not None and v != plan.get(k, v)}
    if not plans.on_features(PHASES[phase], plan):
        # Only a head on a frozen backbone uses it.
        asked.pop("feature_views", None)
    views = done["plan"]["feature_views"]
    if views and "augment" in asked and _shown(session, asked["augment"], views) == done["plan"]["augment"]:
        # On features computed beforehand, the views decide the augmentation.
        del asked["augment"]
    if plans.solved(done["plan"]["optimizer"]) and plans.solved(asked.get("optimizer", "lbfgs")):
        asked = {k: v for k, v in asked.items() if k not in (*plans.OF_STEPS, "accumulate")}
    if asked:
        differ = one_line(", ".join(f"--{k} was {plan[k]!r}, now {v!r}" for k, v in asked.items()))
        raise UserError(
            f"--phase={phase} has already ended in {one_line(session.run.path)} with other options ({differ}). "
            "Use another --run_dir, or --restart to train it again."
        )
    session.console.line(f"{phase}  already done in {one_line(session.run.path)} (--restart trains it again)")
    return True


def _shown(session: Session, augment: str, views: int) -> str:
    return session.modality.augmentation(augment).shown(views)


def not_begun(session: Session, phase: str) -> str:
    """Returns the rest of a sentence that says that the model of `phase` is missing."""
    others = [str(p) for p in finished_runs(session.run.path.parent, phase)][:3]
    hint = f" Runs with a {phase}: {one_line(', '.join(others))}." if others else ""
    return (
        f"goes on from what --phase={phase} left, and {one_line(session.run.path)} has none. "
        f"Run --phase={phase} with the same options first, or give its --run_dir.{hint}"
    )
