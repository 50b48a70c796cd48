"""Scores an exported artefact, ours or not, on the test split of a data set by the same metrics as any model."""

import functools
import os
from pathlib import Path

import numpy as np

from tf_transfer.data.splits import Split
from tf_transfer.errors import UserError, one_line
from tf_transfer.evaluation import comparison, mcnemar_exact, right, score
from tf_transfer.export import gate, runners, targets
from tf_transfer.phases import catalogue
from tf_transfer.report import tables
from tf_transfer.serving import locate
from tf_transfer.serving.saved_model import card_entry, card_of
from tf_transfer.session.session import Session


def evaluate(session: Session) -> dict:
    """Runs the artefact in a process of its own over the test split, scores and prints what it answers.

    In the run directory of a run, records the result and paired tests against the models that were evaluated on the
    same examples.

    Args:
        session: the command; `session.artefact` is a SavedModel, a run directory, a folder of `--export_targets`, or
            the `.keras`, `.h5`, `.tflite` or `.onnx` file in it.

    Returns:
        The record.

    Raises:
        UserError: there is no artefact, or it answers no classes or others than the data set's.
    """
    path = _found(Path(os.path.expanduser(session.artefact)))
    about = gate.probe(path)
    size = _size(session, about["shape"])
    recorded = session.run.config() is not None
    session.check_files([phase for phase in catalogue.on_target() if session.run.done(phase)])
    split = session.datasets.test()[0] if recorded else session.datasets.test_examples()
    names = tuple(session.datasets.open(session.config.data.dataset).class_names)
    columns = _columns(session, path, about["class_names"], names)
    fit = functools.partial(session.modality.resized, size=size) if size else np.asarray
    found = gate.answers(path, _seen(session, path, split, size).inputs, fit=fit)
    if not {"logits", "probabilities"} & set(found.arrays):
        raise UserError(f"--saved_model={one_line(path)!r} answers features and no classes: nothing can be scored.")
    if found.logits.shape[1] != len(names):
        raise UserError(
            f"--saved_model={one_line(path)!r} answers {found.logits.shape[1]} classes, but "
            f"--dataset={one_line(session.config.data.dataset)!r} has {len(names)}."
        )
    logits = found.logits[:, columns]
    record = {"artefact": one_line(path), "split": "test", "metrics": score(logits, split.labels, names)}
    if recorded and (copies := session.datasets.copies(split)).any():
        record["metrics"]["without_copies"] = comparison.without_copies(right(logits, split.labels), copies)
    record["comparisons"] = _comparisons(session, split.fingerprint, logits, split.labels)
    if not recorded and "run_dir" in session.given:
        session.console.note(f"no run in {one_line(session.run.path)}: the figures are shown, and not recorded.")
    if recorded:
        session.run.record("artefact_evaluation", phase="evaluate", **record)
    _tell(session, record)
    return record


def _found(given: Path) -> Path:
    """Returns the file of an artefact, given itself or its folder in `artefacts/`; or the folder of a SavedModel."""
    if os.path.isfile(given) and given.suffix in runners.RUNNERS:
        return given
    files = {targets.TARGET.factory(name).file for name in targets.TARGET.names()}
    there = [given / file for file in files if os.path.isfile(given / file)]
    return there[0] if len(there) == 1 else locate(given)


def _columns(session: Session, path: Path, theirs: list[str], names: tuple[str, ...]) -> list[int]:
    """Returns, for each class of the data set, the index of its output of the artefact."""
    if not theirs:
        session.console.note(
            "the artefact does not name its classes, which are taken in the order of the data set's, and is given "
            f"{session.modality.raw}."
        )
        return list(range(len(names)))
    if set(theirs) != set(names):
        differ = one_line(", ".join(sorted(set(theirs) ^ set(names))), 200)
        raise UserError(
            f"--saved_model={one_line(path)!r} knows other classes than "
            f"--dataset={one_line(session.config.data.dataset)!r}; what differs: {differ}."
        )
    return [theirs.index(name) for name in names]


def _size(session: Session, shape: list[int | None] | None) -> int | None:
    """Returns the input size of an artefact that takes examples of one shape; None where it takes any.

    Raises:
        UserError: no input size gives that shape.
    """

    def fits(size: int) -> bool:
        example = session.modality.random(1, size).shape[1:]
        return len(example) == len(shape) and all(side in (None, n) for side, n in zip(shape, example, strict=True))

    # Two sizes fit: the sides that are fixed do not depend on the size.
    if shape is None or (fits(session.input_size) and fits(session.input_size + 1)):
        return None
    for size in filter(None, shape):
        if fits(size):
            return size
    told = " x ".join("any" if side is None else str(side) for side in shape)
    raise UserError(f"the artefact takes inputs of {told}; expected the shape of {session.modality.many}, or any size.")


def _seen(session: Session, path: Path, split: Split, side: int | None) -> Split:
    """Returns the examples stored at the artefact's size, as it sees files, not resized from the run's size."""
    told = card_entry(card_of(path), "model").get("image_size")
    size = side or (told if type(told) is int and told > 0 else session.input_size)
    return split if size == session.input_size else session.datasets.test_examples(size)


def _comparisons(session: Session, fingerprint: str, logits: np.ndarray, labels: np.ndarray) -> list[dict]:
    """Returns the exact McNemar test against each recorded model on the same examples, and how often they agree."""
    done = session.run.done("evaluate") or {}
    if session.run.evaluated_on() != fingerprint:
        return []
    found = []
    with np.load(session.run.path / "evaluate" / "predictions.npz") as recorded:
        for model in (m for m in done["models"] if m in recorded):
            theirs = recorded[model]
            agreement = {"model": model, "agreement": float(right(logits, theirs.argmax(-1)).mean())}
            found.append(agreement | mcnemar_exact(right(logits, labels), right(theirs, labels)))
    return found


def _tell(session: Session, record: dict) -> None:
    metrics = record["metrics"]
    told = ", ".join(
        f"{name} {metrics[name]['value']:.3f} ({metrics[name]['low']:.3f} to {metrics[name]['high']:.3f})"
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll", "brier", "ece")
    )
    session.console.line(tables.metrics_table(metrics))
    session.console.line(f"evaluate  {record['artefact']}: {told} on {metrics['n']:,} test {session.modality.many}")
    if told := tables.copies(metrics, session.modality.many):
        session.console.note(told)
    for c in record["comparisons"]:
        session.console.line(
            f"evaluate  names the same class as {c['model']} on {100 * c['agreement']:.2f} %; right where it alone is: "
            f"{c['only_a']}, and the other way: {c['only_b']} (McNemar p {c['p_value']:.2g})"
        )
