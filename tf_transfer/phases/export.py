"""The export phase: writes the SavedModel of a trained model, and keeps it if it equals what was measured."""

import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.evaluation import right
from tf_transfer.evaluation.calibration import limit_of, temperature, temperature_interval
from tf_transfer.evaluation.statistics import wilson_interval
from tf_transfer.export import gate, saved_model
from tf_transfer.models import weights
from tf_transfer.models.classifier import Classifier
from tf_transfer.models.inference import Predictor
from tf_transfer.report import model_card
from tf_transfer.run import atomic
from tf_transfer.run.directory import DONE
from tf_transfer.run.records import encoded
from tf_transfer.session.session import Session

# Largest and smallest number of validation examples on which a temperature is fitted.
_MOST, _FEWEST = 5000, 20
# With many classes it is fitted on fewer: on as many as have this many logits, but on `_LEAST` in any case.
_LOGITS, _LEAST = 1 << 21, 300
# Number of examples on which artefacts are compared where the test split has not been evaluated.
SAMPLE = 256
# Batch sizes whose latency is measured.
LATENCY = (1, 32)


@dataclass(frozen=True)
class Measured:
    """The trained model's answers, with which its artefacts are compared.

    Attributes:
        split: `test` as recorded by evaluate, else `validation` or `train`.
        examples: stored ones, `[N, ...]`.
        labels: int `[N]`.
        logits: float32 `[N, C]` of the trained model.
    """

    split: str
    examples: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


def export(session: Session, phase: str) -> None:
    """Writes the SavedModel of a trained phase and compares it with the recorded predictions.

    Args:
        session: the command.
        phase: `full` or `head`.

    Raises:
        UserError: the artefact differs from the model that was measured; it is removed.
    """
    precision = session.config.run.export_precision or session.precision
    what = {"model": phase, "precision": precision, "weights": weights.digest_files(session.run.path / phase)}
    what["pictures"] = evaluated(session, phase)
    done = session.run.done("saved_model")
    if done and what.items() <= done.items() and not session.begins_anew("saved_model"):
        session.console.line(f"export  already done: {one_line(session.run.path)}/saved_model/1 is the {phase} model")
    else:
        done = _export(session, phase, what)
    # After a crash between writing and recording, record it now.
    if (session.run.records("export") or [{}])[-1].get("id") != done["id"]:
        kept = {k: v for k, v in done.items() if k not in ("weights", "restart", "pictures")}
        session.run.record("export", phase="export", **kept)


def evaluated(session: Session, phase: str) -> str | None:
    """Returns the digest of the test examples that the phase was evaluated on; None where it was not."""
    done = session.run.done("evaluate") or {}
    return session.run.evaluated_on() if phase in done.get("models", ()) else None


def _export(session: Session, phase: str, what: dict) -> dict:
    """Writes the SavedModel of a phase; returns its record."""
    session.note_restart()
    session.check_files([phase])
    use, held, class_names = session.datasets.sample(_MOST)
    classifier = session.trained(phase, class_names)
    logits = Predictor(classifier.logits, session.strategy, 32)(held.inputs, session.progress("export validation"))
    if use == "validation" and len(held) >= _FEWEST and not right(logits, held.labels).all():
        calibration = calibrate(session, logits, held.labels)
    else:
        calibration = {"temperature": 1.0, "n": 0}
        session.console.note(
            f"fewer than {_FEWEST} validation {session.modality.many}, or all of them right, by which any sharper "
            "temperature looks better: the exported probabilities are not calibrated (temperature 1)."
        )
    measured = recorded(session, phase, what["pictures"], Measured(use, held.inputs, held.labels, logits))
    if (precision := what["precision"]) != session.precision:
        classifier = session.trained(phase, class_names, precision)
    done = {**what, "path": "saved_model/1", "calibration": calibration, "id": uuid.uuid4().hex[:12]}
    done["image_size"] = session.input_size
    with session.run.write_folder("saved_model") as folder:
        if session.run.writes:
            atomic.reserve(folder, 4 * classifier.parameters())
            done |= _write(session, classifier, class_names, folder / "1", measured, done)
            done["bytes"] = size_of(folder)
            done["restart"] = session.restart_id
            (folder / DONE).write_bytes(encoded(done))
            _write_card(session, done, folder / "1")
    _tell(session, done)
    return done


def calibrate(session: Session, logits: np.ndarray, labels: np.ndarray) -> dict:
    """Fits the temperature with its interval on validation examples, in bounded time; notes where it ends at a limit.

    Args:
        session: the command.
        logits: float `[N, C]`.
        labels: int `[N]`.

    Returns:
        `temperature`, `low`, `high`, `n`, `split`, and where it ended at a limit `limit`.
    """
    most = max(_LEAST, _LOGITS // logits.shape[1])
    if len(labels) > most:
        rows = np.linspace(0, len(labels) - 1, most).round().astype(int)
        logits, labels = logits[rows], labels[rows]
    shown = session.progress("export")
    value = temperature(logits, labels, shown)
    low, high = temperature_interval(logits, labels, value, shown)
    found = {"temperature": value, "low": low, "high": high, "n": len(labels), "split": "validation"}
    if (limit := limit_of(value)) is not None:
        found["limit"] = limit
        session.console.note(
            f"the temperature ends at its limit, {limit:g}: on {len(labels):,} validation {session.modality.many} a "
            f"{'larger' if limit > 1 else 'smaller'} one would fit better still. Do not rely on the exported "
            "probabilities; the predicted classes are not concerned."
        )
    return found


def recorded(session: Session, phase: str, fingerprint: str | None, other: Measured | None = None) -> Measured:
    """Returns the recorded predictions on the test split; without any, predictions on other examples.

    Args:
        session: the command.
        phase: the exported phase.
        fingerprint: of `evaluated`.
        other: some examples, where `fingerprint` is None.

    Raises:
        UserError: the test examples have changed since they were evaluated.
    """
    if fingerprint is None:
        session.console.note(
            f"not evaluated yet: the export is held to {min(len(other.labels), SAMPLE)} {other.split} "
            f"{session.modality.many}; --phase=evaluate,export holds it to the test split."
        )
        return Measured(other.split, other.examples[:SAMPLE], other.labels[:SAMPLE], other.logits[:SAMPLE])
    split = session.datasets.test_examples()
    if split.fingerprint != fingerprint:
        raise UserError(
            f"--dataset={one_line(session.config.data.dataset)!r}: the test {session.modality.many} have changed since "
            "--phase=evaluate; put them back, or evaluate again with --phase=evaluate,export --restart."
        )
    with np.load(session.run.path / "evaluate" / "predictions.npz") as recorded:
        return Measured("test", split.inputs, split.labels, recorded[phase])


def _write(session, classifier: Classifier, class_names, folder: Path, measured: Measured, done: dict) -> dict:
    """Writes the SavedModel and compares it with what was measured; returns the gate's findings.

    Where the export has another precision than the measurement, the gate compares twice: closely with the same weights
    in the export's precision, and by the predicted classes with what was measured.
    """
    # The card is written again after the gate, with the figures that the gate measures on this artefact.
    assets = {"config.json": encoded(session.config.to_dict(), indent=1)}
    assets |= dict.fromkeys((model_card.JSON, model_card.MARKDOWN), b"")
    warm = done["calibration"]["temperature"]
    modality = session.modality
    signatures = saved_model.write(classifier, modality, class_names, folder, warm, assets)
    found = gate.answers(folder, measured.examples, LATENCY, modality.probe if modality.endings else None)
    held_to, expected, original = gate.TOLERANCE[done["precision"]], measured.logits, {}
    if done["precision"] != session.precision:
        original = {"original": gate.compare(found, expected, gate.TOLERANCE["other"], warm, many=modality.many)}
        expected = Predictor(classifier.logits, session.strategy, 32)(measured.examples)
    parity = gate.compare(found, expected, held_to, warm, many=modality.many) | {"split": measured.split} | original
    facts = {"parity": parity, "accuracy": accuracy(found.logits, measured)}
    if modality.endings:
        facts["bytes_parity"] = by_bytes = found.facts["bytes"]
        if not (by_bytes["rows_independent"] and by_bytes["max_probability_difference"] <= held_to.probability):
            raise UserError(
                f"The exported model answers {modality.one} files otherwise than {modality.many} ({by_bytes}); nothing "
                "was exported."
            )
    return {"signatures": signatures, **facts, "latency": found.facts["latency"]}


def accuracy(logits: np.ndarray, held: Measured) -> dict:
    """Returns the accuracy with its Wilson interval, `n` and `split`."""
    correct = right(logits, held.labels)
    low, high = wilson_interval(correct.sum(), len(correct))
    return {"value": float(correct.mean()), "low": low, "high": high, "n": len(correct), "split": held.split}


def _write_card(session: Session, done: dict, folder: Path) -> None:
    card = model_card.build(session.run.records(), session.config.to_dict(), done, session.command, session.modality)
    told = {
        model_card.JSON: encoded(card, indent=1),
        model_card.MARKDOWN: model_card.markdown(card).encode("utf-8", "backslashreplace"),
    }
    for name, content in told.items():
        (folder / "assets" / name).write_bytes(content)


def size_of(path: Path) -> int:
    """Returns the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file())


def _tell(session: Session, done: dict) -> None:
    if not session.run.writes:
        return
    path, parity = session.run.path / done["path"], done["parity"]
    other = parity.get("original")
    what = f"the same weights in {done['precision']}" if other else "what was measured"
    session.console.line(
        f"export  {one_line(path)} ({done['bytes'] / 1e6:.1f} MB, the {done['model']} model): in a process of its "
        f"own it equals {what} on {parity['n']:,} {parity['split']} {session.modality.many}, probabilities within "
        f"{parity['max_probability_difference']:.1g}; temperature {done['calibration']['temperature']:.2f}"
    )
    if other:
        session.console.line(
            f"export  what was measured was computed in {session.precision}: it names the same class on "
            f"{other['argmax_agreement']:.2%}, probabilities within {other['max_probability_difference']:.1g}; right "
            f"on {done['accuracy']['value']:.1%}"
        )
