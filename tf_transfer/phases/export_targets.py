"""The other formats of the export phase, `--export_targets`: each compared with the model, with its own accuracy."""

import uuid
from pathlib import Path

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.export import gate, saved_model, targets, trained
from tf_transfer.models import weights
from tf_transfer.models.inference import Predictor
from tf_transfer.phases.export import LATENCY, SAMPLE, Measured, accuracy, evaluated, recorded, size_of
from tf_transfer.report import model_card, tables
from tf_transfer.run.directory import DONE
from tf_transfer.run.records import encoded
from tf_transfer.session.session import Session

FOLDER = "artefacts"
# Largest number of training examples that calibrate the quantisation of activations.
_CALIBRATION = 300


def export(session: Session, phase: str) -> None:
    """Writes the artefacts of `--export_targets` of a trained phase, after its SavedModel.

    Args:
        session: the command.
        phase: `full` or `head`.

    Raises:
        UserError: an artefact differs from the model that was measured; it is removed, the others stay.
    """
    names = targets.parse(session.config.run.export_targets, session.modality)
    if not names:
        return
    before = session.run.done("saved_model") or {}
    what = {"model": phase, "weights": weights.digest_files(session.run.path / phase)}
    what |= {"pictures": evaluated(session, phase), "calibration": before.get("calibration")}
    wanted = [name for name in names if not _already_done(session, name, what)]
    refused = _make(session, phase, wanted, what) if wanted else []
    if not session.run.writes:
        return
    kept = [name for name in names if name not in refused]
    for name in kept:
        _note(session, name)
    _tell(session, kept)
    if refused:
        raise UserError(
            f"--export_targets: {', '.join(refused)} refused, for the reasons given above; what passed is in "
            f"{one_line(session.run.path / FOLDER)}."
        )


def _already_done(session: Session, name: str, what: dict) -> bool:
    done = session.run.done(f"{FOLDER}/{name}")
    if not done or not what.items() <= done.items() or session.begins_anew(f"{FOLDER}/{name}"):
        return False
    session.console.line(f"export  already done: {one_line(session.run.path / FOLDER / name)}")
    return True


def _make(session: Session, phase: str, names: list[str], what: dict) -> list[str]:
    """Writes artefacts; returns the names of those that the gate refused."""
    session.note_restart()
    session.check_files([phase])
    found = _measured(session, phase, what["pictures"])
    refused = []
    if session.run.writes:
        model = trained.load(
            session.backbone,
            session.input_size,
            session.run.path / phase,
            session.run.done(phase)["class_names"],
            temperature=(what["calibration"] or {}).get("temperature", 1.0),
            examples=lambda: _training_examples(session),
            dropout=session.config.model.dropout,
        )
        exact = session.precision == "float32"
        reference = found.logits if exact else targets.in_batches(model.classifier.logits, found.examples)
        for name in names:
            try:
                with session.run.write_folder(f"{FOLDER}/{name}") as folder:
                    _write(session, name, model, folder, found, reference, what)
            except UserError as e:
                session.console.line(f"export  {name} refused: {e}")
                refused.append(name)
    return refused


def _measured(session: Session, phase: str, fingerprint: str | None) -> Measured:
    if fingerprint is not None:
        return recorded(session, phase, fingerprint)
    use, held, names = session.datasets.sample(SAMPLE)
    classifier = session.trained(phase, names)
    return Measured(use, held.inputs, held.labels, Predictor(classifier.logits, session.strategy, 32)(held.inputs))


def _training_examples(session: Session) -> np.ndarray:
    """Decodes some training examples, evenly spaced over the split, as its classes may follow each other."""
    source, plan = session.datasets.planned(session.config.data.dataset, few_shot=True)
    places = np.linspace(0, len(plan.train) - 1, min(_CALIBRATION, len(plan.train))).round().astype(int)
    stored = source.load("train", plan.train[places], session.input_size).inputs
    return session.modality.resized(stored, session.input_size)


def _write(session: Session, name: str, model, folder: Path, held: Measured, reference: np.ndarray, what: dict) -> None:
    """Writes one artefact into its folder, with the gate's findings.

    Where the model was measured in bfloat16, the gate compares twice: closely with the same weights in float32, and by
    the predicted classes with what was measured.
    """
    told = model.temperature, name, "it is not kept", session.modality.many
    target = targets.TARGET.factory(name)
    target.write(model, folder / target.file)
    size = size_of(folder)
    (folder / "class_names.txt").write_bytes(saved_model.escaped(model.class_names))
    said, parity = targets.check(name, model, folder, held.examples, reference, LATENCY)
    original = (
        parity if session.precision == "float32" else gate.compare(said, held.logits, gate.TOLERANCE["other"], *told)
    )
    done = {
        **what,
        "target": name,
        "path": f"{FOLDER}/{name}/{target.file}",
        "precision": target.arithmetic,
        "image_size": session.input_size,
        "bytes": size,
        "accuracy": accuracy(said.logits, held),
        "parity": parity | {"split": held.split},
        "original": {k: original[k] for k in ("argmax_agreement", "max_probability_difference")}
        | {"accuracy": accuracy(held.logits, held), "precision": session.precision},
        "latency": said.facts["latency"],
        "id": uuid.uuid4().hex[:12],
        "restart": session.restart_id,
    }
    card = model_card.build(session.run.records(), session.config.to_dict(), done, session.command, session.modality)
    card["artefact"] = {"target": name, "file": target.file, "takes": target.takes, "gives": target.gives}
    card["artefact"]["accuracy"] = done["accuracy"]
    (folder / model_card.JSON).write_bytes(encoded(card, indent=1))
    (folder / DONE).write_bytes(encoded(done, indent=1))


def _note(session: Session, name: str) -> None:
    """Records an artefact unless it is recorded: after a crash between the two, a second export records it."""
    done = session.run.done(f"{FOLDER}/{name}")
    if not any(r.get("id") == done["id"] for r in session.run.records("artefact")):
        kept = {k: v for k, v in done.items() if k not in ("weights", "restart", "pictures", "calibration")}
        session.run.record("artefact", phase="export", **kept)


def _tell(session: Session, names: list[str]) -> None:
    found = [session.run.done(f"{FOLDER}/{name}") for name in names]
    if found:
        saved = session.run.done("saved_model")
        for line in tables.artefact_table(tables.artefact_rows(saved, found)).splitlines():
            session.console.line(line)
