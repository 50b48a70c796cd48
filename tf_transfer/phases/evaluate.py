"""The evaluate phase: scores every model of a run on the test split, which it reads once."""

import math
import time
import uuid

import numpy as np

from tf_transfer.data.splits import Split
from tf_transfer.errors import UserError, one_line
from tf_transfer.evaluation import blind_guess, comparison, mcnemar_exact, score, top_losses
from tf_transfer.modalities.base import Modality
from tf_transfer.models.inference import FORWARD, Predictor
from tf_transfer.phases import catalogue, choice
from tf_transfer.report import control, summary, tables
from tf_transfer.run import checkpoints
from tf_transfer.run.records import encoded
from tf_transfer.session.session import Session

_TOP_LOSSES, _SAMPLES = 12, 12


def evaluate(session: Session) -> None:
    """Scores the models that have been trained, writes records and predictions, prints the tables.

    Raises:
        UserError: nothing has been trained, or there is no test split.
    """
    models = [p for p in catalogue.on_target() if session.run.done(p)]
    if not models:
        raise UserError(f"--phase=evaluate: no trained model in {one_line(session.run.path)}; run --phase=head first.")
    for phase in catalogue.exported():
        begun = checkpoints.begun(session.run, phase) or checkpoints.legs(session.run, phase)
        if phase not in models and begun:
            session.console.note(
                f"{phase} was interrupted and is left out; --phase={phase} with the options it began with goes on."
            )
    chosen = choice.decide(session.run, session.config.run.export_phase)
    done = session.run.read_json("evaluate/done.json")
    if done and set(models) <= set(done["models"]) and not session.begins_anew("evaluate"):
        session.console.line("evaluate  already done; the test split is not read again (--restart would)")
        _note(session, done.get("records", []))
    else:
        _evaluate(session, models, chosen)
    _print(session, chosen.model if chosen else models[-1])
    if chosen and chosen.why:
        session.console.line(f"evaluate  what is exported is {choice.told(chosen)}")


def _evaluate(session: Session, models: list[str], chosen: choice.Choice | None) -> None:
    session.note_restart()
    session.check_files(models)
    split, class_names, duplicates, unreadable = session.datasets.test()
    records = session.datasets.warnings(duplicates, unreadable, session.datasets.lent(split))
    copies = session.datasets.copies(split)
    logits = {}
    if (source := _source_logits(session, split, class_names)) is not None:
        logits[catalogue.SOURCE] = source
    for phase in models:
        logits[phase] = _logits(session, phase, split, class_names)
    # Score before writing anything: an output that cannot be scored must not leave a finished evaluation.
    measured = {phase: _measure(values, split, class_names, session.modality) for phase, values in logits.items()}
    if copies.any():
        for phase, found in measured.items():
            correct = session.problem.right(logits[phase], split.labels)
            found["metrics"]["without_copies"] = comparison.without_copies(correct, copies)
    _write_samples(session, split, class_names)
    for phase, found in measured.items():
        records.append({"kind": "evaluation", "model": phase, "split": "test", **found})
    records.append(_blind_guess(session, split, class_names))
    main = chosen and chosen.model
    for other in (m for m in logits if main and m != main):
        correct = [session.problem.right(logits[m], split.labels) for m in (main, other)]
        records.append({"kind": "comparison", "split": "test", "a": main, "b": other, **mcnemar_exact(*correct)})
    # Ids, by which `_note` finds the records that are written already.
    records = [{**record, "id": uuid.uuid4().hex[:12]} for record in records]
    with session.run.write_folder("evaluate") as folder:
        np.savez(folder / "predictions.npz", labels=split.labels, **logits)
        done = {"models": list(logits), "records": records, "restart": session.restart_id}
        done |= {"fingerprint": split.fingerprint, "listing": split.listing}
        (folder / "done.json").write_bytes(encoded(done))
    _note(session, records)


def _note(session: Session, records: list[dict]) -> None:
    """Appends the records of an evaluation that are missing, such as after a crash between writing and recording."""
    there = {r.get("id") for r in session.run.records()}
    for record in records:
        if record["id"] not in there:
            session.run.record(phase="evaluate", **record)


def _measure(logits: np.ndarray, split: Split, class_names: tuple[str, ...], modality: Modality) -> dict:
    begun = time.perf_counter()
    found = {
        "metrics": score(logits, split.labels, class_names),
        "top_losses": _top_losses(logits, split, class_names, modality),
    }
    return {**found, "seconds": time.perf_counter() - begun}


def _logits(session: Session, phase: str, split: Split, class_names: tuple[str, ...]) -> np.ndarray:
    classifier = session.trained(phase, class_names)
    size = session.rows_at_once()
    trial = classifier.trial(FORWARD, math.ceil(len(split) / size), size)
    predict = Predictor(classifier.logits, session.strategy, size, trial)
    return predict(split.inputs, session.progress(f"evaluate {phase}"))


def _source_logits(session: Session, split: Split, class_names: tuple[str, ...]) -> np.ndarray | None:
    """Returns the source model's logits, if it knows the target's classes by the same names."""
    folder = session.source_folder()
    done = session.run.read_json(str((folder / "done.json").resolve())) if folder else None
    if not done or tuple(done["class_names"]) != class_names:
        return None
    classifier = session.pretrained(len(class_names), source="random")
    classifier.load(folder)
    return Predictor(classifier.logits, session.strategy, 128)(split.inputs, session.progress("evaluate source"))


def _blind_guess(session: Session, split: Split, class_names: tuple[str, ...]) -> dict:
    """Returns the record of the control without a model, see `evaluation.blind_guess`."""
    found = blind_guess(session.datasets.class_counts(), split.labels)
    return {"kind": control.KIND, "split": "test", "class": class_names[found["label"]], "metrics": found["metrics"]}


def _top_losses(logits: np.ndarray, split: Split, class_names: tuple[str, ...], modality: Modality) -> list[dict]:
    """Returns the mistakes on the test examples with the largest losses, each with a preview."""
    return [
        {
            "name": one_line(split.names[worst.index]),
            "label": class_names[worst.label],
            "predicted": class_names[worst.predicted],
            "probability": worst.probability,
            "loss": worst.loss,
            **modality.show(split.inputs[worst.index]),
        }
        for worst in top_losses(logits, split.labels, _TOP_LOSSES)
    ]


def _write_samples(session: Session, split: Split, class_names: tuple[str, ...]) -> None:
    """Writes a few test examples as files, for a first `--phase=predict`."""
    rows = np.random.default_rng(session.config.run.seed).choice(len(split), min(_SAMPLES, len(split)), replace=False)
    with session.run.write_folder("samples") as folder:
        for number, row in enumerate(sorted(rows)):
            label = "".join(c if c.isalnum() else "_" for c in class_names[split.labels[row]])[:40]
            ending, content = session.modality.sample(split.inputs[row])
            (folder / f"{number:02d}_{label}{ending}").write_bytes(content)


def _print(session: Session, detailed: str) -> None:
    records = session.run.records()
    leading, (blind, evaluation) = summary.leading(records), summary.beside_headline(records)
    session.console.line(tables.format_table(tables.comparison_table(records), leading))
    if control.beside(blind, evaluation):
        uneven = leading == control.BALANCED and session.config.data.class_weights == "none"
        remedy = " --class_weights=adjusted trains for that." if uneven else ""
        session.console.line(f"evaluate  {control.told(blind, leading)}{remedy}")
    for model, evaluation in summary.evaluations(records).items():
        if told := tables.copies(evaluation["metrics"], session.modality.many):
            session.console.note(f"{model}: {told}")
    latest = [r for r in records if r["kind"] == "evaluation" and r["model"] == detailed]
    if latest:
        session.console.line(f"\n{detailed}, by class")
        session.console.line(tables.metrics_table(latest[-1]["metrics"]))
