"""Train and validation splits of a data set, with class weights and facts for the record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tf_transfer.data import splits
from tf_transfer.errors import one_line


@dataclass(frozen=True)
class TrainingData:
    """The data on which a phase trains and validates.

    Attributes:
        train, validation: splits; validation is None where the label budget is too small for one.
        class_names: the classes.
        class_weights: float32 `[C]`.
        facts: for the record: data set, sizes, digest of the split, and `notes`, texts by kind.
        digests: `{digest of an example: (split, name)}`, to find duplicates in the test split.
        contents: digests of the files of every split with a name each, `{split: {digest: name}}`, by which later phases
            see what has moved; empty where the examples are no files.
        class_offsets: float32 `[C]`, added to the logits in the loss, see `splits.class_offsets`; None: nothing is.
    """

    train: splits.Split
    validation: splits.Split | None
    class_names: tuple[str, ...]
    class_weights: np.ndarray
    facts: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[bytes, tuple[str, str]] = field(default_factory=dict)
    class_offsets: np.ndarray | None = None
    contents: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def plan_training(
    source: splits.Source,
    validation_fraction: float,
    seed: int,
    per_class: int | None,
    split: Callable[..., splits.SplitPlan] = splits.plan_splits,
) -> splits.SplitPlan:
    """Plans which examples train and which validate.

    A validation split that the data set brings is used, except under a label budget: the budget counts every label
    that training uses, so validation is taken out of it.

    Args:
        source: the data set.
        validation_fraction: see `splits.plan_splits`.
        seed: the same.
        per_class: the same.
        split: the problem's way to split, which takes the arguments of `splits.plan_splits`.
    """
    own = "validation" in source.splits and per_class is None
    names = source.class_names
    keys = source.keys("train") if hasattr(source, "keys") else None
    return split(source.labels("train"), len(names), validation_fraction, seed, per_class, own, names, keys)


def untested(source: splits.Source, plan: splits.SplitPlan) -> list[str]:
    """Returns notes on the classes that will not be validated or tested, for want of examples.

    Only of files, whose labels are known without reading a test split.
    """
    if not hasattr(source, "carve"):
        return []
    split, rows = validating(source, plan)
    notes = []
    for verb, labels in (("tested", source.labels("test")), ("validated", source.labels(split)[rows])):
        there = set(labels.tolist())
        names = [name for i, name in enumerate(source.class_names) if i not in there]
        told = f"{len(names)} of {len(source.class_names)} classes are never {verb}: {', '.join(names[:10])}"
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        if names:
            notes.append(
                f"{one_line(told, 400)}{more}. Add to them: it takes 2 different files of that class to be tested and "
                "3 to be validated too, or as many groups."
            )
    return notes


def contents_of(source: splits.Source, plan: splits.SplitPlan) -> dict[str, dict[str, str]]:
    """Returns the digests of the files of every split with a name each, `{split: {digest: name}}`; {} without files."""
    if getattr(source, "carve", 1) == 1:
        return {}
    found = {"train": source.contents("train", plan.train), "validation": source.contents(*validating(source, plan))}
    return found | {"test": source.contents("test")}


def load_training(
    source: splits.Source, name: str, plan: splits.SplitPlan, class_weights: str, size: int, tested: bool = False
) -> TrainingData:
    """Decodes the examples of a plan.

    Args:
        source: the data set.
        name: as the user wrote it.
        plan: result of `plan_training`.
        class_weights: `none`, `balanced` or `adjusted`, see `splits.class_weights` and `splits.class_offsets`.
        size: input size of the network.
        tested: the data set is the target, so that what will not be tested is noted.
    """
    train = source.load("train", plan.train, size)
    split, rows = validating(source, plan)
    validation = source.load(split, rows, size) if len(rows) else None
    parts = {"train": train} | ({"validation": validation} if validation is not None else {})
    seen: dict[bytes, tuple[str, str]] = {}
    duplicates = splits.find_duplicates(parts, seen)
    conflicts = splits.find_conflicts(parts, source.class_names)
    found = {"duplicates": duplicates, "conflicts": conflicts, "untested": untested(source, plan) if tested else []}
    notes = {**source.notes} | {kind: texts for kind, texts in found.items() if texts}
    facts = {
        "dataset": one_line(name),
        "class_names": list(source.class_names),
        "splits": {part: len(split) for part, split in parts.items()},
        "split_digest": plan.facts["digest"],
        "stored_size": list(train.inputs.shape[1:3]),
        "notes": {kind: [one_line(text, 600) for text in texts] for kind, texts in notes.items()},
    }
    if contents := contents_of(source, plan):
        facts["carve"] = source.carve
    if train.keys and train.keys.groups:
        facts["groups"] = {part: len({*split.keys.groups}) for part, split in parts.items()}
    weights, offsets = (
        of(train.labels, len(source.class_names), class_weights) for of in (splits.class_weights, splits.class_offsets)
    )
    return TrainingData(train, validation, tuple(source.class_names), weights, facts, seen, offsets, contents)


def load_sample(source: splits.Source, plan: splits.SplitPlan, count: int, size: int) -> tuple[str, splits.Split]:
    """Decodes `count` validation examples, or training examples where there are none, evenly spaced.

    Evenly spaced, as the first examples of a folder are all of one class.

    Returns:
        `validation` or `train`, the use of the examples, and the examples.
    """
    split, rows = validating(source, plan)
    use, split, rows = ("validation", split, rows) if len(rows) else ("train", "train", plan.train)
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return use, source.load(split, rows[places], size)


def validating(source: splits.Source, plan: splits.SplitPlan) -> tuple[str, np.ndarray]:
    """Returns the split of the source that validates, and the indices of its validation examples."""
    if plan.validation is None:
        return "validation", np.arange(len(source.labels("validation")))
    return "train", plan.validation
