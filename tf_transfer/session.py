"""What the phases of one command share: the run, its strategy, its data and its models."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from tf_transfer import defaults, runtime
from tf_transfer.config import Config
from tf_transfer.console import Console
from tf_transfer.data import splits
from tf_transfer.data.sources import open_source
from tf_transfer.errors import UserError, one_line
from tf_transfer.models import backbones, batchnorm, weights
from tf_transfer.models.classifier import Classifier
from tf_transfer.run_dir import RunDir


@dataclass(frozen=True)
class TrainingData:
    """The training side of a data set.

    Attributes:
        train, validation: splits; validation is None where the budget leaves nothing to hold out.
        class_names: the classes.
        class_weights: float32 `[C]`.
    """

    train: splits.Split
    validation: splits.Split | None
    class_names: tuple[str, ...]
    class_weights: np.ndarray


@dataclass
class Session:
    """One command on one run directory.

    Attributes:
        config: the configuration, completed with what the run directory records.
        given: names of the options that the user set.
        run: the run directory.
        console: where to speak.
        command: the command line, for the records.
        restart: train again what is already there.
    """

    config: Config
    given: frozenset[str]
    run: RunDir
    console: Console
    command: str = ""
    restart: bool = False
    _data: dict = field(default_factory=dict)

    @cached_property
    def strategy(self):
        """The tf.distribute strategy."""
        return runtime.make_strategy(self.config.run.strategy)

    @cached_property
    def precision(self) -> str:
        """`float32` or `bfloat16`."""
        return runtime.resolve_precision(self.config.run.precision)

    @cached_property
    def backbone(self) -> backbones.Backbone:
        """The parsed backbone spec."""
        return backbones.find_backbone(self.config.model.backbone)

    @property
    def image_size(self) -> int:
        """Side in pixels that the network sees."""
        return self.config.model.image_size or self.backbone.size

    def open(self, dataset: str):
        """Opens a data set by its spec."""
        return open_source(dataset, data_dir=self.config.data.data_dir, max_unreadable=self.config.data.max_unreadable)

    def training_data(self, dataset: str | None = None) -> TrainingData:
        """Loads the training side of the target, or of another data set; once."""
        name = dataset or self.config.data.dataset
        # The label budget is the target's: the same data set as a source is another one.
        key = name, dataset is None
        if key not in self._data:
            begun = time.perf_counter()
            loaded = self._data[key] = self._load_training(name, few_shot=dataset is None)
            held = len(loaded.validation) if loaded.validation else 0
            self.console.line(
                f"data  {one_line(name, 60)}: {len(loaded.train):,} to train, {held:,} to validate, "
                f"{len(loaded.class_names)} classes, {time.perf_counter() - begun:.1f} s"
            )
        return self._data[key]

    def _load_training(self, dataset: str, few_shot: bool) -> TrainingData:
        data, source = self.config.data, self.open(dataset)
        own = "validation" in source.splits
        per_class = data.examples_per_class if few_shot else None
        labels = source.labels("train")
        classes = len(source.class_names)
        plan = splits.plan_splits(labels, classes, data.validation_fraction, self.config.run.seed, per_class, own)
        train = source.load("train", plan.train, self.image_size)
        validation = source.load("validation", None, self.image_size) if own else None
        if plan.validation is not None and len(plan.validation):
            validation = source.load("train", plan.validation, self.image_size)
        if validation is None:
            self.console.line(
                "note  the label budget leaves nothing to validate on: the last epoch is kept, unselected."
            )
        weighing = splits.class_weights(train.labels, classes, data.class_weights)
        self._record_data(dataset, source, train, validation, plan.facts)
        return TrainingData(train, validation, tuple(source.class_names), weighing)

    def _record_data(self, dataset, source, train, validation, facts) -> None:
        parts = {"train": train} | ({"validation": validation} if validation is not None else {})
        seen: dict = {}
        duplicates = splits.find_duplicates(parts, seen)
        notes = {k: [one_line(t) for t in v] for k, v in source.notes.items()} | (
            {"duplicates": duplicates} if duplicates else {}
        )
        for kind, texts in notes.items():
            self.console.line(
                f"note  {kind}: {len(texts)}, such as {texts[0]}"
                if len(texts) > 1
                else f"note  {kind}: {texts[0]}"
                if texts
                else ""
            )
        self.run.record(
            "data",
            dataset=one_line(dataset),
            class_names=list(source.class_names),
            splits={k: len(v) for k, v in parts.items()},
            split_digest=facts["digest"],
            stored_size=list(train.inputs.shape[1:3]),
            notes=notes,
        )
        if dataset == self.config.data.dataset:
            self.run.write_json("data/digests.json", {digest.hex(): place for digest, place in seen.items()})

    def test_data(self) -> tuple[splits.Split, tuple[str, ...], list[str]]:
        """Reads the test split: for `evaluate`, which does it once.

        Returns:
            The split, the class names, and the pictures of it that also stand among the training ones.
        """
        source = self.open(self.config.data.dataset)
        if "test" not in source.splits:
            raise UserError(f"--dataset={one_line(self.config.data.dataset)!r} has no test split to evaluate on.")
        split = source.load("test", None, self.image_size)
        if skipped := source.notes.get("unreadable"):
            text = f"{len(skipped)} test pictures could not be read and are left out: {'; '.join(skipped[:20])}"
            self.run.record("warning", phase="evaluate", text=text)
            self.console.line(f"note  {len(skipped)} test pictures could not be read, such as {skipped[0]}")
        seen = {bytes.fromhex(d): tuple(p) for d, p in (self.run.read_json("data/digests.json") or {}).items()}
        duplicates = splits.find_duplicates({"test": split}, seen)
        before = len(self.run.records("test_read"))
        self.run.record("test_read", n=len(split), times=before + 1)
        if before:
            self.console.line(f"note  the test split is read again, {before + 1} times in this run, as recorded.")
        return split, tuple(source.class_names), duplicates

    def pretrained(self, num_classes: int, source: str | None = None) -> Classifier:
        """Builds the classifier with weights from `source` (default `--weights`) under a new head."""
        where = source or self.config.model.weights
        if where == "source":
            if not self.run.done("source"):
                raise UserError(
                    f"--weights=source: no source model in {one_line(self.run.path)} yet; run --phase=source first."
                )
            where = str(self.run.path / "source")
        model, seed = self.config.model, self.config.run.seed
        with self.strategy.scope(), runtime.precision_policy(self.precision):
            # Random weights and the head's start depend on the seed alone, whatever ran before.
            runtime.set_up(seed)
            network = weights.load_backbone(self.backbone, model.backbone, where, self.image_size)
            return Classifier(network, self.backbone.mode, num_classes, model.dropout, seed)

    def trained(self, phase: str, class_names: Sequence[str] | None = None) -> Classifier:
        """Builds the classifier that a finished phase left.

        Args:
            phase: the phase.
            class_names: those of the data it is to meet.

        Raises:
            UserError: it was trained on other classes than the data set has now.
        """
        done = self.run.done(phase)
        if class_names is not None and tuple(done["class_names"]) != tuple(class_names):
            changed = sorted(set(done["class_names"]) ^ set(class_names)) or ["their order"]
            raise UserError(
                f"--dataset={one_line(self.config.data.dataset)!r} no longer has the classes that --phase={phase} was "
                f"trained on; what differs: {one_line(', '.join(changed))}. Put them back, or use another --run_dir."
            )
        classifier = self.pretrained(len(done["class_names"]), source="random")
        classifier.load(self.run.path / phase)
        return classifier

    def plan(self, phase: str, data: TrainingData, classifier: Classifier) -> defaults.Plan:
        """Resolves the options of a phase against its data and network."""
        kind = "none" if not classifier.batchnorms else self.backbone.bn
        # Random weights have no statistics either, but for them that is the start and not the end.
        if self.config.model.weights != "random" and batchnorm.already_folded(classifier.batchnorms):
            kind = "folded"
        facts = defaults.Facts(len(data.train), data.train.inputs.shape[1], self.image_size, data.class_names, kind)
        return defaults.resolve(self.config.training, phase, facts)

    def source_folder(self) -> Path | None:
        """Returns the folder of the source model with its head, when the weights came from one."""
        where = self.config.model.weights
        if where == "source":
            return self.run.path / "source"
        if where in ("imagenet", "random") or not Path(where).is_dir():
            return None
        return weights.weights_file(where).parent

    def progress(self, label: str) -> Callable[[int, int, str], None]:
        """Returns a progress bar."""
        return self.console.bar(label)
